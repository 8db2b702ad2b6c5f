"""Every cell looks at the ends of its run (VoxDet, equation 6).

Shape letters: B batch, C channels, D channels of the attention, X Y Z
voxels of the volume, x y z cells, 6 directions x+ x- y+ y- z+ z-.

::

    volume (B, C, X, Y, Z), offsets (B, 6, x, y, z) in metres
      -> volume read at the cells' centres            (B, C, x, y, z)
      -> queries, keys and values                     (B, D, x, y, z)
      -> keys and values read at the six offsets      (B, D, 6, x, y, z)
      -> attention over the six                       (B, D, x, y, z)
      -> read at the volume's voxels, added, normalised
"""

from __future__ import annotations

import math

import torch
from mmcv.cnn import build_norm_layer
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from occsplat.structures import VoxelGrid
from occsplat.structures.checks import Count, NonNegative, checked

from ..volume.resnet3d import conv3d


@MODELS.register_module()
class InstanceAggregation(nn.Module):
    """N layers of attention to the six voxels at the predicted offsets.

    VoxDet (NeurIPS 2025), section 4.3. The places are the same in all
    layers.

    Args:
        in_channels (int): C.
        channels (int): D.
        num_layers (int): N.
        alpha (float): how far to go, of the offsets (figure 5): 1 is the
            end of the run, 0 the cell itself.
        inside (bool): look at the last voxel of the run instead of at the
            first one behind it, which an offset points at.
        detach (bool): keep the gradient of the classes from the offsets.
        with_cp (bool): recompute each layer in the backward pass.
        norm_cfg (dict, optional): normalisation, GroupNorm of 32 groups
            by default.

    Raises:
        ValueError: for less than one layer or a negative alpha.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        channels: Count = 64,
        num_layers: Count = 4,
        alpha: NonNegative = 1.0,
        inside: bool = False,
        detach: bool = False,
        with_cp: bool = False,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        norm_cfg = norm_cfg or dict(type='GN', num_groups=32)
        self.alpha = alpha
        self.inside = inside
        self.detach = detach
        self.with_cp = with_cp
        self.layers = nn.ModuleList(
            _Layer(in_channels, channels, norm_cfg) for _ in range(num_layers)
        )

    def forward(
        self, volume: Tensor, offsets: Tensor, grid: VoxelGrid, stride: int
    ) -> Tensor:
        """Aggregate.

        Args:
            volume (Tensor): (B, C, X, Y, Z) over the grid's range.
            offsets (Tensor): metres, (B, 6, x, y, z).
            grid (VoxelGrid): of the labels.
            stride (int): a cell stands at every so many label voxels.

        Returns:
            Tensor: (B, C, X, Y, Z).
        """
        if self.detach:
            offsets = offsets.detach()
        if self.inside:
            back = offsets.new_tensor(grid.size).repeat_interleave(2)
            offsets = offsets - back.view(6, 1, 1, 1)
        cells = grid.strided(stride)
        ends = run_ends(cells.centers(offsets.device), offsets, self.alpha)
        for layer in self.layers:
            if self.with_cp and torch.is_grad_enabled():
                volume = checkpoint(
                    layer, volume, ends, grid, cells, use_reentrant=False
                )
            else:
                volume = layer(volume, ends, grid, cells)
        return volume


class _Layer(nn.Module):
    """Norm(attention + volume): equation 6."""

    def __init__(
        self, in_channels: int, channels: int, norm_cfg: dict
    ) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            conv3d(in_channels, channels, norm_cfg=norm_cfg, act=False)
            for _ in range(3)
        )
        self.output = nn.Conv3d(channels, in_channels, 1)
        # what the host sees comes first, what the ends show is learned
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]

    def forward(
        self, volume: Tensor, ends: Tensor, grid: VoxelGrid, cells: VoxelGrid
    ) -> Tensor:
        """(B, C, X, Y, Z) and ends (B, 6, x, y, z, 3) -> (B, C, X, Y, Z)."""
        # keys and values are made at the cells and read at the ends: a
        # sixth of the work of making them at the ends
        here = grid.resample(volume, cells)
        query, key, value = self.query(here), self.key(here), self.value(here)
        both = torch.cat([key, value], dim=1)
        both = cells.sample(both, ends, padding_mode='border')
        key, value = both.chunk(2, dim=1)
        score = (query[:, :, None] * key).sum(dim=1, keepdim=True)
        share = (score / math.sqrt(query.shape[1])).softmax(dim=2)
        seen = (share * value).sum(dim=2)  # (B, D, x, y, z)
        voxels = VoxelGrid(grid.range, volume.shape[2:])
        seen = cells.resample(seen, voxels)
        return self.norm(volume + self.output(seen))


def run_ends(centers: Tensor, offsets: Tensor, alpha: float = 1.0) -> Tensor:
    """Where the offsets point.

    Args:
        centers (Tensor): of the cells, metres, (x, y, z, 3).
        offsets (Tensor): metres, x+ x- y+ y- z+ z-, (B, 6, x, y, z).
        alpha (float): how far to go, of the offsets.

    Returns:
        Tensor: metres in the reference frame, (B, 6, x, y, z, 3).
    """
    plus = torch.eye(3, dtype=offsets.dtype, device=offsets.device)
    directions = torch.stack([plus, -plus], dim=1).view(6, 1, 1, 1, 3)
    return centers + alpha * offsets[..., None] * directions
