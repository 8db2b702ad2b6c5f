"""What the rasteriser is asked for, and what it gives back.

Shape letters: N cameras, H W pixels, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RenderSettings:
    """The numbers of :func:`~occsplat.rendering.rasterize`."""

    width: int
    height: int
    near: float
    far: float
    eps2d: float
    max_alpha: float
    ortho: bool


@dataclass
class RenderOutput:
    """Images of N cameras.

    Attributes:
        features (Tensor): blended features, (N, H, W, C).
        depth (Tensor): accumulated depth sum_i w_i z_i in metres, where z
            is the camera's z of a Gaussian's centre, (N, H, W).
        alpha (Tensor): accumulated opacity sum_i w_i, (N, H, W).
    """

    features: Tensor
    depth: Tensor
    alpha: Tensor

    def expected_depth(self) -> Tensor:
        """Mean depth depth / alpha in metres, 0 where nothing is seen."""
        seen = self.alpha > 0
        # dividing by 1 instead of 0 keeps NaN out of the gradient, too
        depth = self.depth / torch.where(seen, self.alpha, 1.0)
        return torch.where(seen, depth, 0.0)
