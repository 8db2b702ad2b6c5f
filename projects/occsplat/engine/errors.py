"""Mistakes of a user, told in one message and without a traceback."""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from mmengine.config import Config
from mmengine.registry import build_from_cfg

from occsplat.data import DataError
from occsplat.structures import MissingPackageError, NonFiniteError

from .signals import Stopped, handled, stop_now


class ConfigError(ValueError):
    """A config that can't be run; the message names the key."""


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names the file.

    Args:
        message (str): may quote the file, see ``one_line``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


#: errors whose message is all that a user needs
TOLD = (
    ConfigError,
    CheckpointError,
    DataError,
    MissingPackageError,
    NonFiniteError,
    OSError,
)


def one_line(text: str) -> str:
    """Text that quotes a stranger's file, without what moves a cursor."""
    return ''.join(c if c.isprintable() else ' ' for c in text)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a user's mistakes into ``SystemExit`` with their message.

    Likewise what the machine refuses (a full disk, a folder that may not
    be written to), and signals that end the process. Everything else keeps
    its traceback.
    """
    try:
        with handled(stop_now):
            yield
    except Stopped as stop:
        if stop.note:
            sys.stderr.write(f'{stop.note}\n')
        raise SystemExit(stop.code) from None
    except TOLD as error:
        raise SystemExit(f'error: {_message(error)}') from None


@contextmanager
def build_errors(cfg: Config, settings: bool = False) -> Iterator[None]:
    """Name the key path of what a registry can't build.

    Errors of other origin pass.

    Args:
        cfg (Config): has the dicts that are built.
        settings (bool): whether the block does nothing but act on the
            config, so that its errors are all of the config's.

    Raises:
        ConfigError: for an error of a constructor.
    """
    try:
        yield
    except TOLD:
        raise
    except Exception as error:
        built = [
            frame.f_locals['cfg']
            for frame, _ in traceback.walk_tb(error.__traceback__)
            if frame.f_code is build_from_cfg.__code__
        ]
        if not built and not settings:
            raise
        paths = (_find(cfg.to_dict(), node) for node in reversed(built))
        path = next(filter(None, paths), None)
        place = f'{cfg.filename or "config"}{f": {path}" if path else ""}'
        raise ConfigError(f'{place}: {_reason(error)}') from error


def _find(node: Any, wanted: Any, path: str = '') -> str | None:
    """Key path of the first dict that equals another."""
    if path and isinstance(node, dict) and node == wanted:
        return path
    items: Any = ()
    if isinstance(node, dict):
        items = [(f'{path}.{k}' if path else k, v) for k, v in node.items()]
    elif isinstance(node, (list, tuple)):
        items = [(f'{path}[{i}]', value) for i, value in enumerate(node)]
    found = (_find(value, wanted, here) for here, value in items)
    return next(filter(None, found), None)


def _reason(error: Exception) -> str:
    """What a constructor said; errors that were not meant for a user with
    their kind and place.
    """
    text = ' '.join(str(error).split())
    if 'must contain the key "type"' in text:
        return "expected a dict with a 'type'"
    if isinstance(error, ValueError):
        return text
    last = traceback.extract_tb(error.__traceback__)[-1]
    kind, place = type(error).__name__, Path(last.filename).name
    return f'{kind}: {text} ({place}, line {last.lineno})'


def _message(error: Exception) -> str:
    """The message; a loader's worker sends its traceback along."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        names = filter(None, (error.filename, error.filename2))
        text = ': '.join([*map(str, names), error.strerror])
    if 'in DataLoader worker process' not in text:
        return text
    return text.rpartition(f'{type(error).__name__}: ')[2].strip()
