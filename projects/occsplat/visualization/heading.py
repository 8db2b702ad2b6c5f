"""Ahead and left in the frames that labels live in.

Pictures have ahead up and left left, whatever a frame calls x and y.
"""

from __future__ import annotations

import numpy as np

from occsplat.structures import VoxelGrid


def forward_left(
    vectors: np.ndarray,  # (..., 2 or 3)
    frame: str,
) -> np.ndarray:
    """How far vectors point ahead and to the left.

    Args:
        vectors: along x, y and perhaps z of the frame.
        frame: ``LabelSpec.frame``: 'ego', whose x is ahead and y left, or
            'lidar', whose x is right and y ahead.

    Returns:
        ndarray: (..., 2).
    """
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([y, -x] if frame == 'lidar' else [x, y], axis=-1)


def from_forward_left(vectors: np.ndarray, frame: str) -> np.ndarray:
    """The inverse of ``forward_left``; further components stay.

    Args:
        vectors: ahead, left and perhaps up, (..., 2 or 3).
        frame: as there.

    Returns:
        ndarray: x, y and perhaps z, of the same shape.
    """
    ahead, left = vectors[..., 0], vectors[..., 1]
    turned = [-left, ahead] if frame == 'lidar' else [ahead, left]
    turned += [vectors[..., n] for n in range(2, vectors.shape[-1])]
    return np.stack(turned, axis=-1)


def turned_volume(volume: np.ndarray, frame: str) -> np.ndarray:
    """A volume whose first index grows ahead, and the second to the left.

    Args:
        volume: (X, Y, ...).
        frame: as in ``forward_left``.
    """
    if frame == 'lidar':
        return volume.swapaxes(0, 1)[:, ::-1]
    return volume


def reach(grid: VoxelGrid, frame: str) -> np.ndarray:
    """Where a grid ends behind, right, ahead and left of the origin.

    Returns:
        ndarray: metres, [[behind, right], [ahead, left]].
    """
    corners = forward_left(np.array([grid.min[:2], grid.max[:2]]), frame)
    return np.sort(corners, axis=0)
