"""Depth-aware backward projection (FB-BEV, Li et al. 2023).

Forward projection leaves holes; here every pillar of the bird's-eye view
looks back into the images. What it reads at a pixel counts as much as
the depth net believes that something stands at the pillar's distance.

Shape letters: B batch, N cameras, C channels, X Y Z voxels, Q queries
(= X * Y pillars), q the most queries that one camera sees, A anchors
along z, M heads, J points per head, D depth bins, H W feature map.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from torch import Tensor, nn

from occsplat.ops import deformable_attention
from occsplat.structures import CameraRig, VoxelGrid, as_grid
from occsplat.structures.checks import Count, checked

from .forward_projection import DepthBins
from .seen_queries import SeenQueries, find_views
from .star import star


class BackwardProjection(nn.Module):
    """One BEVFormer-like layer on the z-mean of the lifted volume.

    Args:
        channels (int): C.
        grid (dict | VoxelGrid): the volume.
        num_anchors (int): A, heights at which a pillar looks.
        num_heads (int): M.
        points_per_anchor (int): samples that each head takes around an anchor.
        feedforward_channels (int): width of the feed-forward network.
        unseen_anchors (str): what anchors beyond the image, of a pillar
            that has others in it, do: 'skip' them, or 'count' them as FB-Occ
            was published with.
        depth_padding (str): see ``depth_belief``; FB-Occ was published with
            'zeros'.
    """

    @checked
    def __init__(
        self,
        channels: Count,
        grid: dict | VoxelGrid,
        num_anchors: Count = 4,
        num_heads: Count = 8,
        points_per_anchor: Count = 2,
        feedforward_channels: Count = 320,
        unseen_anchors: Literal['skip', 'count'] = 'skip',
        depth_padding: Literal['border', 'zeros'] = 'border',
    ) -> None:
        super().__init__()
        self.grid = as_grid(grid)
        self.unseen_anchors = unseen_anchors
        self.depth_padding = depth_padding
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
        views = find_views(rig, self._anchors(rig))
        belief = depth_belief(depth, views, bins, self.depth_padding)
        visible = views.visible
        if self.unseen_anchors == 'count':
            # all of a pillar that the camera sees somewhere
            visible = visible.any(dim=-1, keepdim=True)
        belief = belief * visible
        attended = self.cross_attention(
            query, position, views, context, belief
        )
        query = self.norms[2](self.feedforward(self.norms[1](attended)))
        return query.transpose(1, 2).reshape(bev.shape)

    def _anchors(self, rig: CameraRig) -> Tensor:
        """Points on each pillar at A even heights, (Q, A, 3)."""
        count = self.cross_attention.num_anchors
        pillars = VoxelGrid(self.grid.range, (*self.grid.shape[:2], count))
        return pillars.centers(rig.K.device).flatten(0, 1)


class StarAttention(nn.Module):
    """The learned parts of single-level deformable attention.

    Offsets, in cells of the map, start as a ``star``. As in
    BEVFormer and FB-Occ the distances of all A * J points differ: point j
    around reference a is j * A + a + 1 cells away. Values and outputs
    start as Xavier's uniform weights without bias.

    Args:
        channels (int): C, divisible by the number of heads.
        num_heads (int): M.
        num_references (int): reference points a query has.
        points_per_reference (int): samples that each head takes around each.

    Raises:
        ValueError: when channels do not divide into heads.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_references: int,
        points_per_reference: int,
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(
                f'{channels} channels do not divide into {num_heads} heads'
            )
        self.layout = (num_heads, num_references, points_per_reference)
        points = math.prod(self.layout)
        self.offsets = nn.Linear(channels, points * 2)
        self.weights = nn.Linear(channels, points)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.weights, self.value, self.output):
            nn.init.zeros_(layer.bias)
        points = torch.arange(num_references * points_per_reference)
        reach = 1 + points.view(points_per_reference, num_references).T
        with torch.no_grad():
            self.offsets.bias.copy_(star(num_heads, reach).flatten())

    def read(
        self,
        query: Tensor,
        reference: Tensor,
        image: Tensor,
        gate: Tensor | None = None,
    ) -> Tensor:
        """What queries read in a map, before the output layer.

        Args:
            query (Tensor): with position, (B, Q, C).
            reference (Tensor): (x, y) in 0..1 of the map, (B or 1, Q,
                references, 2).
            image (Tensor): (B, C, H, W).
            gate (Tensor, optional): factor of the attention around each
                reference, after the softmax, (B, Q, references).

        Returns:
            Tensor: (B, Q, C).
        """
        batch, count, channels = query.shape
        height, width = image.shape[2:]
        offsets = self.offsets(query).view(batch, count, *self.layout, 2)
        offsets = offsets / offsets.new_tensor([width, height])
        locations = reference[:, :, None, :, None] + offsets
        weights = self.weights(query).view(batch, count, self.layout[0], -1)
        weights = weights.softmax(-1).view(batch, count, *self.layout)
        if gate is not None:
            weights = weights * gate[:, :, None, :, None]
        value = self.value(image.flatten(2).transpose(1, 2))
        return deformable_attention(
            value.view(batch, height * width, self.layout[0], -1),
            [(height, width)],
            locations.flatten(3, 4).unsqueeze(3),
            weights.flatten(3, 4).unsqueeze(3),
        )


class BEVSelfAttention(StarAttention):
    """Deformable attention among pillars, with residual."""

    def __init__(
        self, channels: int, num_heads: int, num_points: int = 4
    ) -> None:
        super().__init__(channels, num_heads, 1, num_points)

    def forward(
        self, query: Tensor, position: Tensor, shape: tuple[int, int]
    ) -> Tensor:
        """(B, Q, C) to the same; Q runs over the (X, Y) of ``shape``."""
        size_x, size_y = shape
        device = query.device
        x = (torch.arange(size_x, device=device) + 0.5) / size_x
        y = (torch.arange(size_y, device=device) + 0.5) / size_y
        # rows of the "image" are x, columns y
        center = torch.stack(
            torch.meshgrid(x, y, indexing='ij')[::-1], dim=-1
        ).view(1, -1, 1, 2)
        image = query.transpose(1, 2).unflatten(2, (size_x, size_y))
        return query + self.output(self.read(query + position, center, image))


class DepthAwareCrossAttention(StarAttention):
    """Pillars read images where their anchors project, with residual."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_anchors: int,
        points_per_anchor: int,
    ) -> None:
        super().__init__(channels, num_heads, num_anchors, points_per_anchor)
        self.num_anchors = num_anchors

    def forward(
        self,
        query: Tensor,
        position: Tensor,
        views: SeenQueries,
        context: Tensor,
        belief: Tensor,
    ) -> Tensor:
        """(B, Q, C) to the same: the mean over the cameras that see a
        pillar of what it reads there, FB-BEV equation 3.

        Args:
            query (Tensor): (B, Q, C).
            position (Tensor): (Q, C).
            views (SeenQueries): which camera sees which pillar.
            context (Tensor): (B, N, C, H, W).
            belief (Tensor): that a surface stands at each anchor, (B, N,
                q, A).
        """
        read = self.read(
            views.gather(query + position),
            views.uv.flatten(0, 1),
            context.flatten(0, 1),
            belief.flatten(0, 1),
        )
        mean = views.mean(read, query.shape[1])
        return query + self.output(mean)


def depth_belief(
    depth: Tensor, views: SeenQueries, bins: DepthBins, padding: str = 'border'
) -> Tensor:
    """Probability that a surface stands at each anchor, (B, N, q, A).

    The depth distribution at the anchor's pixel, bilinear in the image,
    at the bin of the anchor's depth.

    Args:
        depth (Tensor): probabilities, (B, N, D, H, W).
        views (SeenQueries): where anchors project.
        bins (DepthBins): what the D probabilities belong to.
        padding (str): what lies around the map, 'border': the outer half of
            a border cell believes what the cell believes; 'zeros': nothing.
    """
    # at a bin's very centre, so that no other bin has a share
    level = (bins.index(views.depth) + 0.5) / bins.count
    points = 2 * torch.cat([views.uv, level.unsqueeze(-1)], dim=-1) - 1
    read = F.grid_sample(
        depth.flatten(0, 1).unsqueeze(1),
        points.flatten(0, 1).unsqueeze(3),
        padding_mode=padding,
        align_corners=False,
    )
    return read.view(views.depth.shape)
