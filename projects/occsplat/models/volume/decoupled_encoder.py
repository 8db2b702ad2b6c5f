"""VoxDet's spatially-decoupled voxel encoder: a volume for each task.

Shape letters: B batch, C channels, W channels of a task, X Y Z voxels,
L levels.

::

    levels (B, C, Xl, Yl, Zl), l = 1..L, of an encoder that tasks share
      -> for each task, at W channels, levels 1..L-1:
           dense projection onto three planes   (B, W, X, Y) (B, W, X, Z)
                                                (B, W, Y, Z)
           1x1 and deformable 3x3 convolution of each plane
           spread along the lost axis, summed, fused, added to the level
      -> for each task, a feature pyramid from coarse to fine
      -> back to C channels, times a gain that starts at 0, added to the
         host's level
      -> levels for the classes, the finest level for the offsets, at C
"""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.ops import deform_conv2d
from occsplat.structures.checks import Count, checked

from .resnet3d import conv3d

TASKS = ('classes', 'offsets')
#: the axis that each plane loses: XY, XZ and YZ of (B, C, X, Y, Z)
LOST_AXES = (4, 3, 2)


@MODELS.register_module()
class SpatiallyDecoupledEncoder(nn.Module):
    """One volume to classify and one to regress offsets from.

    VoxDet (NeurIPS 2025), section 4.2. The levels are those of the host's
    own 3D network, which both tasks share. The coarsest is not decoupled.
    Where the host gives fewer levels than asked for, strided
    convolutions, shared as well, make the coarser ones. A task begins
    with the levels as the host gives them, and learns what to add: the
    published form replaces them, and planes take half of what is local
    away (docs/methods/voxdet.md).

    Args:
        channels (int): C, of every level.
        in_levels (int): levels of the host that are decoupled, from the
            finest on. Coarser ones stay the host's.
        num_levels (int): L.
        width (int, optional): W, C by default. 1x1x1 convolutions lead
            from C to W and back where they differ; the paper has 128.
        norm_cfg (dict, optional): normalisation that takes planes and
            volumes alike, GroupNorm of 32 groups by default.

    Raises:
        ValueError: when ``in_levels`` is not in 1..num_levels.
    """

    @checked
    def __init__(
        self,
        channels: Count,
        in_levels: Count = 3,
        num_levels: Count = 3,
        width: Count | None = None,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= in_levels <= num_levels:
            raise ValueError(
                f'in_levels must be in 1..{num_levels} (num_levels), got '
                f'{in_levels}'
            )
        norm_cfg = norm_cfg or dict(type='GN', num_groups=32)
        self.in_levels = in_levels
        self.coarser = nn.ModuleList(
            conv3d(channels, channels, 3, stride=2, norm_cfg=norm_cfg)
            for _ in range(num_levels - in_levels)
        )
        # the classes are told from as many levels as the host's
        self.branches = nn.ModuleDict(
            {
                task: _Branch(
                    channels, width or channels, num_levels, count, norm_cfg
                )
                for task, count in zip(TASKS, (in_levels, 1))
            }
        )

    def forward(
        self, levels: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Decouple.

        Args:
            levels (sequence of Tensor): (B, C, Xi, Yi, Zi), finest first.

        Returns:
            tuple: as many levels for the classes as came in, and the
            finest level for the offsets, of the shapes that came in.

        Raises:
            ValueError: when there are less levels than are decoupled.
        """
        if len(levels) < self.in_levels:
            raise ValueError(
                f'SpatiallyDecoupledEncoder expects {self.in_levels} levels, '
                f'got {len(levels)}'
            )
        rest = tuple(levels[self.in_levels :])
        levels = list(levels[: self.in_levels])
        for conv in self.coarser:
            levels.append(conv(levels[-1]))
        classes, offsets = (self.branches[task](levels) for task in TASKS)
        return (*classes, *rest), offsets[0]


class _Branch(nn.Module):
    """What one task has for itself: planes and a light pyramid."""

    def __init__(
        self,
        channels: int,
        width: int,
        num_levels: int,
        out_levels: int,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        planes = max(num_levels - 1, 1)  # the coarsest has none
        self.out_levels = out_levels
        self.narrow = nn.ModuleList(
            _to_width(channels, width, norm_cfg) for _ in range(num_levels)
        )
        self.decouple = nn.ModuleList(
            PlaneDecoupling(width, norm_cfg) for _ in range(planes)
        )
        self.fuse = nn.ModuleList(
            nn.Sequential(
                conv3d(2 * width, width, norm_cfg=norm_cfg),
                conv3d(width, width, 3, norm_cfg=norm_cfg),
            )
            for _ in range(num_levels - 1)
        )
        self.widen = nn.ModuleList(
            _to_width(width, channels, norm_cfg, act=False)
            for _ in range(min(planes, out_levels))
        )
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, ...]:
        narrow = [conv(level) for conv, level in zip(self.narrow, levels)]
        learned = [
            level + self.gain * conv(own)
            for level, conv, own in zip(
                levels, self.widen, self._pyramid(narrow)
            )
        ]
        return (*learned, *levels[len(learned) : self.out_levels])

    def _pyramid(self, levels: list[Tensor]) -> list[Tensor]:
        if not self.fuse:  # one level alone: nothing to pass down
            return [self.decouple[0](levels[0])]
        own = levels[-1:]
        steps = list(zip(levels, self.decouple, self.fuse))
        for level, decouple, fuse in reversed(steps):
            coarse = F.interpolate(
                own[0],
                size=level.shape[2:],
                mode='trilinear',
                align_corners=False,
            )
            own.insert(0, fuse(torch.cat([decouple(level), coarse], dim=1)))
        return own


def _to_width(
    channels: int, width: int, norm_cfg: dict, act: bool = True
) -> nn.Module:
    if channels == width:
        return nn.Identity()
    return conv3d(channels, width, norm_cfg=norm_cfg, act=act)


class PlaneDecoupling(nn.Module):
    """Let a volume bend in three planes (VoxDet, equations 1 to 3).

    Args:
        channels (int): C.
        norm_cfg (dict): normalisation of planes and volume.
    """

    def __init__(self, channels: int, norm_cfg: dict) -> None:
        super().__init__()
        self.weights = nn.Conv3d(channels, 3, 1, bias=False)
        self.planes = nn.ModuleList(
            _Plane(channels, norm_cfg) for _ in LOST_AXES
        )
        self.fuse = conv3d(channels, channels, norm_cfg=norm_cfg)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> the same, decoupled."""
        projected = dense_projection(volume, self.weights(volume))
        spread = sum(
            plane(image).unsqueeze(axis)
            for plane, image, axis in zip(self.planes, projected, LOST_AXES)
        )
        return volume + self.fuse(spread)


class _Plane(nn.Module):
    """A 1x1 (equation 2) and a deformable convolution (equation 3)."""

    def __init__(self, channels: int, norm_cfg: dict) -> None:
        super().__init__()
        self.refine = nn.Conv2d(channels, channels, 1)
        self.shift = nn.Conv2d(channels, 2 * 3 * 3, 3, padding=1)
        # an ordinary convolution to begin with
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, image: Tensor) -> Tensor:
        image = self.refine(image).relu()
        moved = deform_conv2d(image, self.shift(image), self.conv.weight)
        return self.norm(moved).relu()


def dense_projection(
    volume: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums along each axis, weighted by a softmax along it.

    VoxDet, equation 1: every voxel says how much it counts on each plane.

    Args:
        volume (Tensor): (B, C, X, Y, Z).
        weights (Tensor): logits for XY, XZ and YZ, (B, 3, X, Y, Z).

    Returns:
        tuple of Tensor: (B, C, X, Y), (B, C, X, Z) and (B, C, Y, Z).
    """
    return tuple(
        (weights[:, i, None].softmax(dim=axis) * volume).sum(dim=axis)
        for i, axis in enumerate(LOST_AXES)
    )
