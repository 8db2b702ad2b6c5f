"""What is known of voxels before a threshold decides.

Shape letters: B batch, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class VoxelOpacity:
    """How opaque voxels are, and what is there if anything is.

    A head that renders trained says this, and occupied is what reaches a
    threshold (GSRender, eq. 7). Kept apart from the threshold, so that
    several can be tried on one pass of the network.

    Attributes:
        opacity (Tensor): 0 to 1, ([B,] X, Y, Z).
        likeliest (Tensor): class ids, none of them free, uint8 of the
            same shape.
        free (int): the id of what does not reach a threshold.
        flow (Tensor | None): m/s, 0 where the likeliest class does not
            move, ([B,] X, Y, Z, 2).
    """

    opacity: Tensor
    likeliest: Tensor
    free: int
    flow: Tensor | None = None

    @classmethod
    def from_scores(
        cls, opacity: Tensor, scores: Tensor, free: int
    ) -> VoxelOpacity:
        """From scores of all classes.

        Args:
            opacity (Tensor): (B, X, Y, Z).
            scores (Tensor): the higher the likelier, (B, K, X, Y, Z).
            free (int): the id that can't be the likeliest.
        """
        others = scores.clone()
        others[:, free] = -torch.inf
        likeliest = others.argmax(dim=1).to(torch.uint8)
        return cls(opacity.float(), likeliest, free)

    def __getitem__(self, index: int) -> VoxelOpacity:
        """One sample of a batch."""
        flow = None if self.flow is None else self.flow[index]
        return VoxelOpacity(
            self.opacity[index], self.likeliest[index], self.free, flow
        )

    def at(self, threshold: float) -> tuple[Tensor, Tensor | None]:
        """What a threshold makes of it.

        Args:
            threshold (float): opacity from which on a voxel is occupied.

        Returns:
            tuple: class ids, uint8 ([B,] X, Y, Z); and flow in m/s, exactly
            0 in free voxels, ([B,] X, Y, Z, 2) or None.
        """
        occupied = self.opacity >= threshold
        occ = torch.where(occupied, self.likeliest, self.free)
        flow = self.flow
        if flow is not None:
            flow = torch.where(occupied[..., None], flow, 0)
        return occ.to(torch.uint8), flow

    def to(self, *args: Any, **kwargs: Any) -> VoxelOpacity:
        """``Tensor.to`` on every tensor; meant for devices."""
        flow = self.flow
        return VoxelOpacity(
            self.opacity.to(*args, **kwargs),
            self.likeliest.to(*args, **kwargs),
            self.free,
            None if flow is None else flow.to(*args, **kwargs),
        )
