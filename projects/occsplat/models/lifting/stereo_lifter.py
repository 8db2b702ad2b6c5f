"""BEVStereo's view transformation, as occupancy networks use it.

This is BEVDet's BEVStereo4D (and that of RenderOcc and GSRender): a plane
sweep over fixed depths helps the depth net, and the frustums of several
frames are placed in the volume of the current one.

Shape letters: B batch, T frames, N cameras, C channels, S stereo channels,
D depth bins, H W feature map, X Y Z voxels, h w network-input image.
"""

from __future__ import annotations

from typing import Annotated, Literal, Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import (
    CameraRig,
    OccBatch,
    VoxelGrid,
    as_grid,
    same_shape,
)
from occsplat.structures.checks import Count, NonNegative, checked

from ..image_features import ImageFeatures
from ..volume.resnet3d import BasicBlock3D
from .cost_volume import cost_volume
from .depth_loss import depth_loss
from .depth_net import DepthNet
from .forward_projection import DepthBins, Landing, projection


@MODELS.register_module()
class StereoLifter(nn.Module):
    """Image features of several frames to one volume, with a depth loss.

    Every frame's frustum is placed by its own cameras in the current
    reference frame, so that volumes are aligned as they are made, and
    nothing is resampled. Frames of the past are lifted without gradient.
    With ``stereo=False`` and one frame this is BEVDet's occupancy model.

    Args:
        in_channels (int): C of the image features.
        channels (int): C of one frame's volume.
        grid (dict | VoxelGrid): the volume.
        mid_channels (int): width of the depth net.
        depth_bins (dict, optional): start, stop and step in metres,
            default 1 to 45 in steps of 0.5.
        num_frames (int): frames that are lifted, the current one and
            those before it.
        stereo (bool): whether a cost volume helps the depth net. It asks
            for one more frame, with which the oldest is matched.
        cost_strides (sequence of int): from the stereo map to the size of
            the image features, see DepthNet.
        pooling (str): 'sum' as published, or 'mean', of which two channels
            are not the images', see ``mean_projection``.
        landing (dict, optional): arguments of Landing, for networks that
            learned by other conventions.
        pre_process (bool): whether each frame's volume passes a residual
            block, as published. Not where the lifter is frozen.
        pre_process_shortcut (str): of that block: 'identity', or 'conv', a
            3x3x3 convolution as BEVDet has it.
        pyramid_channels (int, optional): see DepthNet; 96 in BEVDet.
        unseen_where (str): see ``cost_volume``.
        depth_weight (float): weight of the depth loss; with 0 it is not
            computed, and no depth target is needed.
        norm_cfg (dict, optional): normalisation in the depth net and in
            the volume's block, BatchNorm by default.
        with_cp (bool): recompute the depth branch in the backward pass,
            see DepthNet.

    Raises:
        ValueError: when num_frames is below 1, or for means of too few
            channels.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        channels: Count,
        grid: dict | VoxelGrid,
        mid_channels: Count = 512,
        depth_bins: Annotated[dict, DepthBins] | None = None,
        num_frames: Count = 2,
        stereo: bool = True,
        cost_strides: Sequence[Count] = (2, 2),
        pooling: Literal['sum', 'mean'] = 'sum',
        landing: Annotated[dict, Landing] | None = None,
        pre_process: bool = True,
        pre_process_shortcut: Literal['identity', 'conv'] = 'identity',
        pyramid_channels: Count | None = None,
        unseen_where: Literal['outside', 'zero'] = 'outside',
        depth_weight: NonNegative = 0.05,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.grid = as_grid(grid)
        self.bins = DepthBins(
            **(depth_bins or dict(start=1.0, stop=45.0, step=0.5))
        )
        self.num_frames = num_frames
        self.stereo = stereo
        self.unseen_where = unseen_where
        self.landing = Landing(**(landing or {}))
        self.project, context_channels = projection(pooling, channels)
        self.depth_net = DepthNet(
            in_channels,
            mid_channels,
            context_channels,
            self.bins.count,
            norm_cfg,
            with_cp,
            cost_channels=self.bins.count if stereo else 0,
            cost_strides=cost_strides,
            pyramid_channels=pyramid_channels,
        )
        self.pre_process: nn.Module = nn.Identity()
        if pre_process:
            self.pre_process = BasicBlock3D(
                channels,
                channels,
                1,
                norm_cfg or dict(type='BN3d'),
                3 if pre_process_shortcut == 'conv' else None,
            )
        self.depth_weight = depth_weight

    def forward(
        self, features: Sequence[ImageFeatures], rig: CameraRig
    ) -> tuple[Tensor, Tensor]:
        """Lift.

        Args:
            features (sequence of ImageFeatures): newest first, one more
                than ``num_frames`` where ``stereo`` is set; context
                (B, N, C, H, W) in all but that one, stereo (B, N, S, ...).
            rig (CameraRig): (B, T, N), newest first.

        Returns:
            tuple: volume (B, num_frames * C, X, Y, Z), oldest frame
            first, and what ``loss`` needs, the current frame's depth
            logits (B, N, D, H, W).

        Raises:
            ValueError: when features and rig differ in T, B or N.
        """
        volume, logits = self._lift(features, rig, 0)
        volumes = [volume]
        with torch.no_grad():
            for age in range(1, self.num_frames):
                volumes.append(self._lift(features, rig, age)[0])
        return torch.cat(volumes[::-1], dim=1), logits

    def look(
        self, features: Sequence[ImageFeatures], rig: CameraRig, age: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Context (B, N, C, H, W) and depth logits (B, N, D, H, W).

        Args:
            features, rig: as for ``forward``.
            age (int): the frame, 0 is the current one.

        Raises:
            ValueError: when features and rig differ in T, B or N.
        """
        batch, num_cameras = features[0].maps[0].shape[:2]
        expected = (batch, self.num_frames + self.stereo, num_cameras)
        same_shape('rig', rig.K.shape[:-2], expected)
        same_shape('frames', (len(features),), expected[1:2])
        matches = None
        if self.stereo:
            cost = cost_volume(
                features[age].stereo,
                features[age + 1].stereo,
                rig[:, age],
                rig[:, age + 1],
                self.bins,
                self.landing,
                self.unseen_where,
            )
            matches = (-cost).softmax(dim=2)
        # The depth net knows the current cameras alone, also of the past:
        # how far the car has moved since then says nothing of a depth.
        return self.depth_net(features[age].maps[0], rig[:, 0], matches)

    def _lift(
        self, features: Sequence[ImageFeatures], rig: CameraRig, age: int
    ) -> tuple[Tensor, Tensor]:
        """One frame's volume (B, C, X, Y, Z), and its depth logits."""
        context, logits = self.look(features, rig, age)
        volume = self.project(
            context, logits.softmax(dim=2), rig[:, age], self.bins, self.grid,
            self.landing,
        )  # fmt: skip
        return self.pre_process(volume), logits

    def loss(self, logits: Tensor, batch: OccBatch) -> dict[str, Tensor]:
        """Cross-entropy of the current depths with LiDAR returns.

        Args:
            logits (Tensor): second output of ``forward``.
            batch (OccBatch): gt_depth (B, N, h, w), metres, 0 where the
                LiDAR returned nothing.

        Returns:
            dict: loss_depth, where it has a weight.

        Raises:
            ValueError: when the batch lacks a depth target that is needed.
        """
        if not self.depth_weight:
            return {}
        loss = depth_loss(logits, batch.gt_depth, self.bins)
        return dict(loss_depth=self.depth_weight * loss)
