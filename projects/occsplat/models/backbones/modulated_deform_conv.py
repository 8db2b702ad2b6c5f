"""DCNv2 for mmdet's backbones, without mmcv's compiled operators.

Shape letters: B images, C channels, H W feature map, k points of a kernel,
G groups of channels that are moved alike.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from occsplat.structures.checks import Count, checked


# mmcv.cnn.build_conv_layer looks in mmengine's registry
@MODELS.register_module()
class ModulatedDeformConv(nn.Conv2d):
    """A convolution that moves and weighs the points of its kernel.

    Deformable ConvNets v2 (Zhu et al., CVPR 2019, equation 1), on
    torchvision's operator: ``y(p) = sum_k w_k m_k x(p + p_k + dp_k)``, with
    the offsets dp and modulations m predicted at each place by a
    convolution that starts with zeros, so that at first all offsets are 0
    and all modulations 1/2.

    Named as mmcv's ``DCNv2`` names its tensors. A backbone takes it by
    ``dcn=dict(type='ModulatedDeformConv')``.

    Args:
        in_channels, out_channels, kernel_size (int): as of
            torch.nn.Conv2d.
        deform_groups (int): G.
        **kwargs: further arguments of torch.nn.Conv2d.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        kernel_size: Count,
        deform_groups: Count = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **kwargs)
        points = self.kernel_size[0] * self.kernel_size[1]
        self.conv_offset = nn.Conv2d(
            self.in_channels,
            deform_groups * 3 * points,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Offsets of 0, modulations of 1/2; mmengine calls it, too."""
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        # y and x of each point of each group, then their modulations
        vertical, horizontal, modulation = self.conv_offset(x).chunk(3, dim=1)
        return deform_conv2d(
            x,
            torch.cat([vertical, horizontal], dim=1),
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            modulation.sigmoid(),
        )
