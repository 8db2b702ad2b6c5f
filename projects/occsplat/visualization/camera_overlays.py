"""What is drawn into a camera's image.

Shape letters: H W image, P points, M boxes.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from occsplat.structures import CameraRig, same_shape, transform_points

from .boxes import EDGES, Boxes

#: metres in front of the lens at which boxes are cut off
_NEAR = 0.3


def overlay(
    image: np.ndarray,  # (H, W, 3)
    painted: np.ndarray,  # (H, W, 3)
    mask: np.ndarray,  # (H, W)
    alpha: float = 0.55,
) -> np.ndarray:
    """Blend a rendering into a photograph.

    Args:
        image: RGB, uint8.
        painted: RGB, uint8: class colours, or ``render_occupancy``'s
            shaded cubes.
        mask: where there is something to blend in, bool.
        alpha: weight of ``painted``, 0..1.

    Returns:
        ndarray: RGB, uint8 (H, W, 3); outside the mask the image itself.

    Raises:
        ValueError: when sizes differ.
    """
    same_shape('painted', painted.shape, image.shape)
    same_shape('mask', mask.shape, image.shape[:2])
    mixed = cv2.addWeighted(painted, alpha, image, 1 - alpha, 0)
    return np.where(mask[..., None], mixed, image)


def draw_lidar(
    image: np.ndarray,  # (H, W, 3)
    uv: np.ndarray,  # (P, 2)
    depth: np.ndarray,  # (P,)
    max_depth: float = 50.0,
) -> np.ndarray:
    """Draw LiDAR points, near ones red, far ones blue.

    Args:
        image: RGB, uint8.
        uv: continuous pixels, as ``CameraRig.project`` gives them.
        depth: camera z in metres; points behind the camera are skipped.
        max_depth: metres at which the colours end.

    Returns:
        ndarray: a new RGB image.
    """
    near = 1 - np.clip(depth / max_depth, 0, 1)
    shades = np.arange(256, dtype=np.uint8)[:, None]
    table = cv2.applyColorMap(shades, cv2.COLORMAP_TURBO)[:, 0, ::-1]
    # the ends of the map are nearly black
    tints = table[(255 * (0.08 + 0.86 * near)).astype(np.int64)]
    return draw_points(image, uv, depth, tints)


def draw_points(
    image: np.ndarray,  # (H, W, 3)
    uv: np.ndarray,  # (P, 2)
    depth: np.ndarray,  # (P,)
    colors: np.ndarray,  # (P, 3)
) -> np.ndarray:
    """Draw points as small discs, near ones over far ones.

    Args:
        image: RGB, uint8.
        uv: continuous pixels, as ``CameraRig.project`` gives them.
        depth: camera z in metres; points behind the camera are skipped.
        colors: RGB, uint8.

    Returns:
        ndarray: a new RGB image.
    """
    out = image.copy()
    height, width = image.shape[:2]
    inside = (depth > _NEAR) & (uv >= 0).all(axis=1)
    inside &= (uv[:, 0] < width) & (uv[:, 1] < height)
    # the nearest last, so that it is on top
    order = np.flatnonzero(inside)[np.argsort(-depth[inside])]
    radius = max(round(width / 500), 1)
    for (u, v), tint in zip(uv[order], colors[order].tolist()):
        cv2.circle(out, (int(u), int(v)), radius, tint, -1, cv2.LINE_AA)
    return out


def draw_boxes_image(
    image: np.ndarray,  # (H, W, 3)
    boxes: Boxes,
    rig: CameraRig,
    max_depth: float = 60.0,
) -> np.ndarray:
    """Draw wire frames of boxes; the front face has a cross.

    Args:
        image: RGB, uint8.
        boxes: in the reference frame.
        rig: one camera of this image, without batch dimensions: (1,).
        max_depth: metres beyond which boxes are left out.

    Returns:
        ndarray: a new RGB image.
    """
    out = image.copy()
    ref2cam = rig.ref2cam[0].double().cpu().numpy()
    depth = transform_points(ref2cam, boxes.corners)[..., 2].mean(axis=1)
    # far boxes first
    for n in np.argsort(-depth):
        if depth[n] <= max_depth:
            tint = tuple(int(c) for c in boxes.colors[n])
            _draw_lines(out, boxes.corners[n][np.array(EDGES)], rig, tint)
    return out


def draw_lines(
    image: np.ndarray,  # (H, W, 3)
    lines: np.ndarray,  # (M, 2, 3)
    rig: CameraRig,
    color: tuple[int, int, int],
) -> np.ndarray:
    """Draw straight lines, cut off in front of the lens.

    Args:
        image: RGB, uint8.
        lines: their ends, metres in the reference frame.
        rig: one camera of this image, (1,).
        color: RGB.

    Returns:
        ndarray: a new RGB image.
    """
    out = image.copy()
    _draw_lines(out, lines, rig, color)
    return out


def _draw_lines(
    image: np.ndarray,
    lines: np.ndarray,  # (M, 2, 3)
    rig: CameraRig,
    color: tuple[int, int, int],
) -> None:
    """``draw_lines``, in place."""
    ref2cam = rig.ref2cam[0].double().cpu().numpy()
    image_K = rig.image_K[0].double().cpu().numpy()
    thickness = max(round(rig.width / 700), 1)
    for start, end in transform_points(ref2cam, lines):
        segment = _in_front(start, end)
        if segment is None:
            continue
        pixels = segment @ image_K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        if np.abs(pixels).max() > 1e5:
            continue
        ends = np.round((pixels - 0.5) * 16).astype(np.int32)
        cv2.line(image, ends[0], ends[1], color, thickness, cv2.LINE_AA, 4)


def lidar_view(
    image: np.ndarray,  # (H, W, 3)
    points: np.ndarray,  # (P, 3)
    rig: CameraRig,
) -> np.ndarray:
    """``draw_lidar`` for points in the reference frame.

    Args:
        image: RGB, uint8.
        points: metres in the reference frame.
        rig: one camera of this image, (1,).

    Returns:
        ndarray: a new RGB image.
    """
    uv, depth = rig.to(torch.float64).project(torch.from_numpy(points))
    return draw_lidar(image, uv[0].numpy(), depth[0].numpy())


def _in_front(start: np.ndarray, end: np.ndarray) -> np.ndarray | None:
    """The part of a segment (camera frame) in front of the lens, (2, 3)."""
    if max(start[2], end[2]) < _NEAR:
        return None
    ends = np.stack([start, end])
    behind = ends[:, 2] < _NEAR
    if behind.any():
        share = (_NEAR - start[2]) / (end[2] - start[2])
        ends[behind] = start + share * (end - start)
    return ends
