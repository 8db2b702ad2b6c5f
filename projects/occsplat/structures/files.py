"""Files that appear whole or not at all, and folders that take them."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from .errors import DataError

#: how the names of files end that are being written
PART = '.part'
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Write beside a file, then rename: never half of one.

    Args:
        path: the file; its folder is made as needed.

    Yields:
        Path: what to write to. Whatever goes wrong, it is removed, and
        what had the file's name before is untouched.

    Raises:
        DataError: when the disk is full or the folder can't be written
            to; names the file.
    """
    path = Path(path)
    # processes may write the same file at the same time
    part = path.with_name(f'{path.name}.{os.getpid()}{PART}')
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def write_errors(path: str | Path) -> Iterator[None]:
    """Say which file can't be written, and why.

    Args:
        path: the file that the work in this context writes; it should do
            nothing else with files.

    Raises:
        DataError: for any OSError.
    """
    try:
        yield
    except OSError as error:
        raise DataError(_reason(f'cannot write {path}', error)) from error


def check_writable(folder: str | Path) -> None:
    """Find out before the work whether its results can be written.

    Args:
        folder: where files will be written, below it included; may not
            be there yet.

    Raises:
        DataError: when it, or the first folder above it that exists,
            can't be written to.
    """
    folder = Path(folder)
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            # a full disk has names left, but no block
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        text = f'cannot write to the folder {folder}'
        raise DataError(_reason(text, error)) from error


def _reason(text: str, error: OSError) -> str:
    cure = 'Change its permissions, or choose another folder'
    if error.errno in _FULL:
        cure = 'Make room and run this again; what is whole is kept'
    return f'{text}: {error.strerror or error}. {cure}'
