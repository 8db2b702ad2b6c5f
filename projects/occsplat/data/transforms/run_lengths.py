"""What run lengths make of voxel labels: offsets to learn, and cleaning.

Shape letters: X Y Z voxels, s stride, x y z every s-th of them.
"""

from __future__ import annotations

import math
from typing import Any, Mapping

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat.ops import known_run_lengths, run_lengths
from occsplat.structures.checks import Count, Positive, checked

from .volume_aug import fold

#: what offsets are made of, and the frame that it is in
_MOVED = (
    'gt_occ',
    'gt_visible',
    'label_grid',
    'label_spec',
    'ref_aug',
    'ref2global',
)


@TRANSFORMS.register_module()
class VoxelRunLengths(BaseTransform):
    """How far the thing at each cell reaches, from its labels alone.

    VoxDet (NeurIPS 2025), section 3.2, the VoxNT trick. Cells are voxels
    [::stride] of the label grid, so their centres are those of
    ``label_grid.strided(stride)``; lengths are those of the full grid.

    A turned volume has other runs. So they are those of the labels after
    the volume augmentation, which must all have been drawn before.

    Adds ``gt_offsets``, metres in the directions x+ x- y+ y- z+ z- to the
    centre of the first voxel outside the run, float32 (6, x, y, z), 0
    where the label is unknown; and ``gt_censored``, bool (6, x, y, z),
    where an unknown voxel ended the run, so that it may be longer. The
    volume's border ends runs, too, and does not censor. Labels are
    unknown where they are 'ignore'.

    Args:
        stride (int): voxels from cell to cell, must divide the shape.
        camera_mask (bool): labels that no camera sees are unknown, too.

    Raises:
        ValueError: when stride is less than 1 or does not divide the
            shape of the labels, there are no labels, or no
            ``gt_visible`` where ``camera_mask`` needs it.
    """

    @checked
    def __init__(self, stride: Count = 2, camera_mask: bool = False) -> None:
        self.stride = stride
        self.camera_mask = camera_mask

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the offsets."""
        _need_labels(results, 'VoxelRunLengths')
        if self.camera_mask and 'gt_visible' not in results:
            raise ValueError(
                'VoxelRunLengths(camera_mask=True) needs gt_visible, and the '
                'labels came without masks'
            )
        # only to refuse a grid that has no such cells
        results['label_grid'].strided(self.stride)
        # a copy: what is loaded later belongs to the frame before
        moved = fold({k: results[k] for k in _MOVED if k in results})
        labels = torch.from_numpy(moved['gt_occ'])
        known = labels != moved['label_spec'].ignore
        if self.camera_mask:
            known &= torch.from_numpy(moved['gt_visible'])
        lengths, censored = known_run_lengths(labels, known, self.stride)
        size = torch.tensor(results['label_grid'].size)
        results['gt_offsets'] = (
            lengths * size.repeat_interleave(2)[:, None, None, None]
        )
        results['gt_censored'] = censored
        return results


@TRANSFORMS.register_module()
class CleanOccLabels(BaseTransform):
    """Ignore voxels of things that are too large or too small.

    VoxDet (NeurIPS 2025), appendix B.3: labels made of many sweeps show
    trails of moving cars, and single voxels where nothing is. Voxels of
    a class become 'ignore' where the run of its label through them is

    - at least ``max_scale`` long along any axis (equation 11), or
    - shorter than ``min_scale`` along all three (equation 10).

    Lengths are in metres of the data set, before any volume augmentation,
    so that a label is noise or not whatever is drawn; it makes no
    difference on which side of VolumeAug this stands. The paper compares
    a voxel's l = ahead + behind, which is one more than its run: its K
    voxels are (K - 1) * voxel size here. K = 30 of 0.2 m is 5.8 m, where
    the released code starts at 6.0 m; its K_min = 3 drops single voxels,
    as anything above one voxel size up to two does.

    Changes ``gt_occ``.

    Args:
        min_scale (dict, optional): metres by class name.
        max_scale (dict, optional): metres by class name.

    Raises:
        ValueError: when a scale is not positive, or a class' min_scale
            not below its max_scale; when there are no labels, their
            label set has no such class, or ``gt_offsets`` are there,
            which would be those of the labels before.
    """

    @checked
    def __init__(
        self,
        min_scale: Mapping[str, Positive] | None = None,
        max_scale: Mapping[str, Positive] | None = None,
    ) -> None:
        self.min_scale = dict(min_scale or {})
        self.max_scale = dict(max_scale or {})
        for name in self.min_scale.keys() & self.max_scale.keys():
            low, high = self.min_scale[name], self.max_scale[name]
            if low >= high:
                raise ValueError(
                    f'min_scale of {name} must be less than its max_scale, '
                    f'got {low} and {high}'
                )

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Ignore the noise."""
        _need_labels(results, 'CleanOccLabels')
        if 'gt_offsets' in results:
            raise ValueError(
                'CleanOccLabels would leave gt_offsets behind: put '
                'VoxelRunLengths after it'
            )
        spec, size = results['label_spec'], results['label_grid'].size
        names = {**self.min_scale, **self.max_scale}
        unknown = set(names) - set(spec.classes)
        if unknown:
            raise ValueError(
                f'{spec.name} labels have no class {sorted(unknown)}, '
                f'expected some of {spec.classes}'
            )
        occ = torch.from_numpy(results['gt_occ'])
        lengths = run_lengths(occ)
        scale = lengths[0::2] + lengths[1::2] - 1  # voxels (3, X, Y, Z)
        noise = torch.zeros_like(occ, dtype=torch.bool)
        for name in names:
            mine = occ == spec.classes.index(name)
            low = _voxels(self.min_scale.get(name, 0), size)
            high = _voxels(self.max_scale.get(name, math.inf), size)
            found = scale[:, mine]
            noise[mine] = (found >= high).any(0) | (found < low).all(0)
        results['gt_occ'] = np.where(noise, spec.ignore, occ).astype(np.uint8)
        return results


def _need_labels(results: dict[str, Any], name: str) -> None:
    if 'gt_occ' not in results:
        raise ValueError(f'{name} needs LoadOccLabels before it')


def _voxels(metres: float, size: tuple[float, ...]) -> torch.Tensor:
    """Voxels along each axis that first reach a length, (3, 1).

    15 voxels of 0.4 m are 6 m, whatever floats say.
    """
    count = torch.tensor([[metres / step] for step in size])
    return torch.ceil(count - 1e-3)
