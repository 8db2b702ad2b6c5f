"""Files of weights, read without trust.

They are of ``torch.save``, old and new, or of safetensors, which
``safetensors_files`` reads. Since torch 1.6 a checkpoint is a zip archive of
one pickle and one file of bytes per storage; before, pickles and storages lay
one behind the other. Both of these are read here, by ``zipfile`` and
``weight_pickle``: what is declared is held against the bytes that are there,
so that a file can be wrong, but can neither act nor look at memory that is
not its own.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import IO, Any, Sequence

import torch

from .errors import CheckpointError
from .file_kinds import file_kind
from .safetensors_files import SUFFIX, is_safetensors, read_safetensors
from .weight_pickle import WeightUnpickler, find_foreign
from .weight_values import Storage

# of torch's first format
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _OtherKind(Exception):
    """A file is no checkpoint: what it is, and what to do."""


def read_weight_file(path: str | Path) -> Any:
    """Read what ``torch.save`` or safetensors wrote, to the CPU.

    Args:
        path: the file, whose first bytes tell its format. Tensors, numpy
            arrays of numbers, containers, numbers, strings and mmengine's
            log values may be in it.

    Returns:
        What was saved. Tensors that shared memory share it again. Of a
        safetensors file, see ``read_safetensors``.

    Raises:
        CheckpointError: when the file is missing or cannot be read, is
            something else, damaged, or holds anything but plain data.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            f'checkpoint {path} is a folder: {_listed(path)}'
        )
    if not path.is_file():
        raise CheckpointError(
            f'checkpoint {path} does not exist{_neighbours(path)}'
        )
    try:
        file = open(path, 'rb')
    except OSError as error:
        raise CheckpointError(
            f'checkpoint {path} cannot be read: {error.strerror}'
        ) from error
    try:
        with file:
            content, refused = _read(file)
    except _OtherKind as error:
        kind, advice = error.args
        raise CheckpointError(
            f'checkpoint {path} is not a file of weights, but {kind}: {advice}'
        ) from None
    # a damaged file may fail anywhere, with nearly any error
    except Exception as error:
        reason = ' '.join(str(error).split())[:200]
        raise CheckpointError(
            f'checkpoint {path} is damaged or not a checkpoint '
            f'({path.stat().st_size} bytes; {type(error).__name__}: '
            f'{reason}). Copy it again, or use an earlier one'
        ) from error
    _check_plain(content, refused, path)
    return content


def _check_plain(content: Any, refused: Sequence[Any], path: Path) -> None:
    """Raise when a file holds anything but plain data."""
    found = find_foreign(content)
    if found is None and not refused:
        return
    if found is None:
        where, what = 'something that it throws away', refused[0]
    else:
        where, what = found
    raise CheckpointError(
        f'checkpoint {path} is not safe to load: it holds {what!s:.200} at '
        f'{where or "its top"}. Tensors, numbers, strings and containers of '
        'them are safe; anything else could run code. Where you trust its '
        'maker, load it with the program that made it and save its '
        'state_dict alone'
    )


def _read(file: IO[bytes]) -> tuple[Any, Sequence[Any]]:
    """What is in a file of any format, and what was refused of it."""
    head = file.read(512)
    if is_safetensors(head):
        return read_safetensors(file.name), ()
    room = _Room(os.fstat(file.fileno()).st_size)
    file.seek(0)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return _read_zip(archive, room)
    file.seek(0)
    if head[:2] == b'PK':
        raise ValueError('a zip archive whose end is missing')
    if head[:1] == b'\x80':
        return _read_old(file, room)
    raise _OtherKind(*file_kind(head))


def _read_zip(
    archive: zipfile.ZipFile, room: _Room
) -> tuple[Any, Sequence[Any]]:
    """torch's format of 1.6 and later."""
    names = set(archive.namelist())
    tops = sorted(
        (name for name in names if f'/{name}'.endswith('/data.pkl')), key=len
    )
    top = tops[0].removesuffix('data.pkl') if tops else ''
    if f'{top}constants.pkl' in names:
        raise _OtherKind(
            'a TorchScript program',
            'save the state_dict of its model with torch.save',
        )
    if not tops:
        few = ', '.join(sorted(names)[:3]) or 'nothing'
        raise _OtherKind(
            f'a zip archive (of {few})',
            'if the checkpoint is in it, unpack it',
        )

    def record(name: str) -> bytes:
        info = archive.getinfo(top + name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f'{name} is compressed, as torch never does')
        return archive.read(info)

    if f'{top}byteorder' in names and record('byteorder') != b'little':
        raise ValueError('numbers in the byte order of another machine')
    read: dict[str, torch.UntypedStorage] = {}

    def storage(
        kind: Any, key: Any, location: Any, numel: Any, *_: Any
    ) -> Storage:
        """One of the archive's files."""
        dtype = _dtype(kind)
        if key not in read:
            raw = record(f'data/{key}')
            room.take(len(raw))
            read[key] = _untyped(raw)
        if read[key].nbytes() != _size(numel, dtype):
            raise ValueError(
                f'data/{key} has {read[key].nbytes()} bytes instead of '
                f'{numel} {dtype}'
            )
        return Storage(read[key], dtype)

    unpickler = WeightUnpickler(io.BytesIO(record('data.pkl')), storage)
    return unpickler.load(), unpickler.refused


def _read_old(file: IO[bytes], room: _Room) -> tuple[Any, Sequence[Any]]:
    """torch's format of 1.5 and before: pickles, then storages."""
    read: dict[Any, Storage] = {}

    def storage(
        kind: Any, key: Any, location: Any, numel: Any, view: Any = None
    ) -> Storage:
        """Room for bytes that follow the pickle."""
        dtype = _dtype(kind)
        if view is not None:
            raise ValueError('a view of a storage, as of PyTorch 0.3')
        if key not in read:
            room.take(_size(numel, dtype))
            data = torch.UntypedStorage(_size(numel, dtype)).fill_(0)
            read[key] = Storage(data, dtype)
        if (read[key].data.nbytes(), read[key].dtype) != (
            _size(numel, dtype),
            dtype,
        ):
            raise ValueError('a storage of two sizes')
        return read[key]

    def load() -> Any:
        return WeightUnpickler(file, storage).load()

    if load() != _MAGIC:
        raise _OtherKind(
            'a pickle that torch.save did not write',
            'save the state_dict of the model with torch.save',
        )
    if load() != _PROTOCOL or not load()['little_endian']:
        raise ValueError('another protocol or byte order')
    unpickler = WeightUnpickler(file, storage)
    content = unpickler.load()
    keys = load()
    if set(keys) != set(read):
        raise ValueError('other storages than the tensors need')
    for key in keys:
        data, dtype = read[key].data, read[key].dtype
        (numel,) = struct.unpack('<q', file.read(8))
        raw = file.read(data.nbytes())
        if _size(numel, dtype) != data.nbytes() or len(raw) != data.nbytes():
            raise ValueError(f'the storage of {numel} {dtype} is not whole')
        data.copy_(_untyped(raw))
    return content, unpickler.refused


class _Room:
    """Bytes of a file: its storages are not larger than it is."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> None:
        """Count a storage.

        Raises:
            ValueError: when the file is too small for it.
        """
        self._left -= size
        if self._left < 0:
            raise ValueError('storages that are larger than the file')


def _untyped(raw: bytes) -> torch.UntypedStorage:
    """Bytes as memory of torch's own."""
    if not raw:
        return torch.UntypedStorage(0)
    return torch.frombuffer(
        bytearray(raw), dtype=torch.uint8
    ).untyped_storage()


def _dtype(kind: Any) -> torch.dtype:
    if not isinstance(kind, torch.dtype):
        raise ValueError('a storage of unknown numbers')
    return kind


def _size(numel: Any, dtype: torch.dtype) -> int:
    """Bytes of so many numbers."""
    if not isinstance(numel, int) or numel < 0:
        raise ValueError('a storage without a size')
    return numel * dtype.itemsize


def _neighbours(path: Path) -> str:
    """What could have been meant."""
    if not path.parent.is_dir():
        return f': there is no folder {path.parent}'
    return f'; {path.parent} has {_listed(path.parent)}'


def _listed(folder: Path) -> str:
    suffixes = ('.pth', SUFFIX)
    names = sorted(p.name for p in folder.iterdir() if p.suffix in suffixes)
    return ', '.join(names) or f'no {" or ".join(suffixes)} file'
