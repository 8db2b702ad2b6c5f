"""Queries of a volume read the feature maps of the cameras that see them.

The image cross-attention of TPVFormer (Huang et al., CVPR 2023, section
3.3) and SurroundOcc (Wei et al., ICCV 2023, section 3.3), which both take
from BEVFormer.

Shape letters: B batch, N cameras, Q queries, q the most queries that one
camera sees, C channels, M heads, L levels of the image features, A anchors,
J points per anchor, P = A * J points, H W feature map.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import torch
from torch import Tensor, nn

from occsplat.ops import deformable_attention

from .seen_queries import SeenQueries
from .star import star

#: metres in front of a camera from which on an anchor is read
MIN_DEPTH = 1e-5


class Sampling(NamedTuple):
    """How a set of queries looks at images.

    Attributes:
        anchors: A, places in space that a query looks at.
        points: J, samples that each head takes around an anchor, in each
            level of the image features.
    """

    anchors: int
    points: int

    @property
    def count(self) -> int:
        """P."""
        return self.anchors * self.points

    def anchor_of_point(self, device: torch.device | None = None) -> Tensor:
        """The anchor that each point belongs to, int64 (P,).

        The points of an anchor follow one another, as in the published
        networks.
        """
        anchors = torch.arange(self.anchors, device=device)
        return anchors.repeat_interleave(self.points)


class CameraAttention(nn.Module):
    """Deformable attention to images, a mean over cameras, and a residual.

    Sets of queries (the three planes of TPVFormer) share values and output
    and have offsets and weights of their own.

    Args:
        channels (int): C, divisible by the number of heads.
        num_heads (int): M.
        num_levels (int): L.
        samplings (sequence of Sampling): one for each set of queries.
        dropout (float): of what was read.

    Raises:
        ValueError: when channels do not divide into heads.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_levels: int,
        samplings: Sequence[Sampling],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(
                f'{channels} channels do not divide into {num_heads} heads'
            )
        self.num_heads, self.num_levels = num_heads, num_levels
        self.samplings = tuple(samplings)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        slots = [num_heads * num_levels * s.count for s in self.samplings]
        self.offsets = nn.ModuleList(nn.Linear(channels, 2 * n) for n in slots)
        self.weights = nn.ModuleList(nn.Linear(channels, n) for n in slots)
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (*self.offsets, *self.weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            for layer, sampling in zip(self.offsets, self.samplings):
                reach = 1 + torch.arange(sampling.count)
                reach = reach.expand(num_levels, -1)
                layer.bias.copy_(star(num_heads, reach).flatten())

    def forward(
        self,
        queries: Sequence[Tensor],
        views: Sequence[SeenQueries],
        maps: Sequence[Tensor],
    ) -> list[Tensor]:
        """Read.

        Args:
            queries (sequence of Tensor): a (B, Q, C) for each sampling.
            views (sequence of SeenQueries): who sees them.
            maps (sequence of Tensor): L levels, (B, N, C, H, W).

        Returns:
            list of Tensor: as the queries.
        """
        shapes = [level.shape[-2:] for level in maps]
        pixels = torch.cat([level.flatten(3) for level in maps], dim=3)
        value = self.value(pixels.flatten(0, 1).transpose(1, 2))
        value = value.unflatten(2, (self.num_heads, -1))
        return [
            query
            + self.dropout(
                self.output(
                    seen.mean(
                        self._read(i, query, seen, value, shapes),
                        query.shape[1],
                    )
                )
            )
            for i, (query, seen) in enumerate(zip(queries, views))
        ]

    def _read(
        self,
        i: int,
        query: Tensor,  # (B, Q, C)
        seen: SeenQueries,
        value: Tensor,  # (B * N, pixels of all levels, M, C / M)
        shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """What each camera says of its queries, (B * N, q, C)."""
        sampling = self.samplings[i]
        anchor = sampling.anchor_of_point(query.device)
        located = seen.gather(query)
        layout = (self.num_heads, self.num_levels, sampling.count)
        offsets = self.offsets[i](located).unflatten(2, (*layout, 2))
        size = offsets.new_tensor([(w, h) for h, w in shapes])  # (L, 2)
        around = seen.uv.flatten(0, 1)[:, :, None, None, anchor]
        weights = self.weights[i](located).unflatten(2, (self.num_heads, -1))
        weights = weights.softmax(-1).unflatten(3, layout[1:])
        # an anchor beside the image may have points in it; one behind the
        # camera has no place, and a padding row none to be counted at
        there = seen.visible.any(-1, keepdim=True) & (seen.depth > MIN_DEPTH)
        weights = weights * there.flatten(0, 1)[:, :, None, None, anchor]
        return deformable_attention(
            value, shapes, around + offsets / size[:, None], weights
        )
