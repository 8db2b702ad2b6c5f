"""A feature pyramid that returns its finest map alone.

Shape letters: B images, C channels, H W feature map.
"""

from __future__ import annotations

from typing import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures.checks import Count, checked


@MODELS.register_module()
class SingleMapFPN(nn.Module):
    """FPN (Lin et al., 2017) that outputs one map.

    ``mmdet.FPN`` would also make an output convolution for every coarser
    level, parameters that no loss reaches and at which
    DistributedDataParallel stops.

    Args:
        in_channels (sequence of int): of the backbone's maps, finest
            first.
        out_channels (int): C of the output.
    """

    @checked
    def __init__(
        self, in_channels: Sequence[Count], out_channels: Count
    ) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            ConvModule(channels, out_channels, 1, act_cfg=None)
            for channels in in_channels
        )
        self.output = ConvModule(
            out_channels, out_channels, 3, padding=1, act_cfg=None
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Backbone maps, finest first, to (B, C, H, W) of the finest.

        Raises:
            ValueError: when the number of maps is not that of the
                constructor.
        """
        if len(maps) != len(self.lateral):
            raise ValueError(
                f'SingleMapFPN expects {len(self.lateral)} maps, got '
                f'{len(maps)}: check out_indices of the backbone'
            )
        top = self.lateral[-1](maps[-1])
        for lateral, finer in zip(self.lateral[-2::-1], maps[-2::-1]):
            top = lateral(finer) + F.interpolate(top, size=finer.shape[-2:])
        return self.output(top)
