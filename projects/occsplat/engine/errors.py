"""Mistakes of a user, told in one message and without a traceback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator


class ConfigError(ValueError):
    """A config that can't be run; the message names the key."""


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names the file."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a user's mistakes into ``SystemExit`` with their message.

    Everything else keeps its traceback.
    """
    try:
        yield
    except (ConfigError, CheckpointError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from None
