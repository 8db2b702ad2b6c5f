"""Folders that a run writes to: seen to before there is work to lose."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from occsplat.structures import check_writable

from .errors import ConfigError

_LOCK = '.lock'
# where launchers say which process this is
_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
#: what file systems without locks answer
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


def check_file(path: str | Path) -> None:
    """See that a file can be written.

    Raises:
        ConfigError: when it is a folder.
        DataError: when it can't be written.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f'{path} is a folder, expected the name of a file')
    check_writable(path.parent)


@contextmanager
def locked(work_dir: str | Path, launcher: str = 'none') -> Iterator[None]:
    """Keep a second training out of a work dir.

    The lock is the process': it goes when that ends, however it ends, and
    is not handed on to a data loader's workers. Of a distributed run the
    first process has it. Testing needs none: it has names of its own.
    Who gets the lock removes checkpoints that a killed run left half
    written.

    Args:
        work_dir: the folder.
        launcher: what started the processes.

    Raises:
        ConfigError: when another run has the lock; says which process on
            which machine.
    """
    rank = 0
    if launcher != 'none':
        found = [os.environ[name] for name in _RANKS if name in os.environ]
        rank = int(found[0]) if found else 0
    if rank != 0:
        yield
        return
    path = Path(work_dir) / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+', encoding='utf-8') as file:
        try:
            # not flock(), whose locks live on in forked processes
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                warnings.warn(
                    f'{work_dir} is on a file system without locks: a '
                    'second run there would not be noticed',
                    stacklevel=2,
                )
            else:
                file.seek(0)
                holder = file.read().strip() or 'another process'
                raise ConfigError(
                    f'{holder} trains in {work_dir}: name another '
                    '--work-dir, or wait until it has ended'
                ) from error
        # what a killed run was writing when it ended
        for part in Path(work_dir).rglob('*.pth*.part'):
            part.unlink(missing_ok=True)
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        yield
