"""InternImage: a convolutional backbone with a deformable core operator.

InternImage (Wang et al., CVPR 2023), in the variant of BEVFormer v2,
PanoOcc and VoxelSplat ("InternV2Impl16"), for which weights pretrained on
nuScenes detection exist. It differs from the paper's figures, and from
the ImageNet models that were released with the paper:

- the stem normalises with BatchNorm, with no activation at its end;
- blocks normalise before each branch (pre-norm), not after it;
- a window is 1.71 times as wide as a 3x3 kernel, offsets included.

These, and the two norms after a downsampling convolution, are known from
public code that reads those weights; nothing is inferred from the paper
alone. Images of any size are an addition.

Shape letters: B images, C channels, M groups, H W feature map.
"""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from occsplat.ops import deformable_conv
from occsplat.structures.checks import (
    Count,
    Fraction,
    Natural,
    Positive,
    checked,
)

#: points of a window, 3x3
POINTS = 9


@MODELS.register_module()
class InternImage(BaseModule):
    """Four levels of deformable blocks at strides 4, 8, 16 and 32.

    Channels double from level to level.

    Args:
        channels (int): C of the first level.
        depths (sequence of int): blocks in each level.
        groups (sequence of int): M of each level; divides its channels.
        mlp_ratio (float): hidden over outer width of the feed-forward
            networks.
        spread (float): distance of a window's points in pixels.
        layer_scale (float): initial factor of every branch.
        out_indices (sequence of int): levels that are returned.
        drop_path (float): probability that the last block's branches are
            skipped for an image, rising linearly from 0 in the first.
        checkpoint_levels (int): levels, from the first, whose blocks are
            computed anew in the backward pass instead of being kept.
        init_cfg (dict, optional): as in mmengine.

    Raises:
        ValueError: when depths and groups differ in length, groups do not
            divide the channels, or a level is asked for that does not
            exist.
    """

    @checked
    def __init__(
        self,
        channels: Count,
        depths: Sequence[Count],
        groups: Sequence[Count],
        mlp_ratio: Positive,
        spread: Positive,
        layer_scale: Positive,
        out_indices: Sequence[Natural],
        drop_path: Fraction = 0.0,
        checkpoint_levels: Natural = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(depths) != len(groups):
            raise ValueError(
                'InternImage needs one depth and one number of groups a '
                f'level, got {len(depths)} and {len(groups)}'
            )
        if not set(out_indices) <= set(range(len(depths))):
            raise ValueError(
                f'InternImage has levels 0 to {len(depths) - 1}, '
                f'out_indices asks for {tuple(out_indices)}'
            )
        self.checkpoint_levels = checkpoint_levels
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels // 2),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels),
        )
        widths = [channels * 2**i for i in range(len(depths))]
        last = max(sum(depths) - 1, 1)
        rates = iter(drop_path * i / last for i in range(sum(depths)))
        self.levels = nn.ModuleList(
            nn.ModuleList(
                DeformableBlock(
                    width,
                    count,
                    round(width * mlp_ratio),
                    spread,
                    layer_scale,
                    next(rates),
                )
                for _ in range(depth)
            )
            for width, depth, count in zip(widths, depths, groups)
        )
        self.downsamples = nn.ModuleList(map(Downsample, widths[:-1]))
        self.output_norms = nn.ModuleDict(
            {str(i): nn.LayerNorm(widths[i]) for i in sorted(out_indices)}
        )
        for module in self.modules():
            if isinstance(module, DeformableBlock):
                module.reset_parameters()

    def forward(self, imgs: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the chosen levels, finest first.

        Args:
            imgs (Tensor): (B, 3, h, w).

        Returns:
            tuple of Tensor: (B, Ci, H, W), each side of level i that of
            the image over 2**(i + 2), rounded up.
        """
        x = self.stem(imgs).permute(0, 2, 3, 1)  # channels last from here
        maps = []
        for i, blocks in enumerate(self.levels):
            if i:
                x = self.downsamples[i - 1](x)
            for block in blocks:
                if i < self.checkpoint_levels and x.requires_grad:
                    x = checkpoint(block, x, use_reentrant=False)
                else:
                    x = block(x)
            if str(i) in self.output_norms:
                out = self.output_norms[str(i)](x)
                maps.append(out.permute(0, 3, 1, 2).contiguous())
        return tuple(maps)


class Downsample(nn.Module):
    """Half the resolution, twice the channels.

    Args:
        channels (int): C of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, 2 * channels, 3, stride=2, padding=1, bias=False
        )
        self.norm = nn.LayerNorm(2 * channels)
        # two in a row, as in the pretrained weights
        self.entry_norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H/2, W/2, 2C), sizes rounded up."""
        x = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.entry_norm(self.norm(x))


class DeformableBlock(nn.Module):
    """Deformable mixing and a feed-forward network, both residual.

    Args:
        channels (int): C.
        groups (int): M.
        hidden (int): width of the feed-forward network.
        spread (float): see ``deformable_conv``.
        layer_scale (float): initial factor of both branches.
        drop_path (float): probability to skip a branch.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        hidden: int,
        spread: float,
        layer_scale: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.mixer = DeformableMixer(channels, groups, spread)
        self.scale1 = nn.Parameter(torch.full((channels,), layer_scale))
        self.norm2 = nn.LayerNorm(channels)
        self.feedforward = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Linear(hidden, channels),
        )
        self.scale2 = nn.Parameter(torch.full((channels,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def reset_parameters(self) -> None:
        """As in vision transformers; windows start plain and even."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.mixer.offsets.weight)
        nn.init.zeros_(self.mixer.weights.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        x = x + self.drop_path(self.scale1 * self.mixer(self.norm1(x)))
        return x + self.drop_path(
            self.scale2 * self.feedforward(self.norm2(x))
        )


class DeformableMixer(nn.Module):
    """The core operator with its projections.

    A depthwise 3x3 convolution looks at a pixel's surroundings and says
    where each group reads, and how much of it.

    Args:
        channels (int): C, divisible by the number of groups.
        groups (int): M.
        spread (float): see ``deformable_conv``.

    Raises:
        ValueError: when channels do not divide into groups.
    """

    def __init__(self, channels: int, groups: int, spread: float) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(
                f'{channels} channels do not divide into {groups} groups'
            )
        self.groups = groups
        self.spread = spread
        self.local = nn.Conv2d(
            channels, channels, 3, padding=1, groups=channels
        )
        self.local_norm = nn.LayerNorm(channels)
        self.offsets = nn.Linear(channels, groups * POINTS * 2)
        self.weights = nn.Linear(channels, groups * POINTS)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        query = self.local(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        query = F.gelu(self.local_norm(query))
        offsets = self.offsets(query).unflatten(-1, (self.groups, POINTS, 2))
        weights = self.weights(query).unflatten(-1, (self.groups, POINTS))
        value = self.value(x).unflatten(-1, (self.groups, -1))
        read = deformable_conv(
            value.permute(0, 3, 4, 1, 2),
            offsets.permute(0, 3, 4, 1, 2, 5),
            weights.softmax(dim=-1).permute(0, 3, 4, 1, 2),
            self.spread,
        )
        return self.output(read.flatten(1, 2).permute(0, 2, 3, 1))
