"""A 2D network in place of the 3D one: heights are channels.

Shape letters: B batch, C channels, F features, X Y Z voxels.

::

    volume (B, C, X, Y, Z)
      -> height to channels            (B, C * Z, X, Y)
      -> pyramid of bird's-eye views   (B, channels[0], X, Y)
      -> channels to height            one level (B, F, X, Y, Z)
"""

from __future__ import annotations

from typing import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures.checks import Count, checked


@MODELS.register_module()
class BEVEncoder(nn.Module):
    """Channel-to-height (FlashOcc, Yu et al., 2023, section 3.3).

    Planes cost a fraction of what volumes cost, and a street scene is
    nearly one: what stands on a place says most of what is above it.
    Residual stages go down from the volume's resolution by 2 each, and a
    feature pyramid (Lin et al., 2017) comes back up.

    Args:
        in_channels (int): C.
        height (int): Z.
        channels (sequence of int): of each stage, from fine to coarse.
        out_channels (int): F.
        norm_cfg (dict, optional): normalisation, BatchNorm by default.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        height: Count,
        channels: Sequence[Count] = (128, 256, 512),
        out_channels: Count = 32,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        norm_cfg = norm_cfg or dict(type='BN')
        self.height = height
        self.stem = _conv(in_channels * height, channels[0], 1, 1, norm_cfg)
        self.stages = nn.ModuleList()
        width = channels[0]
        for i, out in enumerate(channels):
            self.stages.append(_Block(width, out, 2 if i else 1, norm_cfg))
            width = out
        # number i brings stage i + 1 back to the width of stage i
        self.laterals = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1)
            for fine, coarse in zip(channels, channels[1:])
        )
        self.joins = nn.ModuleList(
            _conv(fine, fine, 3, 1, norm_cfg) for fine in channels[:-1]
        )
        self.to_height = nn.Conv2d(channels[0], out_channels * height, 1)

    def forward(self, volume: Tensor) -> tuple[Tensor]:
        """(B, C, X, Y, Z) -> one level (B, F, X, Y, Z).

        Raises:
            ValueError: when the volume has another height.
        """
        if volume.shape[-1] != self.height:
            raise ValueError(
                f'BEVEncoder is made for {self.height} voxels along z, the '
                f'volume has {volume.shape[-1]}'
            )
        plane = self.stem(volume.permute(0, 1, 4, 2, 3).flatten(1, 2))
        planes = []
        for stage in self.stages:
            plane = stage(plane)
            planes.append(plane)
        for i in reversed(range(len(self.joins))):
            coarse = F.interpolate(
                self.laterals[i](plane),
                size=planes[i].shape[-2:],
                mode='bilinear',
                align_corners=False,
            )
            plane = self.joins[i](planes[i] + coarse)
        level = self.to_height(plane).unflatten(1, (-1, self.height))
        return (level.permute(0, 1, 3, 4, 2),)


class _Block(nn.Module):
    """A residual block of two 3x3 convolutions (He et al., 2016)."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, norm_cfg: dict
    ) -> None:
        super().__init__()
        self.first = _conv(in_channels, channels, 3, stride, norm_cfg)
        self.second = _conv(channels, channels, 3, 1, norm_cfg, act=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = _conv(
                in_channels, channels, 1, stride, norm_cfg, act=False
            )

    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, X, Y) -> (B, channels, X / stride, Y / stride)."""
        change = self.second(self.first(plane))
        return F.relu(self.shortcut(plane) + change)


def _conv(
    in_channels: int,
    out_channels: int,
    size: int,
    stride: int,
    norm_cfg: dict,
    act: bool = True,
) -> ConvModule:
    return ConvModule(
        in_channels,
        out_channels,
        size,
        stride=stride,
        padding=size // 2,
        norm_cfg=norm_cfg,
        act_cfg=dict(type='ReLU') if act else None,
    )
