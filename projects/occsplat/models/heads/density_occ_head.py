"""RenderOcc's head: a density and class logits per voxel.

Shape letters: B batch, F features, K classes (free included), S classes
without free, X Y Z voxels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import LabelSpec, OccPrediction, VoxelGrid
from occsplat.structures.checks import Count, checked

from .opacity_head import START_OPACITY, OpacityHead
from .voxel_mlp_head import voxel_mlp, with_free


@MODELS.register_module()
class DensityOccHead(OpacityHead):
    """Density per metre and semantic logits, for volume rendering.

    RenderOcc (ICRA 2024), section III-C: one perceptron for the density,
    one for the classes. A voxel's opacity is what a ray loses on its way
    through it, ``1 - exp(-density * size)``: unlike a density, it can be
    compared with a Gaussian's.

    Args:
        in_channels, label_spec, grid, channels, opacity_threshold,
            loss_weights: see OpacityHead.
        hidden_channels (int): width of both perceptrons.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        label_spec: str | LabelSpec,
        grid: dict | VoxelGrid | None = None,
        channels: Count = 32,
        opacity_threshold: float = 0.5,
        loss_weights: dict[str, float] | None = None,
        hidden_channels: Count = 64,
    ) -> None:
        super().__init__(
            in_channels,
            label_spec,
            grid,
            channels,
            opacity_threshold,
            loss_weights,
        )
        self.density = voxel_mlp(channels, hidden_channels, 1)
        self.semantic = voxel_mlp(
            channels, hidden_channels, self.spec.num_classes - 1
        )
        # metres of a ray's way through a voxel along its shortest edge
        self.voxel_size = min(self.grid.size)
        start = -math.log(1 - START_OPACITY) / self.voxel_size
        last = self.density[-1]
        nn.init.zeros_(last.weight)
        # softplus turns it into the density that it stands for
        nn.init.constant_(last.bias, math.log(math.expm1(start)))

    def decode(self, features: Tensor, centers: Tensor) -> OccPrediction:
        """Density and log-probabilities; see VoxelMLPHead.

        Returns:
            OccPrediction: logits (B, K, X, Y, Z) and density, per metre,
            (B, X, Y, Z).
        """
        density = F.softplus(self.density(features))
        semantic = self.semantic(features)
        log_free = -density * self.voxel_size
        # -expm1 keeps its digits where next to nothing is absorbed
        opacity = -torch.expm1(log_free)
        tiny = torch.finfo(opacity.dtype).tiny
        logits = with_free(
            self.spec, semantic, opacity.clamp(min=tiny).log(), log_free
        )
        return OccPrediction(logits=logits, density=density[:, 0])
