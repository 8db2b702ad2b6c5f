"""FB-Occ's view transformation: forward, then backward projection.

Shape letters: B batch, T frames, N cameras, C channels, D depth bins, H W
feature map, X Y Z voxels, h w network-input image.
"""

from __future__ import annotations

from typing import Annotated, Literal, Sequence

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
from .backward_projection import BackwardProjection
from .depth_loss import depth_loss
from .depth_net import DepthNet
from .forward_projection import DepthBins, Landing, projection


@MODELS.register_module()
class FBOccLifter(nn.Module):
    """Image features to a volume, with a LiDAR depth loss.

    Args:
        in_channels (int): C of the image features.
        channels (int): C of the volume; with means two of them are not the
            images', see ``mean_projection``.
        grid (dict | VoxelGrid): the volume.
        mid_channels (int): width of the depth net.
        depth_bins (dict): start, stop and step in metres.
        backward (dict, optional): arguments of BackwardProjection; None
            leaves the forward projection alone.
        pooling (str): 'sum' as published, or 'mean'. In a short training
            from scratch a sum teaches next to nothing about the images.
        landing (dict, optional): arguments of Landing, for networks that
            learned by other conventions.
        depth_weight (float): weight of the depth loss; with 0 it is not
            computed, and no depth target is needed.
        norm_cfg (dict, optional): normalisation in the depth net,
            BatchNorm by default.
        with_cp (bool): recompute the depth branch in the backward pass,
            see DepthNet.

    Raises:
        ValueError: for means of too few channels or with a backward
            projection, which reads sums.

    Attributes:
        num_frames (int): frames that are lifted: the current one.
        stereo (bool): whether frames are matched with each other: no.
    """

    num_frames = 1
    stereo = False

    @checked
    def __init__(
        self,
        in_channels: Count,
        channels: Count,
        grid: dict | VoxelGrid,
        mid_channels: Count = 512,
        depth_bins: Annotated[dict, DepthBins] | None = None,
        backward: Annotated[dict, BackwardProjection] | None = None,
        pooling: Literal['sum', 'mean'] = 'sum',
        landing: Annotated[dict, Landing] | None = None,
        depth_weight: NonNegative = 1.0,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.grid = as_grid(grid)
        self.bins = DepthBins(**(depth_bins or {}))
        self.landing = Landing(**(landing or {}))
        self.project, context_channels = projection(pooling, channels)
        if pooling != 'sum' and backward is not None:
            raise ValueError(
                f'the backward projection reads sums: pooling={pooling!r} '
                f'needs backward=None, got {backward}'
            )
        self.depth_net = DepthNet(
            in_channels,
            mid_channels,
            context_channels,
            self.bins.count,
            norm_cfg,
            with_cp,
        )
        self.backward_projection = (
            None
            if backward is None
            else BackwardProjection(channels, self.grid, **backward)
        )
        self.depth_weight = depth_weight

    def forward(
        self, features: Sequence[ImageFeatures], rig: CameraRig
    ) -> tuple[Tensor, Tensor]:
        """Lift.

        Args:
            features (sequence of ImageFeatures): of the current frame,
                of which the finest map is read, (B, N, C, H, W).
            rig (CameraRig): (B, T, N), the current frame first.

        Returns:
            tuple: volume (B, C, X, Y, Z), and what ``loss`` needs, the
            depth logits (B, N, D, H, W).

        Raises:
            ValueError: when features and rig differ in (B, N).
        """
        context, logits = self.look(features, rig)
        depth, rig = logits.softmax(dim=2), rig[:, 0]
        volume = self.project(
            context, depth, rig, self.bins, self.grid, self.landing
        )
        if self.backward_projection is not None:
            bev = self.backward_projection(
                volume, context, depth, rig, self.bins
            )
            volume = volume + bev.unsqueeze(-1)
        return volume, logits

    def look(
        self, features: Sequence[ImageFeatures], rig: CameraRig
    ) -> tuple[Tensor, Tensor]:
        """Context (B, N, C, H, W) and depth logits (B, N, D, H, W).

        Args:
            features, rig: as for ``forward``.

        Raises:
            ValueError: when features and rig differ in (B, N).
        """
        images, rig = features[0].maps[0], rig[:, 0]
        same_shape('cameras', rig.K.shape[:-2], images.shape[:2])
        return self.depth_net(images, rig)

    def loss(self, logits: Tensor, batch: OccBatch) -> dict[str, Tensor]:
        """Cross-entropy of the depth distribution with LiDAR returns.

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
