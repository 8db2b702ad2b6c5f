"""A set of 3D Gaussians.

Shape letters: G Gaussians, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class Gaussians:
    """Anisotropic 3D Gaussians with features.

    Attributes:
        means (Tensor): centres in metres, reference frame, (G, 3).
        scales (Tensor): standard deviations in metres, (G, 3).
        opacities (Tensor): in [0, 1], (G,).
        features (Tensor): what is rendered, (G, C).
        quats (Tensor | None): rotations wxyz, (G, 4); None: axis-aligned.
    """

    means: Tensor
    scales: Tensor
    opacities: Tensor
    features: Tensor
    quats: Tensor | None = None

    def __len__(self) -> int:
        return self.means.shape[0]

    def chosen(self, which: Tensor) -> Gaussians:
        """Some of them: a mask (G,) or indices."""
        return replace(
            self,
            **{
                name: value[which]
                for name, value in vars(self).items()
                if value is not None
            },
        )

    def to(self, dtype: torch.dtype) -> Gaussians:
        """In another floating type."""
        return replace(
            self,
            **{
                name: value.to(dtype)
                for name, value in vars(self).items()
                if value is not None
            },
        )

    def moved(self, displacement: Tensor) -> Gaussians:
        """Shifted by metres, (G, 3), or (G, 2) for a move along x and y.

        Raises:
            ValueError: when the displacement has another shape.
        """
        if displacement.shape not in ((len(self), 3), (len(self), 2)):
            raise ValueError(
                f'displacement must be ({len(self)}, 2) or ({len(self)}, 3),'
                f' got {tuple(displacement.shape)}'
            )
        count = displacement.shape[1]
        means = self.means.clone()
        means[:, :count] = means[:, :count] + displacement
        return replace(self, means=means)
