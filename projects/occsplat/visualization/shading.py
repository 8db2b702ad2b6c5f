"""Light, edges and haze that make voxels read as cubes.

Shape letters: N cameras, H W image, R rays, X Y Z voxels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from occsplat.structures import VoxelGrid

from .colors import BACKGROUND

if TYPE_CHECKING:
    from .voxel_views import VoxelHits

#: brightness of faces by axis and side: a sun from above, ahead and left
LIGHT = np.array([[0.66, 0.80], [0.74, 0.90], [0.50, 1.00]])
#: metres over which haze hides (1 - 1/e) of a colour
_HAZE = 90.0
#: width of a cube's dark edge in voxels, and its strength
_EDGE, _EDGE_STRENGTH = 0.045, 0.38


def shade(
    hits: VoxelHits,  # (N, H, W)
    colors: np.ndarray,  # (N, H, W, 3)
    occupied: np.ndarray,  # (X, Y, Z)
    grid: VoxelGrid,
    focal: float,
) -> np.ndarray:
    """Shade the colours of the voxels that the pixels see.

    Each face has its own brightness; corners that neighbouring voxels
    enclose are darker (ambient occlusion); the cubes' edges are drawn
    where a voxel is several pixels large; distance fades to haze.

    Args:
        hits: what the pixels see.
        colors: RGB of those voxels, uint8.
        occupied: which voxels stand in each other's light.
        grid: where they are.
        focal: focal length in pixels.

    Returns:
        ndarray: RGB, uint8 (N, H, W, 3).
    """
    out = np.empty(colors.shape, dtype=np.uint8)
    out[...] = BACKGROUND
    seen = hits.mask
    index, face, side = hits.index[seen], hits.face[seen], hits.side[seen]
    depth = hits.depth[seen]
    # position on the face along its two axes, in voxels
    local = np.clip(hits.point[seen] - index, 0, 1)
    rows, tangents = np.arange(len(face)), ((face + 1) % 3, (face + 2) % 3)
    on_face = [local[rows, axis] for axis in tangents]
    light = LIGHT[face, (side + 1) // 2]
    light = light * _openness(occupied, index, face, side, on_face)
    light *= 1 - _edges(on_face, depth, max(grid.size), focal)
    haze = (1 - np.exp(-depth / _HAZE))[:, None]
    lit = colors[seen] * light[:, None]
    out[seen] = lit * (1 - haze) + np.array(BACKGROUND) * haze
    return out


def _edges(
    on_face: list[np.ndarray],  # two of (R,)
    depth: np.ndarray,  # (R,)
    size: float,
    focal: float,
) -> np.ndarray:
    """Darkness of cube edges in 0..1, (R,)."""
    a, b = on_face
    border = np.minimum(np.minimum(a, 1 - a), np.minimum(b, 1 - b))
    pixel = depth / focal / size  # a pixel's width in voxels
    line = border < np.maximum(_EDGE, 0.5 * pixel)
    # below a few pixels per voxel would be all edge
    return line * _EDGE_STRENGTH * np.clip(0.16 / pixel - 0.5, 0, 1)


def _openness(
    occupied: np.ndarray,  # (X, Y, Z)
    index: np.ndarray,  # (R, 3)
    face: np.ndarray,  # (R,)
    side: np.ndarray,  # (R,)
    on_face: list[np.ndarray],  # two of (R,)
) -> np.ndarray:
    """Ambient light in about 0.5..1 by the voxels around a face, (R,).

    A corner of a face loses light to each of the three voxels that touch
    it in the layer in front of the face; in between, bilinear.
    """
    padded = np.pad(occupied, 1)
    strides = np.array([padded[0].size, padded[0, 0].size, 1])
    flat = padded.reshape(-1)
    front = (index + 1) @ strides + side * strides[face]
    step = [strides[(face + 1) % 3], strides[(face + 2) % 3]]
    total = 0.0
    for s in (-1, 1):
        beside_a = flat[front + s * step[0]]
        weight_a = on_face[0] if s == 1 else 1 - on_face[0]
        for t in (-1, 1):
            beside_b = flat[front + t * step[1]]
            corner = flat[front + s * step[0] + t * step[1]]
            weight = weight_a * (on_face[1] if t == 1 else 1 - on_face[1])
            closed = beside_a.astype(np.float64) + beside_b
            closed += corner | (beside_a & beside_b)
            total = total + weight * closed
    return 1 - 0.16 * total
