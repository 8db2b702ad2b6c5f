"""What can't be exported."""

from __future__ import annotations

from occsplat.engine import ConfigError


class ExportError(ConfigError):
    """A network that is no graph; names the module and the reason."""
