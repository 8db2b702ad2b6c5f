"""LiDAR points, and the maps of depth and class made of returns.

Shape letters: N cameras, P points, Q pixels that hold a return, H W image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from occsplat.data.point_clouds import read_points
from occsplat.data.sets import lidar2d
from occsplat.structures import CameraRig, LabelSpec, transform_points
from occsplat.structures.checks import (
    NonNegative,
    Positive,
    check_order,
    checked,
)

from .returns import as_maps, class_ids, nearest_in_images, read_returns


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

    #: see ``occsplat.data.inventory.files_read``
    reads = ('lidar_path',)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the points."""
        points = read_points(results['lidar_path'], results['num_pts_feats'])
        lidar2ref = results['lidar2ref']
        points = points[:, :3].astype(np.float64)
        results['points'] = transform_points(lidar2ref, points)
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
        camera = keep.nonzero()[:, 0].numpy()
        depth = depth[keep].numpy()
        place, kept = nearest_in_images(camera, uv[keep].numpy(), depth, rig)
        results['gt_depth'] = _depth_maps(place, depth[kept], rig)
        return results


@TRANSFORMS.register_module()
class LidarSemantics(BaseTransform):
    """Sparse maps of depth and class of the key frame's cameras.

    From the files of ``tools/create_data.py lidar2d``; no point cloud has
    to be loaded. Of the returns in a pixel of the network's images the
    nearest counts. Adds

    - ``gt_depth``, as LidarDepth: the camera's z in metres, 0 where there
      is no return, float32 (N, H, W); files round it to 1/256 m;
    - ``gt_pixel_semantics``, the class of the same returns, uint8
      (N, H, W); the label set's ignore id where there is none, and where
      the label set has no such class ('others' in OpenOcc).

    Args:
        label_spec (str | LabelSpec): whose ids the classes get.
        min_depth (float): metres; nearer returns are dropped (the
            LiDAR's own car).
        max_depth (float): metres; farther returns are dropped.

    Raises:
        ValueError: when images have not been loaded before.
        FileNotFoundError: when the frame has no file.
        DataError: when it is damaged, or made for images of another size.
    """

    #: see ``occsplat.data.inventory.files_read``
    reads = (lidar2d.FILE.key,)

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        min_depth: NonNegative = 1.0,
        max_depth: Positive = 100.0,
    ) -> None:
        check_order(min_depth=min_depth, max_depth=max_depth)
        self.spec = LabelSpec.named(label_spec)
        self.min_depth = min_depth
        self.max_depth = max_depth

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the maps."""
        if 'rig' not in results:
            raise ValueError(
                'LidarSemantics needs LoadMultiViewImages before it'
            )
        rig = results['rig'][0]
        returns = read_returns(results, results['raw_size'])
        keep = (returns.depth >= self.min_depth) & (
            returns.depth < self.max_depth
        )
        camera, depth = returns.camera[keep], returns.depth[keep]
        # all of them are in the raw images, and so none in black padding
        warp = rig.img_aug.numpy()[camera]
        uv = np.einsum('pij,pj->pi', warp[:, :2, :2], returns.uv[keep])
        uv += warp[:, :2, 2]
        place, kept = nearest_in_images(camera, uv, depth, rig)
        label = class_ids(self.spec)[returns.label[keep][kept]]
        label = np.where(label < 0, self.spec.ignore, label).astype(np.uint8)
        results['gt_depth'] = _depth_maps(place, depth[kept], rig)
        results['gt_pixel_semantics'] = torch.from_numpy(
            as_maps(place, label, self.spec.ignore, rig)
        )
        return results


def _depth_maps(
    place: np.ndarray, depth: np.ndarray, rig: CameraRig
) -> Tensor:
    """Depths (Q,) at pixels (Q,) as float32 images (N, H, W)."""
    return torch.from_numpy(as_maps(place, depth, 0.0, rig)).float()


def _in_raw_image(
    uv: Tensor, rig: CameraRig, raw_size: tuple[int, int]
) -> Tensor:
    """Whether pixels (N, P, 2) show anything but black padding, (N, P)."""
    back = torch.linalg.inv(rig.img_aug)
    raw = uv @ back[:, :2, :2].transpose(-1, -2) + back[:, None, :2, 2]
    return ((raw >= 0) & (raw < raw.new_tensor(raw_size))).all(dim=-1)
