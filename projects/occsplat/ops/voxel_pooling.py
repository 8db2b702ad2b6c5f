"""Summing point features into voxels.

Shape letters: P points, C channels, X Y Z voxels.
"""

from __future__ import annotations

from torch import Tensor

from occsplat.structures import VoxelGrid


def voxel_pooling(features: Tensor, points: Tensor, grid: VoxelGrid) -> Tensor:
    """Sum the features of all points that fall into each voxel.

    Lift-Splat-Shoot's "splat" (Philion and Fidler, 2020), in 3D. Points
    outside the grid are dropped.

    Args:
        features (Tensor): (P, C).
        points (Tensor): metres in the grid's frame, (P, 3).
        grid (VoxelGrid): the volume.

    Returns:
        Tensor: (C, X, Y, Z), differentiable in the features.

    Raises:
        ValueError: when the numbers of points differ.
    """
    if features.dim() != 2 or points.shape != (features.shape[0], 3):
        raise ValueError(
            'voxel_pooling expects features (P, C) and points (P, 3), got '
            f'{tuple(features.shape)} and {tuple(points.shape)}'
        )
    index, inside = grid.locate(points)
    size_x, size_y, size_z = grid.shape
    flat = (index[:, 0] * size_y + index[:, 1]) * size_z + index[:, 2]
    volume = features.new_zeros(grid.num_voxels, features.shape[1])
    volume = volume.index_add(0, flat[inside], features[inside])
    return volume.T.reshape(-1, size_x, size_y, size_z)
