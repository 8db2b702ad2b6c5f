"""Labels and cameras of adjacent key frames.

Shape letters: M adjacent frames, N cameras, X Y Z voxels.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat.structures import AdjacentFrames
from occsplat.structures.checks import Positive, checked

from .key_frames import key_frame, seen_from
from .occ_labels import LoadOccLabels


@TRANSFORMS.register_module()
class LoadAdjacentFrames(BaseTransform):
    """Occupancy labels of adjacent key frames, and the cameras there.

    VoxelSplat (CVPR 2025), section 3: what moves is compared with where
    it is half a second later or earlier. Nothing but the occupancy is
    read, no flow. The views have the raw images' geometry. Label set and
    grid are those of LoadOccLabels.

    Adds ``adjacent``, an AdjacentFrames in float64. Where the scene
    ends, the current frame stands in, with a ``dt`` of 0.

    Args:
        frames (sequence): offsets in key frames, not 0.
        scale (float): size of the views relative to the raw images.
        backwards (bool): say that time runs backwards, the next frame being
            the one before. A control: what has learned flow from motion
            alone must then learn its opposite.

    Raises:
        ValueError: when images or labels have not been loaded before, an
            offset is 0, or scale is not positive; and as LoadOccLabels.
    """

    @checked
    def __init__(
        self,
        frames: Sequence[int] = (-1, 1),
        scale: Positive = 0.25,
        backwards: bool = False,
    ) -> None:
        if not frames or 0 in frames:
            raise ValueError(
                'frames must be offsets to other key frames, without 0, '
                f'got {tuple(frames)}'
            )
        self.frames = tuple(frames)
        self.scale = scale
        self.backwards = backwards

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the frames."""
        if 'raw_size' not in results or 'gt_occ' not in results:
            raise ValueError(
                'LoadAdjacentFrames needs the size of the raw images and '
                'the current labels: put it after LoadMultiViewImages and '
                'LoadOccLabels'
            )
        labels = LoadOccLabels(
            results['label_spec'], results['label_grid'], with_flow=False
        )
        records = [key_frame(results, offset) for offset in self.frames]
        occ = [labels.transform(dict(r))['gt_occ'] for r in records]
        rig, frame2ref, dt = seen_from(results, records, self.scale)
        results['adjacent'] = AdjacentFrames(
            rig,
            frame2ref,
            -dt if self.backwards else dt,
            torch.from_numpy(np.stack(occ)),
        )
        return results
