"""One sample on one sheet.

Shape letters: X Y Z voxels, N cameras, P points, H W image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import cv2
import numpy as np
from torch import Tensor

from occsplat.ops import predicted_boxes
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

from .bev import BevMap, bev_image
from .boxes import Boxes
from .camera_overlays import draw_boxes_image, lidar_view, overlay
from .colors import flow_colors, flow_key, nothing_shown, volume_colors
from .files import write_png
from .heading import reach
from .lettering import PAPER
from .sheet import Panel, contact_sheet, with_note
from .voxel_views import (
    cast_views,
    chase_rig,
    render_colors,
    render_occupancy,
)


def save_sample_sheet(
    sample: OccDataSample,
    images: Sequence[np.ndarray],
    path: str | Path,
    spec: LabelSpec,
    rig: CameraRig | None = None,
    names: Sequence[str] = (),
    title: str = '',
) -> Path:
    """``sample_sheet`` written as PNG; returns where it is."""
    return write_png(
        path, sample_sheet(sample, images, spec, rig, names, title)
    )


def sample_sheet(
    sample: OccDataSample,
    images: Sequence[np.ndarray],  # N of (H, W, 3)
    spec: LabelSpec,
    rig: CameraRig | None = None,  # (N,)
    names: Sequence[str] = (),
    title: str = '',
) -> np.ndarray:
    """Images, prediction and truth of a sample.

    Rows: the images; the prediction and, where there is one, the truth
    from the same cameras; bird's-eye views with flow arrows and boxes and
    chase views of both. Boxes are those found in the prediction, see
    ``instance_boxes``, and those annotated.

    Args:
        sample: with ``pred_occ`` or ``gt_occ`` or both, and their flow,
            offsets and boxes where they exist. They span the label set's
            range.
        images: RGB, uint8, one per camera.
        spec: the label set.
        rig: cameras of ``images``; by default the key frame's cameras of
            the sample, which see the network's input images.
        names: the cameras' names.
        title: a line above everything.

    Returns:
        ndarray: RGB, uint8 (H, 1920, 3).

    Raises:
        ValueError: when the sample holds neither volume, or cameras and
            images differ in number.
    """
    volumes = [
        (name, _array(sample, f'{key}_occ'), _array(sample, f'{key}_flow'))
        for name, key in (('prediction', 'pred'), ('truth', 'gt'))
        if f'{key}_occ' in sample
    ]
    if not volumes:
        raise ValueError(
            'a sample sheet needs pred_occ or gt_occ, the sample has '
            f'{sorted(sample.keys())}'
        )
    rig = sample.rig[0] if rig is None else rig
    names = camera_names(names, images, rig)
    # six in a row are 313 pixels wide: more rays would be waste
    small = rig.scaled(320 / rig.width)
    rows: list[list[Panel]] = [list(zip(names, images))]
    below: list[Panel] = []
    for name, occ, flow in volumes:
        grid = VoxelGrid(spec.grid.range, occ.shape)
        views = render_occupancy(occ, grid, spec, small)
        note = nothing_shown(occ, spec)
        rows.append([(name, with_note(view, note)) for view in views])
        size = 960 // len(volumes)
        boxes = _boxes(sample, name, grid, spec, still=flow is not None)
        below += volume_panels(name, occ, flow, grid, spec, boxes, size)
    has_flow = any(flow is not None for *_, flow in volumes)
    return contact_sheet(
        [*rows, below],
        title=title,
        spec=spec,
        key=flow_key() if has_flow else None,
    )


def frame_sheet(
    sample: OccDataSample,
    images: Sequence[np.ndarray],  # N of (H, W, 3)
    rig: CameraRig,  # (N,)
    points: np.ndarray,  # (P, 3)
    boxes: Boxes,
    spec: LabelSpec,
    names: Sequence[str] = (),
    title: str = '',
) -> np.ndarray:
    """A prediction on real input, next to what the LiDAR says.

    Two rows for every three cameras: the prediction blended into the
    images, and the images with LiDAR points and annotated boxes. Below,
    the prediction from above, with the boxes, and from behind.

    Args:
        sample: with ``pred_occ`` and perhaps ``pred_flow``, which span
            the label set's range.
        images: RGB, uint8, one per camera.
        rig: cameras of ``images`` in the reference frame.
        points: LiDAR, metres in the reference frame.
        boxes: annotations in the reference frame; may be empty.
        spec: the label set.
        names: the cameras' names.
        title: a line above everything.

    Returns:
        ndarray: RGB, uint8 (H, 1920, 3).

    Raises:
        ValueError: when cameras and images differ in number.
    """
    names = camera_names(names, images, rig)
    occ, flow = _array(sample, 'pred_occ'), _array(sample, 'pred_flow')
    grid = VoxelGrid(spec.grid.range, occ.shape)
    small = rig.scaled(640 / rig.width)
    size = (small.width, small.height)
    images = [
        cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for image in images
    ]
    views = render_occupancy(occ, grid, spec, small)
    masks = cast_views(occ, grid, spec, small).mask
    note = nothing_shown(occ, spec)
    # the picture is a photograph: say whose voxels are meant
    note = note and f'prediction: {note}'
    blended, measured = [], []
    for n, name in enumerate(names):
        mixed = overlay(images[n], views[n], masks[n])
        blended.append((name, with_note(mixed, note)))
        camera = small[n : n + 1]
        image = lidar_view(images[n], points, camera)
        image = draw_boxes_image(image, boxes, camera)
        measured.append((f'{name}: LiDAR and annotation', image))
    rows = []
    for start in range(0, len(names), 3):
        rows += [blended[start : start + 3], measured[start : start + 3]]
    rows.append(volume_panels('prediction', occ, flow, grid, spec, boxes, 960))
    return contact_sheet(
        rows,
        title=title,
        spec=spec,
        key=None if flow is None else flow_key(),
        others=boxes.others,
    )


def volume_panels(
    name: str,
    occ: np.ndarray,  # (X, Y, Z)
    flow: np.ndarray | None,  # (X, Y, Z, 2)
    grid: VoxelGrid,
    spec: LabelSpec,
    boxes: Boxes | None = None,
    size: int = 480,
) -> list[Panel]:
    """A volume from above and from behind.

    Args:
        name: what the volume is, for the titles.
        occ: class ids.
        flow: m/s; adds arrows to the bird's-eye view and a chase view
            in flow colours.
        grid: where the voxels are.
        spec: the label set.
        boxes: outlines for the bird's-eye view.
        size: height in pixels.

    Returns:
        list: titled panels: bird's-eye view and chase view, which stacks
        class and flow colours where there is flow.
    """
    (behind, _), (ahead, _) = reach(grid, spec.frame)
    view = BevMap(grid, size / (ahead - behind), spec.frame)
    above = bev_image(occ, spec, view, flow=flow, boxes=boxes)
    if flow is None:
        chase = chase_rig(round(1.4 * size), size, frame=spec.frame)
        from_behind = render_occupancy(occ, grid, spec, chase)[0]
    else:
        chase = chase_rig(size, size // 2, frame=spec.frame)
        colorings = volume_colors(occ, spec), flow_colors(occ, flow, spec)
        views = render_colors(occ, grid, spec, chase, colorings)[:, 0]
        views[0][-size // 120 :] = PAPER
        from_behind = np.concatenate(views)
    note = nothing_shown(occ, spec)
    return [
        (f"{name}: bird's-eye view", with_note(above, note)),
        (f'{name}: from behind', with_note(from_behind, note)),
    ]


def _boxes(
    sample: OccDataSample,
    name: str,
    grid: VoxelGrid,
    spec: LabelSpec,
    still: bool,
) -> Boxes | None:
    """Boxes of the prediction or the truth, None where there are none.

    ``still``: without their velocities, since flow shows them.
    """
    if name == 'prediction':
        found = predicted_boxes(sample, grid, spec)
        return Boxes.from_arrays(
            found.boxes.numpy(), found.labels.numpy(), spec
        )
    if 'gt_boxes' not in sample:
        return None
    keys = 'gt_boxes', 'gt_box_labels', 'gt_box_velocities'
    boxes, labels, velocities = (_array(sample, key) for key in keys)
    return Boxes.from_arrays(
        boxes, labels, spec, None if still else velocities
    )


def camera_names(
    names: Sequence[str], images: Sequence[np.ndarray], rig: CameraRig
) -> list[str]:
    """Names for people, one per camera."""
    names = names or [f'camera {n}' for n in range(rig.num_cameras)]
    if not len(names) == len(images) == rig.num_cameras:
        raise ValueError(
            f'expected as many images and names as the {rig.num_cameras} '
            f'cameras, got {len(images)} images and {len(names)} names'
        )
    return [n.removeprefix('CAM_').replace('_', ' ').lower() for n in names]


def _array(sample: OccDataSample, key: str) -> np.ndarray | None:
    value: Tensor | None = sample.get(key)
    return None if value is None else value.detach().cpu().numpy()
