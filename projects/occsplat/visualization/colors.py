"""What colour a voxel has.

Shape letters: X Y Z voxels, K classes.
"""

from __future__ import annotations

import numpy as np

from occsplat.structures import LabelSpec, same_shape

from .heading import forward_left

#: behind everything: darker than any class, lighter than black
BACKGROUND = (38, 42, 51)
#: speed in m/s at which flow colours are fully saturated
FULL_SPEED = 8.0
#: of what the label set has no class for
OTHER = (255, 255, 255)


def occupied_mask(
    occ: np.ndarray,  # (X, Y, Z)
    spec: LabelSpec,
) -> np.ndarray:
    """Voxels to draw: neither free nor ignored, bool (X, Y, Z).

    Raises:
        ValueError: when the volume is not three-dimensional, or holds ids
            that the label spec does not know.
    """
    if occ.ndim != 3:
        raise ValueError(
            f'expected class ids of shape (X, Y, Z), got {occ.shape}'
        )
    shown = spec.is_occupied(occ)
    if shown.any() and occ[shown].max() >= spec.num_classes:
        raise ValueError(
            f'class id {occ[shown].max()} is unknown to label spec '
            f'{spec.name}, which has {spec.num_classes} classes'
        )
    return shown


def volume_colors(
    occ: np.ndarray,  # (X, Y, Z)
    spec: LabelSpec,
) -> np.ndarray:
    """The palette's colour of every voxel, uint8 (X, Y, Z, 3).

    Voxels that are not drawn get the background's colour.
    """
    table = np.full((256, 3), BACKGROUND, dtype=np.uint8)
    table[: spec.num_classes] = spec.palette
    table[spec.free] = BACKGROUND
    return table[occ.astype(np.uint8)]


def flow_colors(
    occ: np.ndarray,  # (X, Y, Z)
    flow: np.ndarray,  # (X, Y, Z, 2)
    spec: LabelSpec,
    full_speed: float = FULL_SPEED,
) -> np.ndarray:
    """Colours that show motion: hue is heading, saturation is speed.

    Movable voxels that stand still are white; everything that cannot move
    is a dim grey version of its class colour. ``flow_key`` draws the key.

    Args:
        occ: class ids.
        flow: (vx, vy) in m/s along the reference frame's axes.
        spec: names the movable classes.
        full_speed: m/s at which the colour is fully saturated.

    Returns:
        ndarray: uint8 (X, Y, Z, 3).

    Raises:
        ValueError: when flow and classes differ in shape.
    """
    same_shape('flow', flow.shape, (*occ.shape, 2))
    colors = volume_colors(occ, spec)
    grey = colors @ np.array([0.3, 0.59, 0.11])
    colors = (40 + 0.35 * grey)[..., None].repeat(3, axis=-1).astype(np.uint8)
    moving = np.isin(occ, spec.movable)
    heading = forward_left(flow[moving], spec.frame)
    colors[moving] = _heading_colors(heading, full_speed)
    return colors


def nothing_shown(occ: np.ndarray, spec: LabelSpec) -> str:
    """What to write into the picture of a volume that shows no voxel.

    Returns:
        str: empty where there is a voxel to draw.
    """
    if occupied_mask(occ, spec).any():
        return ''
    if (occ == spec.free).all():
        return 'all voxels are free'
    return 'all voxels are free or ignored'


def flow_key(size: int = 96) -> np.ndarray:
    """The flow colour disc: forward is up, left is left.

    Args:
        size: edge in pixels.

    Returns:
        ndarray: RGB, uint8 (size, size, 3); the rim is FULL_SPEED.
    """
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    right, down = np.meshgrid(axis, axis)
    disc = _heading_colors(
        np.stack([-down, -right], axis=-1).reshape(-1, 2), 1.0
    ).reshape(size, size, 3)
    disc[right**2 + down**2 > 1] = BACKGROUND
    return disc


def _heading_colors(
    flow: np.ndarray,  # (P, 2)
    full_speed: float,
) -> np.ndarray:
    """RGB, uint8 (P, 3), of m/s ahead and to the left."""
    flow = np.nan_to_num(flow.astype(np.float32))
    speed = np.hypot(flow[:, 0], flow[:, 1])
    turn = np.arctan2(flow[:, 1], flow[:, 0]) / (2 * np.pi) % 1.0
    # the pure hue: each channel falls off around its third of the circle
    shift = np.array([0, 4, 2])
    hue = np.clip(np.abs((6 * turn[:, None] + shift) % 6 - 3) - 1, 0, 1)
    strength = np.minimum(speed / full_speed, 1)[:, None] * 0.92
    return (255 * (1 - strength * (1 - hue))).astype(np.uint8)
