"""Predicted volumes on disk, one file per key frame.

``<folder>/<scene name>/<token>/preds.npz`` with

- ``semantics``, class ids, uint8 (X, Y, Z);
- ``flow``, m/s, where a network predicts it: (M, 2) of the M voxels with a
  movable class, in the order of ``semantics`` (z fastest), and zero
  elsewhere; or (X, Y, Z, 2);
- ``offsets``, metres, where a network predicts them: (6, X/s, Y/s, Z/s) of
  every s-th voxel, in the directions x+ x- y+ y- z+ z-.

Shape letters: X Y Z voxels, M movable voxels, s stride of cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy as np
import torch
from torch import Tensor

from occsplat.structures import DataError, LabelSpec, VoxelGrid, whole_file

from .fields import check_finite, check_ids

#: name of a key frame's file
VOLUME_FILE = 'preds.npz'


def write_volumes(
    path: str | Path,
    occ: Tensor,  # (X, Y, Z)
    flow: Tensor | None,  # (X, Y, Z, 2)
    spec: LabelSpec,
    offsets: Tensor | None = None,  # (6, X/s, Y/s, Z/s)
) -> None:
    """Write a prediction, whole or not at all; folders are made as needed.

    Nothing is rounded: what is read back scores the same. A flow that is
    zero in voxels of immovable classes, as that of OccHead, takes the
    short form; any other is kept whole.

    Args:
        path: the file.
        occ: class ids.
        flow: m/s, on any device, in single precision or less.
        spec: says which classes are movable.
        offsets: metres, on any device, in single precision or less.

    Raises:
        DataError: when an id is not in the label spec, or a flow or an
            offset is not finite, and nothing is written; or when the file
            can't be written.
    """
    _check_values(path, spec, occ, flow, offsets)
    arrays = dict(semantics=occ.cpu().numpy().astype(np.uint8))
    if flow is not None:
        dense = flow.float().cpu().numpy()
        movable = np.isin(arrays['semantics'], spec.movable)
        short = not dense[~movable].any()
        arrays['flow'] = dense[movable] if short else dense
    if offsets is not None:
        arrays['offsets'] = offsets.float().cpu().numpy()
    # numpy's stubs take the arrays for its option, allow_pickle
    save: Callable[..., None] = np.savez_compressed
    with whole_file(path) as part, open(part, 'wb') as file:
        save(file, **arrays)


def read_volumes(
    path: str | Path, spec: LabelSpec, grid: VoxelGrid
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Read a prediction; nothing in the file can act.

    Args:
        path: the file.
        spec: says which classes are movable.
        grid: of the prediction.

    Returns:
        tuple: class ids, uint8 (X, Y, Z); flow in m/s, (X, Y, Z, 2); and
        offsets in metres, (6, X/s, Y/s, Z/s); None for what the file does
        not have.

    Raises:
        FileNotFoundError: when there is no such file.
        DataError: when it is damaged, an array is missing, of another type
            or shape, an id is not in the label spec, or a flow or an offset
            is not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {k: content[k] for k in content.files}
    except FileNotFoundError:
        raise
    # a damaged archive may fail anywhere, with nearly any error
    except Exception as error:
        raise DataError(
            f'{path} is damaged ({type(error).__name__}: {error}): expected '
            'an .npz archive with semantics and perhaps flow and offsets'
        ) from error
    semantics = _checked(path, arrays, 'semantics', 'iu', [grid.shape])
    # before it may lose digits: a uint8 makes 44 of 300
    occ = torch.from_numpy(semantics.astype(np.int64))
    flow = offsets = None
    if 'flow' in arrays:
        movable = np.isin(occ.numpy(), spec.movable)
        whole = (*grid.shape, 2)
        options = [(int(movable.sum()), 2), whole]
        dense = stored = _checked(path, arrays, 'flow', 'f', options)
        if stored.shape != whole:
            dense = np.zeros(whole, stored.dtype)
            dense[movable] = stored
        flow = torch.from_numpy(dense)
    if 'offsets' in arrays:
        shapes = [
            (6, *grid.pooled(s).shape)
            for s in range(1, min(grid.shape) + 1)
            if not any(n % s for n in grid.shape)
        ]
        offsets = torch.from_numpy(
            _checked(path, arrays, 'offsets', 'f', shapes)
        )
    _check_values(path, spec, occ, flow, offsets)
    return occ.to(torch.uint8), flow, offsets


def _check_values(
    path: str | Path,
    spec: LabelSpec,
    occ: Tensor,
    flow: Tensor | None,
    offsets: Tensor | None,
) -> None:
    """Raise a DataError unless ids are classes and numbers finite."""
    try:
        check_ids('semantics', occ, spec)
        for name, values in dict(flow=flow, offsets=offsets).items():
            if values is not None:
                check_finite(name, values)
    except ValueError as error:
        raise DataError(f'{path}: {error}') from error


def _checked(
    path: str | Path,
    arrays: dict[str, np.ndarray],
    name: str,
    kinds: str,
    shapes: list[tuple[int, ...]],
) -> np.ndarray:
    """The array of a name, once its type and shape are right."""
    array = arrays.get(name)
    expected = ' or '.join(map(str, shapes))
    if array is None:
        raise DataError(
            f'{path}: expected {name} of shape {expected}, got only '
            f'{sorted(arrays)}'
        )
    if array.dtype.kind not in kinds or array.shape not in shapes:
        raise DataError(
            f'{path}: expected {name} of shape {expected} and kind '
            f'{kinds!r}, got {array.dtype} of shape {array.shape}'
        )
    return array
