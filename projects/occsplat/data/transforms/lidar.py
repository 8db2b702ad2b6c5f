"""LiDAR points and the depth maps made of them.

Shape letters: N cameras, P points, H W image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from occsplat.data.point_clouds import read_points
from occsplat.structures.checks import NonNegative, Positive, check_order, checked
from occsplat.structures import CameraRig


@TRANSFORMS.register_module()
class LoadLidarPoints(BaseTransform):
    """Read the key frame's sweep.

    Adds ``points``, metres in the reference frame before any volume
    augmentation, float64 (P, 3).

    Raises:
        FileNotFoundError: when the file is missing.
        DataError: when it is no whole sweep of so many columns, or has
            points that are not finite; see ``read_points``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the points."""
        points = read_points(results['lidar_path'], results['num_pts_feats'])
        lidar2ref = results['lidar2ref']
        points = points[:, :3].astype(np.float64)
        results['points'] = points @ lidar2ref[:3, :3].T + lidar2ref[:3, 3]
        return results


@TRANSFORMS.register_module()
class LidarDepth(BaseTransform):
    """Sparse depth maps of the key frame's cameras.

    Adds ``gt_depth``, the camera's z in metres of the nearest return in
    each pixel of the network's images, 0 where there is none, float32
    (N, H, W). Depths are true metres whatever the volume augmentation.

    Args:
        min_depth (float): metres; nearer returns are dropped (the
            LiDAR's own car).
        max_depth (float): metres; farther returns are dropped.

    Raises:
        ValueError: when images or points have not been loaded before.
    """

    @checked
    def __init__(
        self, min_depth: NonNegative = 1.0, max_depth: Positive = 100.0
    ) -> None:
        check_order(min_depth=min_depth, max_depth=max_depth)
        self.min_depth = min_depth
        self.max_depth = max_depth

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the maps."""
        missing = {'rig', 'points'} - set(results)
        if missing:
            raise ValueError(
                'LidarDepth needs LoadMultiViewImages and LoadLidarPoints '
                f'before it; no {sorted(missing)} in the results'
            )
        rig = results['rig'][0]
        uv, depth = rig.project(torch.from_numpy(results['points']))
        keep = (depth >= self.min_depth) & (depth < self.max_depth)
        keep &= _in_raw_image(uv, rig, results['raw_size'])
        results['gt_depth'] = torch.stack(
            [
                _nearest(uv[n, keep[n]], depth[n, keep[n]], rig)
                for n in range(rig.num_cameras)
            ]
        )
        return results


def _in_raw_image(
    uv: Tensor, rig: CameraRig, raw_size: tuple[int, int]
) -> Tensor:
    """Whether pixels (N, P, 2) show anything but black padding, (N, P)."""
    back = torch.linalg.inv(rig.img_aug)
    raw = uv @ back[:, :2, :2].transpose(-1, -2) + back[:, None, :2, 2]
    return ((raw >= 0) & (raw < raw.new_tensor(raw_size))).all(dim=-1)


def _nearest(uv: Tensor, depth: Tensor, rig: CameraRig) -> Tensor:
    """Smallest depth in each pixel, (H, W); uv (P, 2), depth (P,)."""
    column, row = torch.floor(uv).long().unbind(dim=-1)
    inside = (column >= 0) & (column < rig.width)
    inside &= (row >= 0) & (row < rig.height)
    pixel = (row * rig.width + column)[inside]
    image = depth.new_full((rig.height * rig.width,), torch.inf)
    image.scatter_reduce_(0, pixel, depth[inside], reduce='amin')
    image[torch.isinf(image)] = 0
    return image.view(rig.height, rig.width).float()
