"""SurroundOcc's decoder: from the coarsest volume to the labels' voxels.

Shape letters: B batch, C channels, X Y Z voxels.

::

    volumes (B, Ci, Xi, Yi, Zi), finest first
      coarsest -> convolution                       coarsest output
               -> twice as fine, + the next volume
               -> convolution                       next output
               ...
               -> twice as fine -> convolution      finest output
"""

from __future__ import annotations

from typing import Sequence

from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures.checks import Count, checked

from .resnet3d import conv3d


@MODELS.register_module()
class DeconvDecoder3D(nn.Module):
    """SurroundOcc (Wei et al., ICCV 2023), section 3.4.

    Args:
        channels (sequence of int): of the outputs, finest first; one more
            than there are volumes. The volumes from the second one on have
            the channels of the outputs two before: what is made twice as
            fine keeps its channels, and is added.
        in_channels (sequence of int): of the volumes, finest first.
        norm_cfg (dict, optional): normalisation, GroupNorm of 16 groups by
            default.

    Raises:
        ValueError: when the numbers do not fit each other.
    """

    @checked
    def __init__(
        self,
        in_channels: Sequence[Count] = (128, 256, 512),
        channels: Sequence[Count] = (32, 64, 128, 256),
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        # an output is made twice as fine and added to the next volume
        if list(channels[2:]) != list(in_channels[:-1]):
            raise ValueError(
                'DeconvDecoder3D: expected channels[2:] to be '
                f'in_channels[:-1] = {tuple(in_channels[:-1])}, got '
                f'{tuple(channels)}'
            )
        norm_cfg = norm_cfg or dict(type='GN', num_groups=16)
        widths = [*channels[1:], in_channels[-1]]
        self.convs = nn.ModuleList(
            conv3d(width, out, 3, norm_cfg=norm_cfg)
            for out, width in zip(channels, widths)
        )
        # number i brings output i + 1 to the voxels of output i
        self.deconvs = nn.ModuleList(
            ConvModule(
                width,
                width,
                2,
                stride=2,
                conv_cfg=dict(type='deconv3d'),
                norm_cfg=norm_cfg,
            )
            for width in channels[1:]
        )

    def forward(self, volumes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Decode.

        Args:
            volumes (sequence of Tensor): (B, in_channels[i], X / 2^i, ...).

        Returns:
            tuple of Tensor: (B, channels[0], 2 X, 2 Y, 2 Z), then one of the
            size of each volume, finest first.

        Raises:
            ValueError: when the number of volumes is not the expected one.
        """
        if len(volumes) != len(self.deconvs):
            raise ValueError(
                f'DeconvDecoder3D expects {len(self.deconvs)} volumes, got '
                f'{len(volumes)}'
            )
        level = self.convs[-1](volumes[-1])
        levels = [level]
        for i in reversed(range(len(self.deconvs))):
            finer = self.deconvs[i](level)
            if i:
                finer = finer + volumes[i - 1]
            level = self.convs[i](finer)
            levels.insert(0, level)
        return tuple(levels)
