"""A volume seen through the rasteriser: what the render losses look at.

Shape letters: N cameras, H W image, X Y Z voxels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from occsplat.rendering import RenderOutput, render_labels
from occsplat.structures import Cameras, Gaussians, LabelSpec, VoxelGrid

from .colors import volume_colors

#: metres in front of a camera in which nothing is drawn
_NEAR = 0.2


def splat_volume(
    occ: Tensor,  # (X, Y, Z)
    grid: VoxelGrid,
    spec: LabelSpec,
    cameras: Cameras,  # (N,)
) -> RenderOutput:
    """Opaque balls of half a voxel, as the losses render labels.

    Args:
        occ: class ids.
        grid: where the voxels are.
        spec: names the free and the ignored id.
        cameras: in the grid's frame.

    Returns:
        RenderOutput: features are the classes', (N, H, W, K).
    """
    there = spec.is_occupied(occ)
    means = grid.centers()[there]
    scale = 0.5 * sum(grid.size) / 3
    balls = Gaussians(
        means,
        torch.full_like(means, scale),
        torch.ones(len(means)),
        means[:, :0],
    )
    labels = occ[there].long()
    return render_labels(balls, labels, spec.num_classes, cameras, near=_NEAR)


def splat_pictures(out: RenderOutput, spec: LabelSpec) -> np.ndarray:
    """Class images in the palette's colours, uint8 (N, H, W, 3)."""
    ids = out.class_image(spec.num_classes, empty=spec.ignore)
    return volume_colors(ids.numpy(), spec)
