"""Which camera and which level a pixel's features come from.

Shape letters: B batch, N cameras, C channels, L levels, H W feature map.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor, nn

from occsplat.structures import same_shape


class ImageEmbedding(nn.Module):
    """Adds a learned vector per camera and one per level (BEVFormer).

    Args:
        channels (int): C.
        num_levels (int): L.
        num_cameras (int): N.
    """

    def __init__(
        self, channels: int, num_levels: int, num_cameras: int
    ) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.randn(num_levels, channels))
        self.camera = nn.Parameter(torch.randn(num_cameras, channels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """L maps (B, N, C, H, W) to the same.

        Raises:
            ValueError: when there are other than L maps, or of other than
                N cameras.
        """
        if len(maps) != len(self.level):
            raise ValueError(
                f'the lifter reads {len(self.level)} image maps, backbone '
                f'and neck give {len(maps)}: set num_levels, or num_outs of '
                'the neck'
            )
        views = (maps[0].shape[0], *self.camera.shape)
        same_shape('image features (B, N, C)', maps[0].shape[:3], views)
        return [
            one + (self.camera + level)[..., None, None]
            for one, level in zip(maps, self.level)
        ]
