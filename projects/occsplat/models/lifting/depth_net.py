"""Camera-aware depth net (BEVDepth, Li et al. 2022).

Shape letters: B batch, N cameras, C channels, D depth bins, H W feature
map, M cost channels, h w cost volume.
"""

from __future__ import annotations

from typing import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.models.backbones.resnet import BasicBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from occsplat.structures import CameraRig

#: of the atrous pyramid in the depth branch
DILATIONS = (1, 6, 12, 18)
#: numbers that describe a camera, see camera_vector
CAMERA_NUMBERS = 22


def camera_vector(rig: CameraRig) -> Tensor:
    """What the depth net knows of each camera, (B * N, 22).

    fx, fy, cx, cy of the raw image; the upper two rows of the image
    augmentation; the upper three rows of camera -> reference, metres. A
    volume augmentation is part of the last one. Lengths in pixels are
    given in thousands: a batch norm's running mean takes long to reach a
    focal length of 1266, and float32 rounds it coarsely compared with
    the norm's epsilon where all cameras of a data set are alike.
    """
    kilo = 1e-3
    K = rig.K.flatten(0, 1)
    img_aug = rig.img_aug.flatten(0, 1)
    return torch.cat(
        [
            K[:, [0, 1, 0, 1], [0, 1, 2, 2]] * kilo,
            img_aug[:, :2, :2].flatten(1),
            img_aug[:, :2, 2] * kilo,
            rig.cam2ref.flatten(0, 1)[:, :3].flatten(1),
        ],
        dim=1,
    )


class DepthNet(nn.Module):
    """Image features to context features and a depth distribution.

    The camera's numbers gate the channels of both branches.

    Args:
        in_channels (int): C of the image features.
        mid_channels (int): width of both branches.
        context_channels (int): C of the context.
        depth_bins (int): D.
        norm_cfg (dict, optional): normalisation, BatchNorm by default.
        with_cp (bool): compute the depth branch anew in the backward pass
            instead of keeping its activations. Its batch norms then
            follow every batch twice, as with ``with_cp`` in mmdet.
        cost_channels (int): M, depths that a stereo cost volume compares;
            0 without one. What it found joins the depth branch.
        cost_strides (sequence of int): of the two convolutions that bring
            the cost volume to the size of the image features.
        pyramid_channels (int, optional): width of the branches of the
            atrous pyramid, mid_channels by default.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        context_channels: int,
        depth_bins: int,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
        cost_channels: int = 0,
        cost_strides: Sequence[int] = (2, 2),
        pyramid_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        norm_cfg = norm_cfg or dict(type='BN')
        self.reduce = _conv(in_channels, mid_channels, 3, norm_cfg)
        self.camera_norm = nn.BatchNorm1d(CAMERA_NUMBERS)
        self.context_gate = CameraGate(mid_channels)
        self.context = nn.Conv2d(mid_channels, context_channels, 1)
        self.depth_gate = CameraGate(mid_channels)
        self.cost = None
        shortcut = None
        if cost_channels:
            self.cost = nn.Sequential(
                *[
                    _conv(
                        cost_channels,
                        cost_channels,
                        3,
                        norm_cfg,
                        stride=stride,
                        act=False,
                    )
                    for stride in cost_strides
                ]
            )
            shortcut = nn.Conv2d(mid_channels + cost_channels, mid_channels, 1)
        self.depth = nn.Sequential(
            BasicBlock(
                mid_channels + cost_channels,
                mid_channels,
                downsample=shortcut,
                norm_cfg=norm_cfg,
            ),
            BasicBlock(mid_channels, mid_channels, norm_cfg=norm_cfg),
            BasicBlock(mid_channels, mid_channels, norm_cfg=norm_cfg),
            AtrousPyramid(mid_channels, norm_cfg, pyramid_channels),
            nn.Conv2d(mid_channels, depth_bins, 1),
        )

    def forward(
        self, features: Tensor, rig: CameraRig, cost: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Context (B, N, C, H, W) and depth logits (B, N, D, H, W).

        Args:
            features (Tensor): (B, N, C, H, W).
            rig (CameraRig): (B, N).
            cost (Tensor, optional): how well each depth matches, given
                where there are cost channels, (B, N, M, h, w), h and w
                the product of ``cost_strides`` times H and W.
        """
        views = features.shape[:2]
        x = self.reduce(features.flatten(0, 1))
        camera = self.camera_norm(camera_vector(rig))
        context = self.context(self.context_gate(x, camera))
        gated = self.depth_gate(x, camera)
        if self.cost is not None:
            cost = self.cost(cost.flatten(0, 1))
            gated = torch.cat([gated, cost], dim=1)
        if self.with_cp and gated.requires_grad:
            depth = checkpoint(self.depth, gated, use_reentrant=False)
        else:
            depth = self.depth(gated)
        return context.unflatten(0, views), depth.unflatten(0, views)


class CameraGate(nn.Module):
    """Squeeze-and-excitation whose excitation comes from the camera."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(CAMERA_NUMBERS, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
        )
        self.excite = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, camera: Tensor) -> Tensor:
        """Scale the channels of x, (B * N, C, H, W)."""
        return x * self.excite(self.embed(camera))[..., None, None]


class AtrousPyramid(nn.Module):
    """ASPP (DeepLab v3): dilated convolutions and the image's mean."""

    def __init__(
        self, channels: int, norm_cfg: dict, width: int | None = None
    ) -> None:
        super().__init__()
        width = width or channels
        self.branches = nn.ModuleList(
            _conv(channels, width, 1 if rate == 1 else 3, norm_cfg, rate)
            for rate in DILATIONS
        )
        # a norm over one pixel per image has no statistics: none here
        self.mean = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, width, 1),
            nn.ReLU(inplace=True),
        )
        self.project = nn.Sequential(
            _conv(width * (len(DILATIONS) + 1), channels, 1, norm_cfg),
            nn.Dropout(0.5),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B * N, C, H, W) to the same."""
        levels = [branch(x) for branch in self.branches]
        levels.append(self.mean(x).expand_as(levels[0]))
        return self.project(torch.cat(levels, dim=1))


def _conv(
    in_channels: int,
    out_channels: int,
    size: int,
    norm_cfg: dict,
    dilation: int = 1,
    stride: int = 1,
    act: bool = True,
) -> ConvModule:
    return ConvModule(
        in_channels,
        out_channels,
        size,
        stride=stride,
        padding=dilation * (size // 2),
        dilation=dilation,
        norm_cfg=norm_cfg,
        act_cfg=dict(type='ReLU') if act else None,
    )
