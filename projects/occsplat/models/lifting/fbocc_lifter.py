"""FB-Occ's view transformation: forward, then backward projection.

Shape letters: B batch, N cameras, C channels, D depth bins, H W feature
map, X Y Z voxels, h w network-input image.
"""

from __future__ import annotations

from typing import Any

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

from .backward_projection import BackwardProjection
from .depth_net import DepthNet
from .forward_projection import DepthBins, forward_projection


@MODELS.register_module()
class FBOccLifter(nn.Module):
    """Image features to a volume, with a LiDAR depth loss.

    Args:
        in_channels (int): C of the image features.
        channels (int): C of the volume.
        grid (dict | VoxelGrid): the volume.
        mid_channels (int): width of the depth net.
        depth_bins (dict): start, stop and step in metres.
        backward (dict, optional): arguments of BackwardProjection; None
            leaves the forward projection alone.
        depth_weight (float): weight of the depth loss.
        norm_cfg (dict, optional): normalisation in the depth net,
            BatchNorm by default.
        with_cp (bool): recompute the depth branch in the backward pass,
            see DepthNet.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        grid: dict | VoxelGrid,
        mid_channels: int = 512,
        depth_bins: dict[str, float] | None = None,
        backward: dict[str, Any] | None = None,
        depth_weight: float = 1.0,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.grid = as_grid(grid)
        self.bins = DepthBins(**(depth_bins or {}))
        self.depth_net = DepthNet(
            in_channels,
            mid_channels,
            channels,
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
        self, features: Tensor, rig: CameraRig
    ) -> tuple[Tensor, Tensor]:
        """Lift.

        Args:
            features (Tensor): (B, N, C, H, W).
            rig (CameraRig): (B, N).

        Returns:
            tuple: volume (B, C, X, Y, Z), and what ``loss`` needs, the
            depth logits (B, N, D, H, W).

        Raises:
            ValueError: when features and rig differ in (B, N).
        """
        same_shape('cameras', rig.K.shape[:-2], features.shape[:2])
        context, logits = self.depth_net(features, rig)
        depth = logits.softmax(dim=2)
        volume = forward_projection(context, depth, rig, self.bins, self.grid)
        if self.backward_projection is not None:
            bev = self.backward_projection(
                volume, context, depth, rig, self.bins
            )
            volume = volume + bev.unsqueeze(-1)
        return volume, logits

    def loss(self, logits: Tensor, batch: OccBatch) -> dict[str, Tensor]:
        """Cross-entropy of the depth distribution with LiDAR returns.

        Args:
            logits (Tensor): second output of ``forward``.
            batch (OccBatch): gt_depth (B, N, h, w), metres, 0 where the
                LiDAR returned nothing.

        Returns:
            dict: loss_depth.

        Raises:
            ValueError: when the batch has no depth target.
        """
        if batch.gt_depth is None:
            raise ValueError(
                'FBOccLifter needs a LiDAR depth target: add LoadLidarPoints '
                'and LidarDepth to the training pipeline'
            )
        loss = depth_loss(logits, batch.gt_depth, self.bins)
        return dict(loss_depth=self.depth_weight * loss)


def depth_loss(logits: Tensor, gt_depth: Tensor, bins: DepthBins) -> Tensor:
    """Binary cross-entropy over the bins of cells with a LiDAR return.

    Summed over the bins, divided by the number of such cells (BEVDepth):
    ``-log p[target] - sum over the other bins of log(1 - p)``.

    Args:
        logits (Tensor): (B, N, D, H, W).
        gt_depth (Tensor): metres, 0 for no return, (B, N, h, w).
        bins (DepthBins): what the D logits belong to.

    Returns:
        Tensor: a scalar, zero when no cell holds a return.
    """
    nearest = pool_depth(gt_depth, logits.shape[-2:], bins)
    valid = nearest > 0
    target = bins.index(nearest[valid]).unsqueeze(1)
    found = logits.movedim(2, -1)[valid].float()  # (cells, D)
    # from logits: a bin that lost all its probability still has a gradient
    positive = -found.log_softmax(dim=1).gather(1, target)
    others = found.softmax(dim=1).scatter(1, target, 0.0)
    negative = -torch.log1p(-others.clamp(max=1 - 1e-6))
    total = positive.sum() + negative.sum()
    return total / max(len(found), 1)


def pool_depth(
    depth: Tensor, size: tuple[int, int], bins: DepthBins
) -> Tensor:
    """The nearest return within the bins in each feature cell.

    Args:
        depth (Tensor): metres, 0 for no return, (B, N, h, w).
        size (tuple): (H, W), which must divide (h, w).
        bins (DepthBins): returns outside them do not count.

    Returns:
        Tensor: metres, 0 where there is none, (B, N, H, W).

    Raises:
        ValueError: when the sizes do not divide.
    """
    height, width = depth.shape[-2:]
    if height % size[0] or width % size[1]:
        raise ValueError(
            f'a {height}x{width} depth map does not divide into '
            f'{size[0]}x{size[1]} cells'
        )
    known = (depth >= bins.start) & (depth < bins.stop) & (depth > 0)
    far = torch.where(known, depth, torch.inf)
    cells = far.unflatten(-1, (size[1], -1)).unflatten(-3, (size[0], -1))
    nearest = cells.amin(dim=(-3, -1))
    return torch.where(nearest.isinf(), 0.0, nearest)
