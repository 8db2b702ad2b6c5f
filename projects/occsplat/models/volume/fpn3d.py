"""A feature pyramid over voxels (Lin et al., 2017, lifted to 3D).

Shape letters: B batch, C channels, X Y Z voxels.
"""

from __future__ import annotations

from typing import Sequence

import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures.checks import Count, checked

from .resnet3d import conv3d


@MODELS.register_module()
class FPN3D(nn.Module):
    """Bring all levels to one width and pass context from coarse to fine.

    Lateral 1x1x1 convolutions, trilinear top-down additions, and one
    3x3x3 convolution a level.

    Args:
        in_channels (sequence of int): channels of each level, finest
            first.
        out_channels (int): channels of every output level.
        norm_cfg (dict, optional): normalisation, BatchNorm by default.
    """

    @checked
    def __init__(
        self,
        in_channels: Sequence[Count] = (64, 128, 256),
        out_channels: Count = 256,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        norm_cfg = norm_cfg or dict(type='BN3d')
        self.laterals = nn.ModuleList(
            conv3d(channels, out_channels, norm_cfg=norm_cfg)
            for channels in in_channels
        )
        self.outputs = nn.ModuleList(
            conv3d(out_channels, out_channels, 3, norm_cfg=norm_cfg)
            for _ in in_channels
        )

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse the levels.

        Args:
            levels (sequence of Tensor): (B, in_channels[i], Xi, Yi, Zi),
                finest first.

        Returns:
            tuple of Tensor: (B, out_channels, Xi, Yi, Zi), finest first.

        Raises:
            ValueError: when the number of levels is not the expected one.
        """
        if len(levels) != len(self.laterals):
            raise ValueError(
                f'FPN3D expects {len(self.laterals)} levels, got {len(levels)}'
            )
        fused = [conv(level) for conv, level in zip(self.laterals, levels)]
        for i in range(len(fused) - 1, 0, -1):
            fused[i - 1] = fused[i - 1] + F.interpolate(
                fused[i],
                size=fused[i - 1].shape[2:],
                mode='trilinear',
                align_corners=False,
            )
        return tuple(conv(level) for conv, level in zip(self.outputs, fused))
