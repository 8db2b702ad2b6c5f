"""Train-only losses on Gaussian renders of the predicted volume."""

from .voxelsplat_head import VoxelSplatHead

__all__ = ['VoxelSplatHead']
