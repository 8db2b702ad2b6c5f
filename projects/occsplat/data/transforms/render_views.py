"""Cameras that the render losses look through.

Shape letters: V views, N cameras.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat.structures import CameraRig
from occsplat.structures.checks import Positive, checked

from .key_frames import key_frame, ref2cam_of


@TRANSFORMS.register_module()
class RenderViews(BaseTransform):
    """Cameras of this and neighbouring key frames, with small images.

    VoxelSplat (CVPR 2025), section 3: the volume is seen again from
    where the car was and will be. The views have the raw images' geometry,
    no image augmentation.

    Adds ``render_rig``, a float64 CameraRig of V = len(frames) * N
    cameras, frame by frame, without volume augmentation; and
    ``render_dt``, seconds from the current key frame to theirs, (V,).
    Where the scene ends, the current frame's cameras (and a time of 0)
    stand in, so that V never changes and samples can be stacked.

    Args:
        frames (sequence): offsets in key frames.
        scale (float): size of the views relative to the raw images.

    Raises:
        ValueError: when images have not been loaded before, or scale is
            not positive.
    """

    @checked
    def __init__(
        self,
        frames: Sequence[int] = (0, -2, -1, 1, 2, 3),
        scale: Positive = 0.25,
    ) -> None:
        self.frames = tuple(frames)
        self.scale = scale

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add cameras and times."""
        if 'raw_size' not in results:
            raise ValueError(
                'RenderViews needs the size of the raw images: put it after '
                'LoadMultiViewImages'
            )
        records = [key_frame(results, offset) for offset in self.frames]
        ref2cam = [ref2cam_of(results, record) for record in records]
        cam2img = [record['cam2img'] for record in records]
        rig = CameraRig.from_matrices(
            torch.from_numpy(np.concatenate(ref2cam)),
            torch.from_numpy(np.concatenate(cam2img)),
            *results['raw_size'],
        )
        results['render_rig'] = rig.scaled(self.scale)
        times = [r['timestamp'] - results['timestamp'] for r in records]
        cameras = len(results['cam2img'])
        results['render_dt'] = np.repeat(times, cameras)
        return results
