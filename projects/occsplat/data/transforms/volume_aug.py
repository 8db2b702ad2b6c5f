"""Rotate, scale and mirror the reference frame.

Shape letters: X Y Z voxels, N cameras.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from occsplat.structures import (
    AdjacentFrames,
    CameraRig,
    PixelLabels,
    VoxelGrid,
    transform_points,
)
from occsplat.structures.checks import (
    Ascending,
    Fraction,
    NonNegative,
    Positive,
    checked,
)


@TRANSFORMS.register_module()
class VolumeAug(BaseTransform):
    """Draw a new reference frame: rotate about z, scale, then mirror.

    The augmentation of BEVDet (2021), section 3, with flow. This transform
    only notes the 4x4 ``ref_aug``, old to new reference frame, on top of
    what is there; ``fold`` applies it to everything when the sample is
    packed. So it may stand anywhere in a pipeline but behind
    VoxelRunLengths, and several of them resample the labels once.

    Args:
        rotate (float): largest rotation about z, degrees, either way.
        scale (sequence): range of the scale factor.
        flip_x (float): probability of x -> -x.
        flip_y (float): probability of y -> -y.

    Raises:
        ValueError: when there are offsets, made for the frame before.
    """

    @checked
    def __init__(
        self,
        rotate: NonNegative = 0.0,
        scale: Annotated[tuple[Positive, Positive], Ascending()] = (1.0, 1.0),
        flip_x: Fraction = 0.0,
        flip_y: Fraction = 0.0,
    ) -> None:
        self.rotate = rotate
        self.scale = scale
        self.flip_x = flip_x
        self.flip_y = flip_y

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draw, and note the matrix."""
        if 'gt_offsets' in results:
            raise ValueError(
                'VolumeAug would leave gt_offsets behind: put '
                'VoxelRunLengths after it'
            )
        angle = np.random.uniform(-self.rotate, self.rotate)
        scale = np.random.uniform(*self.scale)
        mirror_x = np.random.rand() < self.flip_x
        mirror_y = np.random.rand() < self.flip_y
        drawn = aug_matrix(angle, scale, mirror_x, mirror_y)
        results['ref_aug'] = drawn @ results.get('ref_aug', np.eye(4))
        return results


def aug_matrix(
    angle: float, scale: float, mirror_x: bool, mirror_y: bool
) -> np.ndarray:
    """Flip @ scale @ rotation about z (degrees), float64 (4, 4)."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rotation = np.eye(4)
    rotation[:2, :2] = [[cos, -sin], [sin, cos]]
    flip = np.diag([-1.0 if mirror_x else 1, -1.0 if mirror_y else 1, 1, 1])
    return flip @ np.diag([scale, scale, scale, 1.0]) @ rotation


def fold(results: dict[str, Any]) -> dict[str, Any]:
    """Express a sample in the augmented reference frame.

    Cameras, poses, origins and points follow exactly; labels are read
    at the old places of the new voxel centres. Depth maps stay: they are
    distances from cameras, in true metres.

    Args:
        results: what the transforms made, in the frame before
            ``ref_aug`` (not changed).

    Returns:
        dict: the same in the frame after it, without ``ref_aug``.

    Raises:
        ValueError: when there are boxes, which are for scoring.
    """
    results = dict(results)
    ref_aug = results.pop('ref_aug', None)
    if ref_aug is None:
        return results
    if 'gt_boxes' in results:
        raise ValueError(
            'LoadBoxes and VolumeAug do not go together: boxes are scored '
            'in the frame of the data set'
        )
    back = np.linalg.inv(ref_aug)
    for key in ('rig', 'render_rig'):
        if key in results:
            results[key] = _moved_rig(results[key], back)
    results['ref2global'] = results['ref2global'] @ back
    for key in ('adjacent', 'pixel_labels'):
        if key in results:
            results[key] = _moved_frames(results[key], ref_aug)
    for key in ('points', 'ray_origins'):
        if key in results:
            moved = transform_points(ref_aug, results[key])
            results[key] = moved.astype(results[key].dtype)
    if 'gt_occ' in results:
        _fold_labels(results, ref_aug)
    return results


def _moved_rig(rig: CameraRig, back: np.ndarray) -> CameraRig:
    return replace(rig, ref2cam=rig.ref2cam @ rig.ref2cam.new_tensor(back))


def _moved_frames(
    frames: AdjacentFrames | PixelLabels, ref_aug: np.ndarray
) -> AdjacentFrames | PixelLabels:
    """Labels and depths stay as they are; the way to them changes."""
    forth = frames.frame2ref.new_tensor(ref_aug)
    return replace(
        frames,
        rig=_moved_rig(frames.rig, np.linalg.inv(ref_aug)),
        frame2ref=forth @ frames.frame2ref,
    )


def _fold_labels(results: dict[str, Any], ref_aug: np.ndarray) -> None:
    spec = results['label_spec']
    index, inside = _sources(results['label_grid'], ref_aug)
    outside = dict(gt_occ=spec.ignore, gt_flow=0, gt_visible=False)
    for key, value in outside.items():
        if key not in results:
            continue
        moved = results[key][tuple(index)]
        if key == 'gt_flow':
            # a velocity turns, shrinks and mirrors like a displacement
            moved = moved @ ref_aug[:2, :2].T.astype(moved.dtype)
        moved[~inside] = value
        results[key] = moved


def _sources(
    grid: VoxelGrid, ref_aug: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which old voxel each new one reads.

    Returns:
        tuple: index (3, X, Y, Z), clamped to the grid, and whether it
        was inside, bool (X, Y, Z).
    """
    centers = grid.centers(dtype=torch.float64)
    back: Tensor = torch.from_numpy(np.linalg.inv(ref_aug))
    old = transform_points(back, centers)
    index, inside = grid.locate(old)
    index = index.clamp(min=0).minimum(index.new_tensor(grid.shape) - 1)
    return index.movedim(-1, 0).numpy(), inside.numpy()
