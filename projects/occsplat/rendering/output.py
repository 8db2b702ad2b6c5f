"""What the rasteriser is asked for, and what it gives back.

Shape letters: N cameras, H W pixels, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor

from .definition import EPS2D


@dataclass(frozen=True)
class RenderSettings:
    """The numbers of :func:`~occsplat.rendering.rasterize`.

    Raises:
        ValueError: for one that no image can be made with.
    """

    near: float = 0.1
    far: float = 1e10
    eps2d: float = EPS2D
    max_alpha: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.near < self.far:
            # the sort by depth needs positive depths, for 'ortho' as well
            raise ValueError(
                f'expected 0 < near < far, got {self.near} and {self.far}'
            )
        if not self.eps2d >= 0:
            raise ValueError(f'eps2d must not be negative, got {self.eps2d}')
        if not 0 < self.max_alpha < 1:
            raise ValueError(
                f'expected 0 < max_alpha < 1, got {self.max_alpha}'
            )


@dataclass
class RenderOutput:
    """Images of N cameras; of scenes, where these have leading dimensions.

    Of chosen pixels (rasterize_pixels) the shapes have (P,) for (N, H, W).

    Attributes:
        features (Tensor): blended features, (N, H, W, C).
        depth (Tensor): accumulated depth sum_i w_i z_i in metres, where z
            is the camera's z of a Gaussian's centre, (N, H, W).
        alpha (Tensor): accumulated opacity sum_i w_i, (N, H, W).
        first_hit (Tensor | None): see :meth:`first_hit_depth`.
    """

    features: Tensor
    depth: Tensor
    alpha: Tensor
    first_hit: Tensor | None = None

    def expected_depth(self) -> Tensor:
        """Mean depth depth / alpha in metres, 0 where nothing is seen."""
        seen = self.alpha > 0
        # dividing by 1 instead of 0 keeps NaN out of the gradient, too
        depth = self.depth / torch.where(seen, self.alpha, 1.0)
        return torch.where(seen, depth, 0.0)

    def first_hit_depth(self) -> Tensor:
        """Depth of the surface in metres, 0 where there is none.

        The z of the splat with which a pixel becomes at least half opaque:
        the median of the weights. Unlike the expected depth it never lies
        between two surfaces. Without a gradient.

        Raises:
            ValueError: when the backend was gsplat, which does not tell.
        """
        if self.first_hit is None:
            raise ValueError(
                "gsplat does not tell the first hit: render with backend='"
                "torch', or move the tensors to the CPU"
            )
        return self.first_hit

    def class_image(
        self, num_classes: int, empty: int = 255, min_alpha: float = 0.5
    ) -> Tensor:
        """The strongest class of each pixel.

        Args:
            num_classes (int): the leading channels that are classes.
            empty (int): id of pixels that see nothing.
            min_alpha (float): accumulated opacity below which a pixel
                sees nothing.

        Returns:
            Tensor: uint8 (N, H, W).

        Raises:
            ValueError: when there are fewer channels, or more than 255
                classes.
        """
        channels = self.features.shape[-1]
        if not 0 < num_classes <= min(channels, 255):
            raise ValueError(
                f'num_classes must be 1 to {min(channels, 255)}, the number '
                f'of channels, got {num_classes}'
            )
        best = self.features[..., :num_classes].argmax(dim=-1)
        seen = self.alpha >= min_alpha
        return torch.where(seen, best, empty).to(torch.uint8)

    @staticmethod
    def stack(outputs: Sequence[RenderOutput]) -> RenderOutput:
        """Put equally large images under a new leading dimension."""
        hits = [output.first_hit for output in outputs]
        known = [hit for hit in hits if hit is not None]
        return RenderOutput(
            torch.stack([output.features for output in outputs]),
            torch.stack([output.depth for output in outputs]),
            torch.stack([output.alpha for output in outputs]),
            torch.stack(known) if len(known) == len(hits) else None,
        )
