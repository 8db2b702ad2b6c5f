"""GSRender's head: one Gaussian per voxel.

Shape letters: B batch, F features, K classes (free included), S classes
without free, X Y Z voxels, G = X * Y * Z Gaussians.

::

    features (B, F, X, Y, Z)
      -> perceptron (B, 3 + 3 + 1 + S, X, Y, Z)   24 channels on Occ3D
      -> offset, scale (G, 3), opacity (G,), semantic logits (G, S)
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import (
    Gaussians,
    LabelSpec,
    OccPrediction,
    VoxelGrid,
)
from occsplat.structures.checks import Bounds, Count, checked

from .opacity_head import START_OPACITY, OpacityHead
from .voxel_mlp_head import voxel_mlp, with_free

#: standard deviation of a Gaussian before anything is learned, in voxels
START_SCALE = 0.5
#: A standard deviation is at most so many times larger or smaller. What a
#: Gaussian stops of the light grows with opacity times area: where scales
#: are free, opacities need not learn what is occupied.
MAX_STRETCH = 1.5


@MODELS.register_module()
class GaussianOccHead(OpacityHead):
    """One Gaussian per voxel: offset, scale, opacity and class logits.

    GSRender (2024), section 3.3 and equation 6: (mu + d mu, s + d s, o,
    c) from two fully connected layers, no rotation. The paper leaves the
    activations open; chosen here: ``bound * tanh(x / bound)`` for the
    offset, ``s * 1.5^tanh(x)`` around half a voxel for the scale, and a
    sigmoid that starts at 0.03 for the opacity. Every Gaussian starts in
    the middle of its voxel.

    Args:
        in_channels, label_spec, grid, channels, opacity_threshold,
            loss_weights: see OpacityHead.
        hidden_channels (int): width of the perceptron.
        max_offset (float): how far a Gaussian may leave its voxel's
            centre along each axis, in voxels; 0 leaves it there, infinity
            sets no bound.
        with_scale (bool): learn the scales; half a voxel otherwise.
        with_rotation (bool): learn rotations, too; the paper finds that
            they hurt.

    Raises:
        ValueError: for a negative offset, and as OpacityHead.
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
        max_offset: Annotated[float, Bounds(least=0, infinite=True)] = 3.0,
        with_scale: bool = True,
        with_rotation: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            label_spec,
            grid,
            channels,
            opacity_threshold,
            loss_weights,
        )
        if max_offset < 0:
            raise ValueError(
                f'max_offset must not be negative, got {max_offset} voxels'
            )
        self.max_offset = max_offset
        # what the perceptron says of a Gaussian, in this order
        self.parts = dict(
            opacity=1,
            semantic=self.spec.num_classes - 1,
            offset=3 if max_offset else 0,
            scale=3 if with_scale else 0,
            rotation=4 if with_rotation else 0,
        )
        self.mlp = voxel_mlp(
            channels, hidden_channels, sum(self.parts.values())
        )
        last = self.mlp[-1]
        shape = slice(self.parts['opacity'] + self.parts['semantic'], None)
        with torch.no_grad():
            for tensor in (last.weight, last.bias):
                nn.init.zeros_(tensor[0])
                nn.init.zeros_(tensor[shape])
            last.bias[0] = math.log(START_OPACITY / (1 - START_OPACITY))

    def decode(self, features: Tensor, centers: Tensor) -> OccPrediction:
        """Gaussians and log-probabilities; see VoxelMLPHead.

        Returns:
            OccPrediction: logits (B, K, X, Y, Z) and gaussians, B sets of
            G, features the S semantic logits.
        """
        out = dict(
            zip(
                self.parts,
                self.mlp(features).split(list(self.parts.values()), dim=1),
            )
        )
        opacity, semantic = out['opacity'], out['semantic']
        size = features.new_tensor(self.grid.size)
        gaussians = []
        for b in range(len(features)):
            # (channels, X, Y, Z) -> (G, channels)
            flat = {k: v[b].flatten(1).T for k, v in out.items()}
            means = centers[b].reshape(-1, 3)
            gaussians.append(
                Gaussians(
                    means + self._offsets(flat['offset']) * size,
                    self._scales(flat['scale'], len(means)) * size,
                    flat['opacity'][:, 0].sigmoid(),
                    flat['semantic'],
                    self._quats(flat['rotation']),
                )
            )
        logits = with_free(
            self.spec, semantic, F.logsigmoid(opacity), F.logsigmoid(-opacity)
        )
        return OccPrediction(logits=logits, gaussians=gaussians)

    def _offsets(self, out: Tensor) -> Tensor | float:
        """In voxels, (G, 3)."""
        if not self.parts['offset']:
            return 0.0
        if math.isinf(self.max_offset):
            return out
        # slope 1 at first, whatever the bound: what moves easily need not
        # learn to be transparent
        return self.max_offset * (out / self.max_offset).tanh()

    def _scales(self, out: Tensor, count: int) -> Tensor:
        """In voxels, (G, 3)."""
        if not self.parts['scale']:
            return out.new_full((count, 3), START_SCALE)
        return START_SCALE * MAX_STRETCH ** out.tanh()

    def _quats(self, out: Tensor) -> Tensor | None:
        """Quaternions wxyz, (G, 4)."""
        if not self.parts['rotation']:
            return None
        unit = torch.tensor([1.0, 0, 0, 0]).to(out)
        return F.normalize(unit + out, dim=1)
