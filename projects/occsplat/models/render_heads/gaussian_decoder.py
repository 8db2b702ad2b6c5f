"""From voxel embeddings to the shapes of Gaussians.

Shape letters: G voxels, F features, X Y Z voxels of the grid.

::

    embedding (G, F) + position (G, F)
      -> Linear, ReLU, Linear   (G, 8)
      -> opacity (G,), scale (G, 3), quaternion (G, 4)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from occsplat.structures import VoxelGrid

#: opacity of an occupied voxel before anything is learned
START_OPACITY = 0.9
#: channels between the two layers
HIDDEN_CHANNELS = 64
#: an axis is at most so many times longer or shorter than at first
MAX_STRETCH = 4.0


class GaussianDecoder(nn.Module):
    """Opacity, scale and rotation of the Gaussian of a voxel.

    VoxelSplat (CVPR 2025), section 3: a two-layer MLP on the voxel's
    embedding plus a learnable positional encoding; the centre, the class
    logits and the motion are the voxel's own. The paper leaves open how
    the outputs become shapes. Here: ``sigmoid``; ``scale * s^tanh`` with a
    largest stretch s; and an offset to the unit quaternion. The last layer
    begins with zeros, so that every Gaussian is a ball at first.

    Args:
        in_channels (int): F.
        grid (VoxelGrid): of the voxels, one learnable code an index of
            each axis.
        scale (float): metres, the standard deviation to begin with.
    """

    def __init__(
        self,
        in_channels: int,
        grid: VoxelGrid,
        scale: float,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.scale = scale
        self.position = nn.ParameterList(
            nn.Parameter(0.02 * torch.randn(n, in_channels))
            for n in grid.shape
        )
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, HIDDEN_CHANNELS),
            nn.ReLU(),
            nn.Linear(HIDDEN_CHANNELS, 8),
        )
        last = self.mlp[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.bias[0] = math.log(START_OPACITY / (1 - START_OPACITY))

    def forward(
        self, embedding: Tensor, voxels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode sampled voxels.

        Args:
            embedding (Tensor): voxel features, (G, F).
            voxels (Tensor): their flat indices, (G,).

        Returns:
            tuple: opacities (G,), scales in metres (G, 3), quaternions
            wxyz of length 1 (G, 4).
        """
        _, ny, nz = self.grid.shape
        index = (voxels // (ny * nz), voxels // nz % ny, voxels % nz)
        # index_select: on the CPU its gradient has the same bits in every run
        for table, axis in zip(self.position, index):
            embedding = embedding + table.index_select(0, axis)
        out = self.mlp(embedding)
        scales = self.scale * MAX_STRETCH ** out[:, 1:4].tanh()
        unit = torch.tensor([1.0, 0, 0, 0]).to(out)
        quats = nn.functional.normalize(unit + out[:, 4:], dim=1)
        return out[:, 0].sigmoid(), scales, quats
