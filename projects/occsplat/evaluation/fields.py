"""Fields that make sense, or an error that names frame and field.

What metrics, saved files and hooks take is checked here, before anything is
counted or written: a single nan in a flow poisons the mean of all classes, an
id that is no class may count as anything, and neither shows in a score.

Shape letters: X Y Z voxels, s stride of cells, T origins, J boxes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Sequence

import torch
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    DataError,
    LabelSpec,
    VoxelGrid,
    same_shape,
)


def check_fields(
    where: str,
    spec: LabelSpec | None,
    grid: VoxelGrid | None,
    **fields: Any,
) -> list[Any]:
    """The fields of a frame as tensors, once all is well with them.

    Args:
        where (str): what errors call the frame, such as "sample 'abc'".
        spec (LabelSpec, optional): meaning of the class ids, if any.
        grid (VoxelGrid, optional): where the voxels are, if any.
        **fields: tensors, arrays or None by the names that OccDataSample
            has for them; ``rig`` is a CameraRig.

    Returns:
        list: in the order of ``fields``, tensors on the devices where
        they were, the rig as it is, and None for None.

    Raises:
        DataError: when a field has another type or shape, an id that is
            not in the label spec (labels may have the ignore id,
            predictions may not), or a number that is not finite (but a
            labelled flow, which is nan where nobody knows it).
    """
    checks: dict[str, Callable[[str, Any], Any]] = dict(
        ray_origins=partial(_numbers, shape=(None, 3)),
        gt_boxes=partial(_numbers, shape=(None, 7)),
        rig=_rig,
        gt_depth=_depths,
        pred_depth=_depths,
    )
    if spec is not None:
        ids = partial(_ids, spec=spec)
        checks.update(
            gt_box_labels=partial(ids, shape=(None,)),
            gt_pixel_semantics=partial(ids, shape=(None,) * 3, ignorable=True),
            pred_pixel_semantics=partial(ids, shape=(None,) * 3),
        )
    if grid is not None:
        flow = partial(_numbers, shape=(*grid.shape, 2), whole=False)
        checks.update(
            gt_visible=partial(_mask, shape=grid.shape),
            pred_flow=flow,
            gt_flow=partial(flow, finite=False),
            pred_offsets=partial(_offsets, grid=grid),
        )
    if spec is not None and grid is not None:
        occ = partial(_ids, spec=spec, shape=grid.shape)
        checks.update(pred_occ=occ, gt_occ=partial(occ, ignorable=True))
    try:
        return [
            None if value is None else checks[name](name, value)
            for name, value in fields.items()
        ]
    except ValueError as error:
        raise DataError(f'{where}, {error}') from error


def check_ids(
    name: str, ids: Tensor, spec: LabelSpec, ignorable: bool = False
) -> None:
    """Raise a ValueError unless all ids are classes.

    Args:
        name (str): what the error calls them.
        ids (Tensor): whole numbers of any shape.
        spec (LabelSpec): meaning of the ids.
        ignorable (bool): whether the ignore id is one of them.
    """
    if not ids.numel():
        return
    low, high = (int(end) for end in torch.aminmax(ids))
    if low >= 0 and high < spec.num_classes:
        return
    wrong = (ids < 0) | (ids >= spec.num_classes)
    if ignorable:
        wrong &= ids != spec.ignore
    if not wrong.any():
        return
    value = int(ids[wrong].max())
    known = f'label spec {spec.name} has ids 0 to {spec.num_classes - 1}'
    if ignorable:
        known += f' and {spec.ignore} for what is unknown'
    elif value == spec.ignore:
        known += f'; {value} is what labels do not know, and no prediction'
    raise ValueError(
        f'{name} holds class id {value} {_place(ids == value)}, {known}'
    )


def check_finite(name: str, values: Tensor) -> None:
    """Raise a ValueError unless all values are finite numbers."""
    if not values.isfinite().all():
        wrong = ~values.isfinite()
        raise ValueError(
            f'{name}: expected finite numbers, got nan or infinity '
            f'{_place(wrong)}'
        )


def stride_of(offsets: Tensor, grid: VoxelGrid) -> int:
    """Voxels from one cell of offsets to the next.

    Args:
        offsets (Tensor): (6, X/s, Y/s, Z/s).
        grid (VoxelGrid): where the voxels are.

    Raises:
        ValueError: when cells are not every s-th voxel of the grid.
    """
    for stride in range(1, min(grid.shape) + 1):
        if list(offsets.shape) == [6, *(n / stride for n in grid.shape)]:
            return stride
    raise ValueError(
        'pred_offsets: expected shape (6, X/s, Y/s, Z/s) for a grid of '
        f'{grid.shape}, got {tuple(offsets.shape)}'
    )


def _place(wrong: Tensor) -> str:
    """How many of how many are wrong, and where the first one is."""
    first = tuple(wrong.nonzero()[0].tolist())
    return f'at {first}, {int(wrong.sum())} of {wrong.numel()} such'


def _tensor(name: str, value: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f'{name}: expected a tensor or an array of numbers, got '
            f'{type(value).__name__} ({error})'
        ) from error
    # torch counts and compares few of these
    wide = torch.uint16, torch.uint32, torch.uint64
    return tensor.long() if tensor.dtype in wide else tensor


def _same_shape(
    name: str, tensor: Tensor, shape: Sequence[int | None]
) -> None:
    """As ``same_shape``; None stands for any length."""
    actual = tuple(tensor.shape)
    if len(actual) != len(shape):
        raise ValueError(
            f'{name}: expected shape {tuple(shape)}, got {actual}'
        )
    pairs = zip(shape, actual)
    same_shape(name, actual, [here if n is None else n for n, here in pairs])


def _ids(
    name: str,
    value: Any,
    spec: LabelSpec,
    shape: Sequence[int | None],
    ignorable: bool = False,
) -> Tensor:
    ids = _tensor(name, value)
    if not ids.numel():
        ids = ids.long()  # an empty list is one of floats
    kind = ids.dtype
    if kind.is_floating_point or kind.is_complex or kind == torch.bool:
        raise ValueError(f'{name}: expected whole numbers, got {kind}')
    _same_shape(name, ids, shape)
    check_ids(name, ids, spec, ignorable)
    return ids


def _mask(name: str, value: Any, shape: Sequence[int]) -> Tensor:
    mask = _tensor(name, value)
    same_shape(name, mask.shape, shape)
    if mask.dtype != torch.bool and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f'{name}: expected bool, or 0 and 1, got others')
    return mask.bool()


def _numbers(
    name: str,
    value: Any,
    shape: Sequence[int | None],
    whole: bool = True,
    finite: bool = True,
) -> Tensor:
    """Numbers of a shape; ``whole``: whole ones will do, too."""
    numbers = _tensor(name, value)
    kind = numbers.dtype
    real = not kind.is_complex and kind != torch.bool
    if not (kind.is_floating_point or whole and real):
        raise ValueError(f'{name}: expected floating numbers, got {kind}')
    _same_shape(name, numbers, shape)
    if finite:
        check_finite(name, numbers)
    return numbers


def _depths(name: str, value: Any) -> Tensor:
    depths = _numbers(name, value, (None,) * 3, whole=False)
    if (depths < 0).any():
        raise ValueError(
            f'{name}: expected metres, 0 or more, got {depths.min():g}'
        )
    return depths


def _offsets(name: str, value: Any, grid: VoxelGrid) -> Tensor:
    offsets = _tensor(name, value)
    stride_of(offsets, grid)
    return _numbers(name, offsets, offsets.shape, whole=False)


def _rig(name: str, value: Any) -> CameraRig:
    if not isinstance(value, CameraRig):
        raise ValueError(
            f'{name}: expected a CameraRig, got {type(value).__name__}'
        )
    # of the frames that a network reads the current one comes first
    current = value[0] if value.K.dim() == 4 else value
    for part in ('ref2cam', 'K', 'img_aug'):
        check_finite(f'{name}.{part}', getattr(current, part))
    return value
