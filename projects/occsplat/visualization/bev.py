"""Bird's-eye views.

Shape letters: X Y Z voxels, H W image, P points, M boxes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from occsplat.structures import LabelSpec, VoxelGrid, same_shape

from .boxes import Boxes
from .colors import BACKGROUND, occupied_mask, volume_colors
from .heading import forward_left, from_forward_left, reach, turned_volume
from .lettering import font, write

#: sub-pixel bits of opencv's drawing functions
_SHIFT = 4
#: seconds of motion that an arrow shows
ARROW_SECONDS = 1.0
#: m/s below which nothing gets an arrow
STILL = 0.4
#: metres of an object that one arrow stands for
_ARROW_PATCH = 6.0
#: metres from ring to ring
_RING = 20
#: degrees from ahead to the right at which a ring's metres are written, the
#: first at which there is room
_LABEL_TURNS = sorted(range(-180, 180, 15), key=lambda turn: abs(turn - 45))
_LETTERS = 15
#: borders of lines, and what is drawn of no class
_INK, _LIGHT = (15, 15, 18), (245, 245, 245)


@dataclass(frozen=True)
class BevMap:
    """Where metres are in a bird's-eye image.

    ::

        +-----------------+
        |      ahead      |        ahead of the car is up
        |        ^        |        left of it is left
        | left <-+        |
        |                 |        the image's first pixel is the far
        +-----------------+        left corner of the grid

    Args:
        grid: the volume's grid.
        pixels_per_metre: scale.
        frame: the grid's, see ``LabelSpec.frame``.
    """

    grid: VoxelGrid
    pixels_per_metre: float = 6.0
    frame: str = 'ego'

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        (_, right), (_, left) = reach(self.grid, self.frame)
        return round((left - right) * self.pixels_per_metre)

    @property
    def height(self) -> int:
        """Pixels from far ahead to far behind."""
        (behind, _), (ahead, _) = reach(self.grid, self.frame)
        return round((ahead - behind) * self.pixels_per_metre)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Continuous pixels (u, v) of points (P, 2 or 3) in metres."""
        corner = reach(self.grid, self.frame)[1]
        away = corner - forward_left(points, self.frame)
        return away[..., ::-1] * self.pixels_per_metre


def bev_image(
    occ: np.ndarray,  # (X, Y, Z)
    spec: LabelSpec,
    view: BevMap,
    flow: np.ndarray | None = None,  # (X, Y, Z, 2)
    colors: np.ndarray | None = None,  # (X, Y, Z, 3)
    boxes: Boxes | None = None,
) -> np.ndarray:
    """A volume from above, ahead UP and left LEFT.

    Each column shows its topmost occupied voxel: higher is brighter, and
    slopes are lit from the far left. A light wedge marks the ego vehicle,
    rings carry their metres from it.

    Args:
        occ: class ids.
        spec: free id, palette and movable classes.
        view: grid, frame and scale.
        flow: m/s; adds arrows, one for about every 6 m of each connected
            patch of a movable class, as long as one second's way.
        colors: RGB of each voxel instead of its class colour.
        boxes: outlines to draw, see ``draw_boxes_bev``.

    Returns:
        ndarray: RGB, uint8 (H, W, 3).
    """
    same_shape('occupancy', occ.shape, view.grid.shape)
    if colors is None:
        colors = volume_colors(occ, spec)
    shown = occupied_mask(occ, spec)
    top = occ.shape[2] - 1 - shown[..., ::-1].argmax(axis=-1)
    top_color = np.take_along_axis(colors, top[..., None, None], axis=2)
    filled = shown.any(axis=-1)
    height = np.where(filled, (top + 0.5) * view.grid.size[2], 0.0)
    height, filled, top_color = (
        turned_volume(part, view.frame)
        for part in (height, filled, top_color[:, :, 0])
    )
    light = _relief(height, occ.shape[2] * view.grid.size[2])
    image = np.where(
        filled[..., None], top_color * light[..., None], BACKGROUND
    )
    # rows run from ahead to behind, columns from left to right
    image = np.ascontiguousarray(image[::-1, ::-1]).astype(np.uint8)
    image = cv2.resize(
        image, (view.width, view.height), interpolation=cv2.INTER_NEAREST
    )
    _draw_rings(image, view)
    if boxes is not None:
        draw_boxes_bev(image, view, boxes)
    if flow is not None:
        for start, velocity in flow_arrows(occ, flow, spec, view.grid):
            _arrow(image, view, start, velocity)
    _label_rings(image, view)
    _draw_ego(image, view)
    return image


def flow_arrows(
    occ: np.ndarray,  # (X, Y, Z)
    flow: np.ndarray,  # (X, Y, Z, 2)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where things are and how fast they move, seen from above.

    Columns of one movable class that touch make a patch; a patch longer
    than six metres is cut into several. Each gives the mean flow of its
    voxels.

    Returns:
        list: of (position (2,) in metres, velocity (2,) in m/s), moving
        ones only.
    """
    same_shape('flow', flow.shape, (*occ.shape, 2))
    cut = np.maximum(np.round(_ARROW_PATCH / np.array(grid.size[:2])), 1)
    arrows = []
    for label in spec.movable:
        voxels = occ == label
        column = voxels.any(axis=-1).astype(np.uint8)
        if not column.any():
            continue
        _, patches = cv2.connectedComponents(column, connectivity=8)
        x, y, z = np.nonzero(voxels)
        cells, patch = np.stack([x, y], axis=-1), patches[x, y]
        # blocks are counted from each patch's own corner
        corner = np.full((patch.max() + 1, 2), np.iinfo(np.int64).max)
        np.minimum.at(corner, patch, cells)
        block = (cells - corner[patch]) // cut
        parts = np.column_stack([patch, block]).astype(np.int64)
        velocity = _part_means(flow[x, y, z], parts)
        position = (_part_means(cells, parts) + 0.5) * grid.size[:2]
        moving = np.hypot(*velocity.T) >= STILL
        arrows += zip((position + grid.min[:2])[moving], velocity[moving])
    return arrows


def _part_means(
    values: np.ndarray,  # (P, 2)
    parts: np.ndarray,  # (P, 3)
) -> np.ndarray:
    """Mean value of each distinct part, float64 (M, 2)."""
    member = np.unique(parts, axis=0, return_inverse=True)[1].reshape(-1)
    sums = [np.bincount(member, weights=column) for column in values.T]
    return np.stack(sums, axis=-1) / np.bincount(member)[:, None]


def draw_boxes_bev(image: np.ndarray, view: BevMap, boxes: Boxes) -> None:
    """Draw outlines, headings and velocities into a bird's-eye image.

    A line from the middle to the front shows the heading; an arrow from
    the front on shows one second's way. All have the box's own colour, as
    in the legend, between dark borders.

    Args:
        image: RGB, uint8 (H, W, 3), changed in place.
        view: its geometry.
        boxes: in the reference frame.
    """
    for n in range(len(boxes)):
        color = tuple(int(c) for c in boxes.colors[n])
        outline = view.to_pixels(boxes.corners[n, :4])
        heading = view.to_pixels(np.stack([boxes.centers[n], boxes.front[n]]))
        for tint, width in ((_INK, 5), (color, 2)):
            _polyline(image, outline, tint, width, closed=True)
            _polyline(image, heading, tint, width)
        velocity = boxes.velocity[n, :2]
        if np.hypot(*velocity) >= STILL:
            _arrow(image, view, boxes.front[n, :2], velocity, color)


def draw_points_bev(
    image: np.ndarray,
    view: BevMap,
    points: np.ndarray,  # (P, 3)
    colors: np.ndarray,  # (P, 3)
) -> None:
    """Draw points into a bird's-eye image, high ones over low ones.

    Args:
        image: RGB, uint8 (H, W, 3), changed in place.
        view: its geometry.
        points: metres in the reference frame.
        colors: RGB, uint8.
    """
    order = np.argsort(points[:, 2])
    column, row = np.floor(view.to_pixels(points[order])).astype(np.int64).T
    inside = (column >= 0) & (column < view.width)
    inside &= (row >= 0) & (row < view.height)
    image[row[inside], column[inside]] = colors[order][inside]


def draw_lines_bev(
    image: np.ndarray,
    view: BevMap,
    lines: np.ndarray,  # (M, 2, 3)
    color: tuple[int, int, int],
) -> None:
    """Draw straight lines into a bird's-eye image.

    Args:
        image: RGB, uint8 (H, W, 3), changed in place.
        view: its geometry.
        lines: their ends, metres in the reference frame.
        color: RGB.
    """
    for ends in lines:
        _polyline(image, view.to_pixels(ends), color, 1)


def _relief(height: np.ndarray, highest: float) -> np.ndarray:
    """Brightness of columns by height and slope, in 0.35..1.

    ``height`` (ahead, left) is in metres.
    """
    light = 0.76 + 0.24 * height / highest
    # towards the light: ahead and to the left
    padded = np.pad(height, 1, mode='edge')
    slope = padded[:-2, 1:-1] - padded[2:, 1:-1]
    slope += padded[1:-1, :-2] - padded[1:-1, 2:]
    return np.clip(light - 0.05 * np.clip(slope, -3, 3), 0.35, 1.0)


def _draw_rings(image: np.ndarray, view: BevMap) -> None:
    middle = view.to_pixels(np.zeros(2))
    layer = image.copy()
    for metres in _rings(view):
        cv2.circle(
            layer,
            _fixed(middle),
            round(metres * view.pixels_per_metre * 2**_SHIFT),
            (235, 235, 235),
            1,
            cv2.LINE_AA,
            _SHIFT,
        )
    cv2.addWeighted(layer, 0.35, image, 0.65, 0, dst=image)


def _rings(view: BevMap) -> range:
    """Metres from the origin, up to the grid's farthest corner."""
    far = np.hypot(*np.maximum(np.abs(view.grid.min), view.grid.max)[:2])
    return range(_RING, math.ceil(far), _RING)


def _label_rings(image: np.ndarray, view: BevMap) -> None:
    """Write its metres on each ring that has room for them."""
    for metres in _rings(view):
        text = f'{metres} m'
        room = np.array([font(_LETTERS).getlength(text), _LETTERS]) / 2 + 4
        size = (view.width, view.height)
        for degrees in _LABEL_TURNS:
            turn = np.radians(degrees)
            point = metres * np.array([np.cos(turn), -np.sin(turn)])
            middle = view.to_pixels(from_forward_left(point, view.frame))
            if (middle > room).all() and (middle + room < size).all():
                image[...] = write(image, text, tuple(middle), _LETTERS)
                break


def _draw_ego(image: np.ndarray, view: BevMap) -> None:
    """A wedge that points ahead, around the frame's origin."""
    wedge = np.array([[3.2, 0.0], [-1.4, 1.3], [-0.5, 0.0], [-1.4, -1.3]])
    points = _fixed(view.to_pixels(from_forward_left(wedge, view.frame)))
    cv2.fillPoly(image, [points], _LIGHT, cv2.LINE_AA, _SHIFT)
    cv2.polylines(image, [points], True, _INK, 1, cv2.LINE_AA, _SHIFT)


def _arrow(
    image: np.ndarray,
    view: BevMap,
    start: np.ndarray,  # (2,)
    velocity: np.ndarray,  # (2,)
    color: tuple[int, int, int] = (255, 255, 255),
) -> None:
    end = start + velocity * ARROW_SECONDS
    tail, head = view.to_pixels(np.stack([start, end]))
    length = max(float(np.hypot(*(head - tail))), 1.0)
    for tint, width in ((_INK, 4), (color, 2)):
        cv2.arrowedLine(
            image,
            _fixed(tail),
            _fixed(head),
            tint,
            width,
            cv2.LINE_AA,
            _SHIFT,
            tipLength=min(7.0 / length, 0.5),
        )


def _polyline(
    image: np.ndarray,
    pixels: np.ndarray,  # (P, 2)
    color: tuple[int, int, int],
    width: int,
    closed: bool = False,
) -> None:
    cv2.polylines(
        image, [_fixed(pixels)], closed, color, width, cv2.LINE_AA, _SHIFT
    )


def _fixed(pixels: np.ndarray) -> np.ndarray:
    """Continuous pixels -> opencv's fixed point, whose centres are whole."""
    return np.round((pixels - 0.5) * 2**_SHIFT).astype(np.int32)
