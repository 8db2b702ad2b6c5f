"""Depth-aware backward projection (FB-BEV, Li et al. 2023).

Forward projection leaves holes; here every pillar of the bird's-eye view
looks back into the images. What it reads at a pixel counts as much as
the depth net believes that something stands at the pillar's distance.

Shape letters: B batch, N cameras, C channels, X Y Z voxels, Q queries
(= X * Y pillars), A anchors along z, M heads, J points a head, D depth
bins, H W feature map.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from torch import Tensor, nn

from occsplat.ops import deformable_attention
from occsplat.structures import CameraRig, VoxelGrid, as_grid

from .forward_projection import DepthBins


class BackwardProjection(nn.Module):
    """One BEVFormer-like layer on the z-mean of the lifted volume.

    Args:
        channels (int): C.
        grid (dict | VoxelGrid): the volume.
        num_anchors (int): A, heights at which a pillar looks.
        num_heads (int): M.
        points_per_anchor (int): samples a head takes around an anchor.
        feedforward_channels (int): width of the feed-forward network.
    """

    def __init__(
        self,
        channels: int,
        grid: dict | VoxelGrid,
        num_anchors: int = 4,
        num_heads: int = 8,
        points_per_anchor: int = 2,
        feedforward_channels: int = 320,
    ) -> None:
        super().__init__()
        self.grid = as_grid(grid)
        size_x, size_y, _ = self.grid.shape
        self.query = nn.Parameter(torch.randn(channels, size_x, size_y))
        half = channels // 2
        self.position_x = nn.Parameter(torch.rand(half, size_x, 1))
        self.position_y = nn.Parameter(torch.rand(channels - half, 1, size_y))
        self.self_attention = BEVSelfAttention(channels, num_heads)
        self.cross_attention = DepthAwareCrossAttention(
            channels, num_heads, num_anchors, points_per_anchor
        )
        self.feedforward = FFN(
            channels,
            feedforward_channels,
            ffn_drop=0.0,
            act_cfg=dict(type='ReLU', inplace=True),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(
        self,
        volume: Tensor,
        context: Tensor,
        depth: Tensor,
        rig: CameraRig,
        bins: DepthBins,
    ) -> Tensor:
        """Refined bird's-eye features, (B, C, X, Y).

        Args:
            volume (Tensor): forward projection, (B, C, X, Y, Z).
            context (Tensor): (B, N, C, H, W).
            depth (Tensor): probabilities, (B, N, D, H, W).
            rig (CameraRig): (B, N).
            bins (DepthBins): what the D probabilities belong to.
        """
        bev = self.query + volume.mean(dim=-1)
        position = torch.cat(
            [
                self.position_x.expand(-1, -1, bev.shape[3]),
                self.position_y.expand(-1, bev.shape[2], -1),
            ]
        )
        query = bev.flatten(2).transpose(1, 2)  # (B, Q, C)
        position = position.flatten(1).T
        shape = bev.shape[2:]
        query = self.norms[0](self.self_attention(query, position, shape))
        attended = self.cross_attention(
            query, position, self._anchors(rig), context, depth, rig, bins
        )
        query = self.norms[2](self.feedforward(self.norms[1](attended)))
        return query.transpose(1, 2).reshape(bev.shape)

    def _anchors(self, rig: CameraRig) -> Tensor:
        """Points on each pillar at A even heights, (Q, A, 3)."""
        count = self.cross_attention.num_anchors
        pillars = VoxelGrid(self.grid.range, (*self.grid.shape[:2], count))
        return pillars.centers(rig.K.device).flatten(0, 1)


class BEVSelfAttention(nn.Module):
    """Deformable attention among pillars, with residual."""

    def __init__(
        self, channels: int, num_heads: int, num_points: int = 4
    ) -> None:
        super().__init__()
        self.num_heads, self.num_points = num_heads, num_points
        self.offsets = _directional_offsets(channels, num_heads, num_points)
        self.weights = nn.Linear(channels, num_heads * num_points)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(
        self, query: Tensor, position: Tensor, shape: tuple[int, int]
    ) -> Tensor:
        """(B, Q, C) to the same; Q runs over the (X, Y) of ``shape``."""
        batch, count, _ = query.shape
        heads, points = self.num_heads, self.num_points
        size_x, size_y = shape
        device = query.device
        x = (torch.arange(size_x, device=device) + 0.5) / size_x
        y = (torch.arange(size_y, device=device) + 0.5) / size_y
        # rows of the "image" are x, columns y
        center = torch.stack(
            torch.meshgrid(x, y, indexing='ij')[::-1], dim=-1
        ).view(1, count, 1, 1, 1, 2)
        located = query + position
        offsets = self.offsets(located).view(batch, count, heads, 1, points, 2)
        offsets = offsets / offsets.new_tensor([size_y, size_x])
        weights = self.weights(located).view(batch, count, heads, -1)
        attended = deformable_attention(
            self.value(query).view(batch, count, heads, -1),
            [shape],
            center + offsets,
            weights.softmax(-1).unsqueeze(3),
        )
        return query + self.output(attended)


class DepthAwareCrossAttention(nn.Module):
    """Pillars read images where their anchors project, with residual."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_anchors: int,
        points_per_anchor: int,
    ) -> None:
        super().__init__()
        self.num_heads, self.num_anchors = num_heads, num_anchors
        points = num_anchors * points_per_anchor
        self.points_per_anchor = points_per_anchor
        self.offsets = _directional_offsets(channels, num_heads, points)
        self.weights = nn.Linear(channels, num_heads * points)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(
        self,
        query: Tensor,
        position: Tensor,
        anchors: Tensor,
        context: Tensor,
        depth: Tensor,
        rig: CameraRig,
        bins: DepthBins,
    ) -> Tensor:
        """(B, Q, C) to the same; see BackwardProjection for the rest."""
        located = query + position
        results = []
        for b in range(query.shape[0]):
            total = torch.zeros_like(query[b])
            seen = query.new_zeros(query.shape[1], 1)
            uv, anchor_depth = rig[b].project(anchors.flatten(0, 1))
            uv = uv.unflatten(1, anchors.shape[:2])  # (N, Q, A, 2)
            anchor_depth = anchor_depth.unflatten(1, anchors.shape[:2])
            uv = uv / uv.new_tensor([rig.width, rig.height])
            visible = (anchor_depth > 1e-5) & ((uv > 0) & (uv < 1)).all(-1)
            for n in range(context.shape[1]):
                # only the pillars that this camera sees
                hit = visible[n].any(-1).nonzero()[:, 0]
                belief = _depth_belief(
                    depth[b, n], uv[n, hit], bins.index(anchor_depth[n, hit])
                )
                belief = belief * visible[n, hit]
                read = self._read(
                    located[b, hit], uv[n, hit], belief, context[b, n]
                )
                total = total.index_add(0, hit, read)
                seen[hit] += 1
            results.append(total / seen.clamp(min=1))
        return query + self.output(torch.stack(results))

    def _read(
        self, located: Tensor, uv: Tensor, belief: Tensor, image: Tensor
    ) -> Tensor:
        """One camera's answer to the queries that it sees, (q, C).

        Args:
            located (Tensor): queries with position, (q, C).
            uv (Tensor): anchors in 0..1 of the image, (q, A, 2).
            belief (Tensor): how likely an anchor is a surface, (q, A).
            image (Tensor): context features, (C, H, W).
        """
        count, heads = located.shape[0], self.num_heads
        height, width = image.shape[1:]
        offsets = self.offsets(located).view(
            count, heads, self.num_anchors, self.points_per_anchor, 2
        )
        offsets = offsets / offsets.new_tensor([width, height])
        locations = uv[:, None, :, None] + offsets
        weights = self.weights(located).view(count, heads, -1).softmax(-1)
        weights = weights * belief.repeat_interleave(
            self.points_per_anchor, dim=1
        ).unsqueeze(1)
        value = self.value(image.flatten(1).T)
        return deformable_attention(
            value.view(1, height * width, heads, -1),
            [(height, width)],
            locations.view(1, count, heads, 1, -1, 2),
            weights.view(1, count, heads, 1, -1),
        )[0]


def _depth_belief(depth: Tensor, uv: Tensor, index: Tensor) -> Tensor:
    """Depth probability at each anchor's pixel and bin, (q, A).

    Args:
        depth (Tensor): (D, H, W).
        uv (Tensor): 0..1 of the image, (q, A, 2).
        index (Tensor): depth bin of the anchor, (q, A).
    """
    read = F.grid_sample(depth[None], 2 * uv[None] - 1, align_corners=False)
    return read[0].gather(0, index[None])[0]


def _directional_offsets(
    channels: int, num_heads: int, num_points: int
) -> nn.Linear:
    """Offsets in feature cells that start as a star: head m looks in
    direction 2 pi m / M, its j-th point j + 1 cells away."""
    layer = nn.Linear(channels, num_heads * num_points * 2)
    angle = torch.arange(num_heads) * (2 * math.pi / num_heads)
    star = torch.stack([angle.cos(), angle.sin()], dim=-1)
    star = star / star.abs().amax(dim=-1, keepdim=True)
    reach = torch.arange(1, num_points + 1).view(1, -1, 1)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_((star[:, None] * reach).flatten())
    return layer
