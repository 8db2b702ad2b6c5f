"""The last transform: tensors in an OccDataSample.

Shape letters: T frames, N cameras, V views, X Y Z voxels, H W image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat.structures import AdjacentFrames, OccDataSample, PixelLabels

from .volume_aug import fold

_META = (
    'token',
    'scene_token',
    'scene_name',
    'prev',
    'next',
    'timestamp',
    'sample_idx',
    'ref2global',
    'ray_origins',
)
_FIELDS = (
    'gt_occ',
    'gt_flow',
    'gt_visible',
    'gt_offsets',
    'gt_censored',
    'gt_depth',
    'gt_pixel_semantics',
    'gt_boxes',
    'gt_box_labels',
    'gt_box_velocities',
)


@TRANSFORMS.register_module()
class PackOccInputs(BaseTransform):
    """Fold the volume augmentation in and pack a sample.

    Returns ``dict(inputs=dict(imgs=...), data_samples=...)``: images
    uint8 RGB (T, N, 3, H, W), and an OccDataSample with the cameras,
    whatever labels the pipeline has made, and the meta fields. From here
    on there is one reference frame, and no trace of an augmentation.

    Raises:
        ValueError: when no images were loaded, or their sizes differ.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack."""
        if 'imgs' not in results:
            raise ValueError(
                'PackOccInputs needs LoadMultiViewImages before it'
            )
        results = fold(results)
        imgs = np.stack([np.stack(views) for views in results['imgs']])
        imgs = np.ascontiguousarray(imgs.transpose(0, 1, 4, 2, 3))
        sample = OccDataSample(
            metainfo={k: results[k] for k in _META if k in results}
        )
        for key in ('rig', 'render_rig'):
            if key in results:
                setattr(sample, key, results[key].to(torch.float32))
        for key in _FIELDS:
            if key in results:
                setattr(sample, key, torch.as_tensor(results[key]))
        if 'render_dt' in results:
            seconds = torch.from_numpy(results['render_dt'])
            sample.render_dt = seconds.float()
        if 'adjacent' in results:
            sample.adjacent = _in_single_precision(results['adjacent'])
        if 'pixel_labels' in results:
            labels = _in_single_precision(results['pixel_labels'])
            sample.pixel_labels = replace(labels, depth=labels.depth.float())
        return dict(
            inputs=dict(imgs=torch.from_numpy(imgs)), data_samples=sample
        )


def _in_single_precision(
    frames: AdjacentFrames | PixelLabels,
) -> AdjacentFrames | PixelLabels:
    return replace(
        frames,
        rig=frames.rig.to(torch.float32),
        frame2ref=frames.frame2ref.float(),
        dt=frames.dt.float(),
    )
