"""Label files: what is read and what is refused.

Shape letters: X Y Z voxels, M rows of a sparse file.
"""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from typing import Any, Sequence

import numpy as np

from occsplat.structures import LabelSpec

from .errors import DataError
from .label_set import LabelFile

#: class of a SurroundOcc row whose points no class of the set describes
NOISE = 0

# what numpy lets through from a damaged header or body: the header is a
# Python literal, and a wrong shape may ask for more than all memory
_DAMAGE = (
    AttributeError,
    EOFError,
    MemoryError,
    OSError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def absent(record: dict[str, Any], file: LabelFile) -> str:
    """What to tell when a key frame has no file of a kind.

    Args:
        record: of the key frame, see ``frame_record``.
        file: which one.
    """
    path = file.path(
        record['scene_name'],
        record['token'],
        os.path.basename(record['lidar_path']),
    )
    cure = (
        'Unpack them there (docs/data.md) and run tools/create_data.py again'
    )
    if file.command:
        cure = f'Make them with tools/create_data.py {file.command}'
    return (
        f'key frame {record["token"]!r} has no {file.title}: expected '
        f'<data root>/{path} when the info file was made. {cure}'
    )


def read_npz(
    path: str, fields: dict[str, tuple[int | None, ...]]
) -> dict[str, np.ndarray]:
    """Arrays of the given names and shapes.

    Args:
        path: an ``.npz`` archive.
        fields: shapes by name, None for any length; other arrays of the
            archive are not read.

    Raises:
        FileNotFoundError: when the file is missing.
        DataError: when it is damaged, an array is missing or has another
            shape.
    """
    _check_exists(path)
    try:
        # a plain .npy under this name loads as an array
        with np.load(path, allow_pickle=False) as content:
            arrays = {k: content[k] for k in fields if k in content.files}
            names = content.files
    except _DAMAGE as error:
        raise DataError(
            f'label file {path} is damaged ({error}): expected an .npz '
            f'archive with {sorted(fields)}. Unpack or copy it again'
        ) from error
    if set(arrays) != set(fields):
        raise DataError(
            f'label file {path}: expected the arrays {sorted(fields)}, got '
            f'{sorted(names)}. Is this another label set?'
        )
    for name, shape in fields.items():
        if not _fits(arrays[name].shape, shape):
            raise DataError(
                f'label file {path}: expected {name} of shape {shape}, got '
                f'{arrays[name].shape}. Is this another label set?'
            )
    return arrays


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        want in (None, length) for length, want in zip(shape, expected)
    )


def read_sparse(path: str, spec: LabelSpec) -> np.ndarray:
    """The volume of a sparse file, as SurroundOcc (ICCV 2023) ships them.

    A row (ix, iy, iz, class) is an occupied voxel; class 0, noise, becomes
    'ignore'. Voxels without a row are free. Of rows that name the same
    voxel the last one counts.

    Args:
        path: an ``.npy`` file with whole numbers, (M, 4).
        spec: meaning of the ids, and the grid.

    Returns:
        ndarray: class ids, uint8 (X, Y, Z).

    Raises:
        FileNotFoundError: when the file is missing.
        DataError: when it is damaged, no table of four whole numbers per
            row, an index is outside of the grid or a class is unknown.
    """
    rows = _read_rows(path)
    index = rows[:, :3]
    outside = ((index < 0) | (index >= spec.grid.shape)).any(axis=-1)
    if outside.any():
        raise DataError(
            f'label file {path}: {int(outside.sum())} of {len(rows)} voxels '
            f'are outside of the {spec.grid.shape} grid, the first is '
            f'{index[outside.argmax()].tolist()}. Is this another label '
            'set, or one of another range?'
        )
    ids = checked_ids(rows[:, 3], spec, path)
    occ = np.full(spec.grid.shape, spec.free, np.uint8)
    occ[tuple(index.T)] = np.where(ids == NOISE, spec.ignore, ids)
    return occ


def _read_rows(path: str) -> np.ndarray:
    """int64 (M, 4)."""
    _check_exists(path)
    try:
        rows = np.load(path, allow_pickle=False)
        if not isinstance(rows, np.ndarray):
            # an .npz archive under this name loads as a container
            rows.close()
            raise ValueError('it is an .npz archive')
    except _DAMAGE as error:
        raise DataError(
            f'label file {path} is damaged ({error}): expected an .npy '
            'array with one row (ix, iy, iz, class) per voxel. Unpack or copy '
            'it again'
        ) from error
    whole = rows.dtype.kind in 'iu'
    if not whole or rows.ndim != 2 or rows.shape[1] != 4:
        raise DataError(
            f'label file {path}: expected integers of shape (M, 4), a row '
            f'(ix, iy, iz, class) per voxel, got {rows.dtype} of shape '
            f'{rows.shape}. Is this another label set?'
        )
    return rows.astype(np.int64)


def checked_ids(occ: np.ndarray, spec: LabelSpec, path: str) -> np.ndarray:
    """Class ids as uint8.

    Args:
        occ: ids of any shape.
        spec: says which there are.
        path: file to name in errors.

    Raises:
        DataError: when they are no whole numbers, or there are ids that
            the label set does not know.
    """
    if occ.dtype.kind not in 'iu':
        raise DataError(
            f'{path}: semantics are {occ.dtype}; expected whole numbers, '
            f'class ids of label spec {spec.name!r}. Is this a mask, or '
            'another label set?'
        )
    known = (*range(spec.num_classes), spec.ignore)
    unknown = np.setdiff1d(occ, known).tolist()
    if unknown:
        raise DataError(
            f'{path}: unknown class ids {_first(unknown)}, label spec '
            f'{spec.name!r} expects 0..{spec.num_classes - 1} and '
            f'{spec.ignore} (ignore). Is this another label set?'
        )
    return occ.astype(np.uint8)


def checked_mask(mask: np.ndarray, name: str, path: str) -> np.ndarray:
    """A mask as bool.

    Args:
        mask: bool, or whole numbers 0 and 1, of any shape.
        name: of the array, to name in errors.
        path: file to name in errors.

    Raises:
        DataError: when there is anything else.
    """
    if mask.dtype != bool:
        whole = mask.dtype.kind in 'iu'
        if not whole or ((mask != 0) & (mask != 1)).any():
            found = _first(np.unique(mask).tolist()) if whole else mask.dtype
            raise DataError(
                f'{path}: {name} holds {found}; expected a mask, bool or 0 '
                'and 1. Is this another array, or another label set?'
            )
    return mask.astype(bool)


def checked_flow(flow: np.ndarray, path: str) -> np.ndarray:
    """Velocities as float32.

    Args:
        flow: m/s, floats of any precision.
        path: file to name in errors.

    Raises:
        DataError: when they are no floats, or not finite.
    """
    if flow.dtype.kind != 'f':
        raise DataError(
            f'{path}: flow is {flow.dtype}; expected floats, m/s. Is this '
            'another array, or another label set?'
        )
    flow = flow.astype(np.float32)
    if not np.isfinite(flow).all():
        raise DataError(
            f'{path}: flow has values that are not finite; unpack or make '
            'the labels again'
        )
    return flow


def _first(values: Sequence[Any], count: int = 10) -> str:
    """A list that stays readable when a file is of another kind."""
    shown = ', '.join(map(str, values[:count]))
    return f'[{shown}{", ..." if len(values) > count else ""}]'


def _check_exists(path: str) -> None:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'label file {path} is missing: it was there when the info '
            'file was made. Unpack it again, or run tools/create_data.py'
        )
