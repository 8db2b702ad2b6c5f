"""Mistakes of a user, told in one message and without a traceback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from occsplat.data import DataError
from occsplat.structures import MissingPackageError, NonFiniteError


class ConfigError(ValueError):
    """A config that can't be run; the message names the key."""


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names the file.

    Args:
        message (str): may quote the file, see ``one_line``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Text that quotes a stranger's file, without what moves a cursor."""
    return ''.join(c if c.isprintable() else ' ' for c in text)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a user's mistakes into ``SystemExit`` with their message.

    Everything else keeps its traceback.
    """
    try:
        yield
    except (
        ConfigError,
        CheckpointError,
        DataError,
        FileNotFoundError,
        MissingPackageError,
        NonFiniteError,
    ) as error:
        raise SystemExit(f'error: {_message(error)}') from None


def _message(error: Exception) -> str:
    """The message; a loader's worker sends its traceback along."""
    text = str(error)
    if 'in DataLoader worker process' not in text:
        return text
    return text.rpartition(f'{type(error).__name__}: ')[2].strip()
