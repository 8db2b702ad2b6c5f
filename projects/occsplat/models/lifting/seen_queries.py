"""Which places of a volume each camera sees, and where in its image.

Attention from a volume to images (BEVFormer, Li et al., 2022, and all that
came after it) asks each camera for what it sees of each query alone.

Shape letters: B batch, N cameras, Q queries (pillars, cells of a plane,
voxels), q the most queries that one camera sees, A anchors, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from occsplat.structures import CameraRig


@dataclass
class SeenQueries:
    """Which queries each camera sees, and where.

    A camera sees a few of the queries; only those are listed, padded to
    the most that one camera sees with queries that it does not see.

    Attributes:
        index (Tensor): of the query, (B, N, q).
        uv (Tensor): its anchors, 0..1 of the image, (B, N, q, A, 2).
        depth (Tensor): camera z in metres, (B, N, q, A).
        visible (Tensor): bool, (B, N, q, A); all False in the padding.
        hits (Tensor): cameras that see each query, at least 1, (B, Q).
    """

    index: Tensor
    uv: Tensor
    depth: Tensor
    visible: Tensor
    hits: Tensor

    def rows(self, count: int) -> Tensor:
        """Rows of what is listed in queries (B * Q, C), (B * N * q,).

        Args:
            count (int): Q.
        """
        sample = torch.arange(len(self.index), device=self.index.device)
        return (sample.view(-1, 1, 1) * count + self.index).flatten()

    def gather(self, queries: Tensor) -> Tensor:
        """Each camera's queries, (B, Q, C) to (B * N, q, C)."""
        flat = queries.flatten(0, 1).index_select(
            0, self.rows(queries.shape[1])
        )
        return flat.view(-1, self.index.shape[2], queries.shape[2])

    def mean(self, read: Tensor, count: int) -> Tensor:
        """Mean over the cameras that see a query, 0 where none does.

        Args:
            read (Tensor): what each camera says of its queries, 0 in the
                padding, (B * N, q, C).
            count (int): Q.

        Returns:
            Tensor: (B, Q, C).
        """
        batch, channels = len(self.index), read.shape[-1]
        total = read.new_zeros(batch * count, channels)
        total = total.index_add(0, self.rows(count), read.flatten(0, 1))
        return total.view(batch, count, channels) / self.hits.unsqueeze(-1)


@torch.no_grad()
def find_views(rig: CameraRig, anchors: Tensor) -> SeenQueries:
    """Project anchors and list what each camera sees.

    Args:
        rig (CameraRig): (B, N).
        anchors (Tensor): metres in the reference frame, (Q, A, 3).
    """
    points = anchors.flatten(0, 1).expand(rig.K.shape[0], -1, -1)
    uv, depth = rig.project(points)
    uv = uv.unflatten(2, anchors.shape[:2])  # (B, N, Q, A, 2)
    uv = uv / uv.new_tensor([rig.width, rig.height])
    depth = depth.unflatten(2, anchors.shape[:2])
    visible = (depth > 1e-5) & ((uv > 0) & (uv < 1)).all(-1)
    hit = visible.any(-1)  # (B, N, Q)
    longest = max(int(hit.sum(-1).max()), 1)
    # seen queries first, each camera's in their order
    index = hit.byte().argsort(dim=-1, descending=True, stable=True)
    index = index[..., :longest]
    rows = index.unsqueeze(-1)
    return SeenQueries(
        index,
        uv.take_along_dim(rows.unsqueeze(-1), dim=2),
        depth.take_along_dim(rows, dim=2),
        visible.take_along_dim(rows, dim=2),
        hit.sum(1).clamp(min=1),
    )
