"""What travels through the network: samples, batches and predictions.

Shape letters: B batch, T frames, N cameras, V render views, K classes,
X Y Z voxels, F features, H W images, s stride of cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from .adjacent_frames import AdjacentFrames
from .camera_rig import CameraRig
from .gaussians import Gaussians
from .pixel_labels import PixelLabels


class OccDataSample(BaseDataElement):
    """One sample: labels and cameras in, predictions out.

    Data fields (each present only where the pipeline made it):
        rig (CameraRig): (T, N) cameras of the network's images.
        gt_occ (Tensor): class ids, uint8 (X, Y, Z).
        gt_flow (Tensor): m/s along the reference axes, (X, Y, Z, 2).
        gt_visible (Tensor): seen by a camera, bool (X, Y, Z).
        gt_offsets (Tensor): how far the run of its label reaches from a
            cell, metres in the directions x+ x- y+ y- z+ z-, 0 where the
            label is unknown, (6, X/s, Y/s, Z/s) for every s-th voxel.
        gt_censored (Tensor): the run ended at an unknown voxel: its true
            length is at least gt_offsets, bool (6, X/s, Y/s, Z/s).
        gt_depth (Tensor): LiDAR depth in network-input pixels, metres,
            0 where there is none, (N, H, W).
        gt_pixel_semantics (Tensor): class ids of those returns, 255 where
            there is none or its class is unknown, uint8 (N, H, W).
        gt_boxes (Tensor): annotated objects of movable classes, x y z of
            the centre, length, width, height in metres, and yaw from x
            to y, (J, 7).
        gt_box_labels (Tensor): their class ids, int64 (J,).
        gt_box_velocities (Tensor): m/s, nan where unknown, (J, 2).
        render_rig (CameraRig): (V,) cameras of the render losses.
        render_dt (Tensor): seconds after the key frame, (V,).
        adjacent (AdjacentFrames): other key frames and their labels.
        pixel_labels (PixelLabels): labelled pixels of key frames.
        pred_occ (Tensor): class ids, uint8 (X, Y, Z).
        pred_flow (Tensor): m/s, (X, Y, Z, 2).
        pred_offsets (Tensor): metres, as gt_offsets.
        pred_opacity (VoxelOpacity): what pred_occ and pred_flow were made
            of, from heads that go by an opacity threshold, (X, Y, Z).
        pred_depth (Tensor): metres, camera z, of each cell of the feature
            map, (N, H/s, W/s).
        pred_pixel_semantics (Tensor): class ids of the same cells, uint8
            (N, H/s, W/s).

    Meta fields: token, scene_token, scene_name, prev, next, timestamp
    (seconds), sample_idx, ref2global (4, 4) float64, ray_origins (R, 3).
    """


@dataclass
class OccBatch:
    """The samples of one step, stacked; see OccDataSample.

    Flow turns into channels-first here, the order of volumes.
    """

    metas: list[dict[str, Any]]
    rig: CameraRig  # (B, T, N)
    gt_occ: Tensor | None = None  # (B, X, Y, Z) int64
    gt_flow: Tensor | None = None  # (B, 2, X, Y, Z)
    gt_visible: Tensor | None = None  # (B, X, Y, Z) bool
    gt_offsets: Tensor | None = None  # (B, 6, X/s, Y/s, Z/s)
    gt_censored: Tensor | None = None  # (B, 6, X/s, Y/s, Z/s) bool
    gt_depth: Tensor | None = None  # (B, N, H, W)
    gt_pixel_semantics: Tensor | None = None  # (B, N, H, W) uint8
    render_rig: CameraRig | None = None  # (B, V)
    render_dt: Tensor | None = None  # (B, V)
    adjacent: list[AdjacentFrames] | None = None  # one per sample
    pixel_labels: list[PixelLabels] | None = None  # one per sample

    @classmethod
    def collate(cls, samples: Sequence[OccDataSample]) -> OccBatch:
        """Stack samples; a field must be in all of them or in none."""

        def stacked(name: str) -> Any:
            values = [getattr(s, name) for s in samples if name in s]
            if not values:
                return None
            if len(values) != len(samples):
                raise ValueError(
                    f'{name} is present in {len(values)} of {len(samples)} '
                    'samples of a batch; all must agree'
                )
            if isinstance(values[0], CameraRig):
                return CameraRig.stack(values)
            if isinstance(values[0], (AdjacentFrames, PixelLabels)):
                return values
            return torch.stack(values)

        occ, flow = stacked('gt_occ'), stacked('gt_flow')
        return cls(
            metas=[dict(s.metainfo) for s in samples],
            rig=stacked('rig'),
            gt_occ=None if occ is None else occ.long(),
            gt_flow=None if flow is None else flow.permute(0, 4, 1, 2, 3),
            gt_visible=stacked('gt_visible'),
            gt_offsets=stacked('gt_offsets'),
            gt_censored=stacked('gt_censored'),
            gt_depth=stacked('gt_depth'),
            gt_pixel_semantics=stacked('gt_pixel_semantics'),
            render_rig=stacked('render_rig'),
            render_dt=stacked('render_dt'),
            adjacent=stacked('adjacent'),
            pixel_labels=stacked('pixel_labels'),
        )


@dataclass
class OccPrediction:
    """What an occupancy head says of a batch.

    Attributes:
        logits (Tensor): (B, K, X, Y, Z).
        flow (Tensor | None): m/s, (B, 2, X, Y, Z).
        gaussians: one set per sample, where the head predicts them.
        features (Tensor | None): last voxel features at label
            resolution, what Gaussian decoders read, (B, F, X, Y, Z).
        offsets (Tensor | None): how far the run of its class reaches from
            a cell, metres in the directions x+ x- y+ y- z+ z-,
            (B, 6, X/s, Y/s, Z/s) for every s-th voxel.
        coarse_logits (sequence of Tensor): what the head says of coarser
            grids, which learn, too, (B, K, X/2, Y/2, Z/2) and so on.
        density (Tensor | None): what absorbs light, per metre, where the
            head predicts it, (B, X, Y, Z).
        decode (callable, optional): the head's layers behind
            ``features``, which look at a voxel alone: features
            (B, F, X, Y, Z) and where their voxels stand, metres
            (B, X, Y, Z, 3), to another OccPrediction. What the head would
            say of features that were read somewhere else.
    """

    logits: Tensor
    flow: Tensor | None = None
    gaussians: list[Gaussians] | None = field(default=None)
    features: Tensor | None = None
    offsets: Tensor | None = None
    coarse_logits: Sequence[Tensor] = ()
    density: Tensor | None = None
    decode: Callable[[Tensor, Tensor], OccPrediction] | None = None
