"""What a renderer returns.

Shape letters: N cameras, H W pixels, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class RenderOutput:
    """Images of N cameras.

    Attributes:
        features (Tensor): sum of w * feature, plus the background where
            light passes, (N, H, W, C).
        depth (Tensor): accumulated sum of w * z in metres, (N, H, W).
        alpha (Tensor): sum of w, in [0, 1), (N, H, W).
    """

    features: Tensor
    depth: Tensor
    alpha: Tensor

    def expected_depth(self) -> Tensor:
        """depth / alpha in metres, 0 where nothing was hit, (N, H, W)."""
        hit = self.alpha > 0
        # dividing by 1 where empty keeps NaN out of the gradient
        return torch.where(hit, self.depth / self.alpha.where(hit, 1.0), 0.0)
