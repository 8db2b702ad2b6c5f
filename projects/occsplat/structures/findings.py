"""What a check of data, of a config or of a machine has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal['ok', 'note', 'problem']


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        level: 'ok'; 'note', what is worth knowing and stops nothing; or
            'problem', after which a training would stop or learn nothing.
        name: what was looked at.
        text: what was found; of a problem also what to do.
    """

    level: Level
    name: str
    text: str

    def __str__(self) -> str:
        return f'{self.level:<8} {self.name}: {self.text}'
