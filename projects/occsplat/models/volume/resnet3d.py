"""A residual network over voxels (He et al., 2016, lifted to 3D).

Shape letters: B batch, C channels, X Y Z voxels.
"""

from __future__ import annotations

from typing import Literal, Sequence

from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures.checks import Count, checked


@MODELS.register_module()
class ResNet3D(nn.Module):
    """Stem and stages of basic blocks; every stage is an output.

    With the defaults this is the ResNet3D-18 of FB-Occ (Li et al., 2023):
    three stages at strides 1, 2 and 4 of the volume.

    Args:
        in_channels (int): channels of the volume.
        channels (sequence of int): channels of each stage.
        strides (sequence of int): stride at which each stage starts.
        num_blocks (sequence of int): basic blocks in each stage.
        norm_cfg (dict, optional): normalisation, BatchNorm by default.
        stem (bool): whether a 1x1x1 convolution comes first; BEVDet's
            network has none.
        shortcut_kernel (int): of the shortcut of a stage's first block.
            With 3, as BEVDet's, it is a convolution in every stage.

    Raises:
        ValueError: when the three sequences differ in length.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        channels: Sequence[Count] = (64, 128, 256),
        strides: Sequence[Count] = (1, 2, 2),
        num_blocks: Sequence[Count] = (2, 2, 2),
        norm_cfg: dict | None = None,
        stem: bool = True,
        shortcut_kernel: Literal[1, 3] = 1,
    ) -> None:
        super().__init__()
        if not len(channels) == len(strides) == len(num_blocks):
            raise ValueError(
                'ResNet3D needs one channels, strides and num_blocks entry '
                f'a stage, got {len(channels)}, {len(strides)} and '
                f'{len(num_blocks)}'
            )
        norm_cfg = norm_cfg or dict(type='BN3d')
        self.stem: nn.Module = nn.Identity()
        width = in_channels
        if stem:
            width = channels[0]
            self.stem = conv3d(in_channels, width, norm_cfg=norm_cfg)
        self.stages = nn.ModuleList()
        shortcut = None if shortcut_kernel == 1 else shortcut_kernel
        for out, stride, depth in zip(channels, strides, num_blocks):
            blocks = [BasicBlock3D(width, out, stride, norm_cfg, shortcut)]
            blocks += [
                BasicBlock3D(out, out, 1, norm_cfg) for _ in range(depth - 1)
            ]
            self.stages.append(nn.Sequential(*blocks))
            width = out

    def forward(self, volume: Tensor) -> tuple[Tensor, ...]:
        """The output of every stage, finest first.

        Args:
            volume (Tensor): (B, C, X, Y, Z).

        Returns:
            tuple of Tensor: (B, channels[i], X/s, Y/s, Z/s), sizes
            rounded up, s the product of the strides so far.
        """
        levels = []
        volume = self.stem(volume)
        for stage in self.stages:
            volume = stage(volume)
            levels.append(volume)
        return tuple(levels)


class BasicBlock3D(nn.Module):
    """Two 3x3x3 convolutions around a shortcut.

    Args:
        in_channels (int): channels of the input.
        channels (int): channels of the output.
        stride (int): stride of the first convolution.
        norm_cfg (dict): normalisation.
        shortcut_kernel (int, optional): of the shortcut's convolution; by
            default one of 1x1x1 where the size changes, and none elsewhere.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        norm_cfg: dict,
        shortcut_kernel: int | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = conv3d(in_channels, channels, 3, stride, norm_cfg)
        self.conv2 = conv3d(channels, channels, 3, 1, norm_cfg, act=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if shortcut_kernel or stride != 1 or in_channels != channels:
            self.shortcut = conv3d(
                in_channels,
                channels,
                shortcut_kernel or 1,
                stride,
                norm_cfg,
                act=False,
            )

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, channels, X/stride, ...)."""
        return self.relu(
            self.conv2(self.conv1(volume)) + self.shortcut(volume)
        )


def conv3d(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    norm_cfg: dict | None = None,
    act: bool = True,
) -> ConvModule:
    """Make a padded 3D convolution with its norm and activation.

    Args:
        in_channels (int): channels of the input.
        out_channels (int): channels of the output.
        kernel_size (int): odd edge length of the kernel.
        stride (int): stride.
        norm_cfg (dict, optional): normalisation; no norm without it.
        act (bool): whether a ReLU follows.
    """
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        conv_cfg=dict(type='Conv3d'),
        norm_cfg=norm_cfg,
        act_cfg=dict(type='ReLU') if act else None,
    )
