"""FB-Occ's view transformation: forward, then backward projection.

Shape letters: B batch, N cameras, C channels, D depth bins, H W feature
map, X Y Z voxels, h w network-input image.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import CameraRig, OccBatch, VoxelGrid, as_grid

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
    ) -> None:
        super().__init__()
        self.grid = as_grid(grid)
        self.bins = DepthBins(**(depth_bins or {}))
        self.depth_net = DepthNet(
            in_channels, mid_channels, channels, self.bins.count
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
            depth probabilities (B, N, D, H, W).
        """
        context, logits = self.depth_net(features, rig)
        depth = logits.softmax(dim=2)
        volume = forward_projection(context, depth, rig, self.bins, self.grid)
        if self.backward_projection is not None:
            bev = self.backward_projection(
                volume, context, depth, rig, self.bins
            )
            volume = volume + bev.unsqueeze(-1)
        return volume, depth

    def loss(self, depth: Tensor, batch: OccBatch) -> dict[str, Tensor]:
        """Cross-entropy of the depth distribution with LiDAR returns.

        Binary, over all bins of the cells that hold a return, divided by
        the number of such cells (BEVDepth).

        Args:
            depth (Tensor): second output of ``forward``.
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
        nearest = pool_depth(batch.gt_depth, depth.shape[-2:])
        valid = (nearest >= self.bins.start) & (nearest < self.bins.stop)
        index = self.bins.index(nearest[valid])
        target = F.one_hot(index, self.bins.count).to(depth)
        found = depth.movedim(2, -1)[valid]  # (cells, D)
        # a probability of exactly 0 or 1 has no gradient; autocast
        # forbids this loss in half precision, so it runs in float32
        with torch.autocast(depth.device.type, enabled=False):
            total = F.binary_cross_entropy(
                found.float().clamp(1e-6, 1 - 1e-6), target, reduction='sum'
            )
        loss = total / max(len(found), 1)
        return dict(loss_depth=self.depth_weight * loss)


def pool_depth(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """The nearest return in each feature cell, 0 where there is none.

    Args:
        depth (Tensor): metres, 0 for no return, (B, N, h, w).
        size (tuple): (H, W), which must divide (h, w).

    Returns:
        Tensor: (B, N, H, W).

    Raises:
        ValueError: when the sizes do not divide.
    """
    height, width = depth.shape[-2:]
    if height % size[0] or width % size[1]:
        raise ValueError(
            f'a {height}x{width} depth map does not divide into '
            f'{size[0]}x{size[1]} cells'
        )
    far = torch.where(depth > 0, depth, torch.inf)
    cells = far.unflatten(-1, (size[1], -1)).unflatten(-3, (size[0], -1))
    nearest = cells.amin(dim=(-3, -1))
    return torch.where(nearest.isinf(), 0.0, nearest)
