"""BEVDet's neck: the coarse map joins the fine one at full width.

Shape letters: B images, C channels, H W feature map.
"""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures.checks import Count, checked


@MODELS.register_module()
class LSSFPN(nn.Module):
    """Upsample, concatenate, and two 3x3 convolutions (BEVDet, 2021).

    Args:
        in_channels (sequence of int): of the two maps, finer first.
        out_channels (int): C of the output.
        norm_cfg (dict, optional): normalisation, BatchNorm by default.
        align_corners (bool): whether the outer cells of all maps stand on
            one another, as BEVDet's do, or on the same pixels.
    """

    @checked
    def __init__(
        self,
        in_channels: Sequence[Count],
        out_channels: Count,
        norm_cfg: dict | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        layer = dict(
            kernel_size=3, padding=1, norm_cfg=norm_cfg or dict(type='BN')
        )
        self.num_maps = len(in_channels)
        self.convs = nn.Sequential(
            ConvModule(sum(in_channels), out_channels, **layer),
            ConvModule(out_channels, out_channels, **layer),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Backbone maps, finest first, to (B, C, H, W) of the finest.

        Raises:
            ValueError: when the number of maps is not that of the
                constructor.
        """
        if len(maps) != self.num_maps:
            raise ValueError(
                f'LSSFPN expects {self.num_maps} maps, got {len(maps)}: '
                'check out_indices of the backbone'
            )
        resized = [
            F.interpolate(
                coarse,
                size=maps[0].shape[-2:],
                mode='bilinear',
                align_corners=self.align_corners,
            )
            for coarse in maps[1:]
        ]
        return self.convs(torch.cat([maps[0], *resized], dim=1))
