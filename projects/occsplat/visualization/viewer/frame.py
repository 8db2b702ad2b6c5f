"""What the viewer shows of a key frame, as plain arrays.

Shape letters: X Y Z voxels, N cameras, P points, J boxes, A arrows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
    same_shape,
)

from ..bev import STILL
from ..boxes import Boxes
from ..sample_sheet import camera_names
from ..splat_views import splat_pictures, splat_volume

#: metres from a camera to its image
IMAGE_DEPTH = 3.0
#: LiDAR points are rounded to so many metres
POINT_STEP = 0.01
#: pixels of a photograph and of a render, at most
_PHOTO_WIDTH, _RENDER_WIDTH = 480, 320


@dataclass(frozen=True)
class ViewerFrame:
    """A key frame for ``write_viewer``.

    Attributes:
        title: a line of text.
        cameras: names of the cameras (N,).
        pictures: by 'photo', 'prediction' and 'truth', as far as there
            are any: N RGB images, uint8 (H, W, 3). The latter two are
            what each camera sees of a volume, see ``splat_volume``.
        arrays: metres and m/s are those of the reference frame.

            - ``prediction``, ``truth``: class ids, uint8 (X, Y, Z).
            - ``visible``: seen by a camera, uint8 (X, Y, Z).
            - ``prediction_flow``, ``truth_flow``: see ``moving_columns``,
              float32 (A, 5).
            - ``frusta``: see ``camera_frusta``, float32 (N, 5, 3).
            - ``boxes``: corners of those in the volume, in the order of
              ``Boxes``, float32 (J, 8, 3), and ``box_colors``, uint8
              (J, 3).
            - ``points``: in steps of ``POINT_STEP``, int16 (P, 3).
    """

    title: str
    cameras: Sequence[str]
    pictures: Mapping[str, Sequence[np.ndarray]]
    arrays: Mapping[str, np.ndarray]


def viewer_frame(
    sample: OccDataSample,
    images: Sequence[np.ndarray],  # N of (H, W, 3)
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
    points: np.ndarray,  # (P, 3)
    boxes: Boxes,
    names: Sequence[str] = (),
    title: str = '',
) -> ViewerFrame:
    """A frame of a sample and of what the sensors say.

    Args:
        sample: with ``pred_occ`` or ``gt_occ`` or both, and their flow
            where it exists. They span the label set's range.
        images: RGB, uint8, one per camera.
        spec: the label set.
        rig: cameras of ``images`` in the reference frame.
        points: LiDAR, metres in the reference frame.
        boxes: annotations in the reference frame; may be empty.
        names: the cameras' names.
        title: a line of text.

    Raises:
        ValueError: when the sample holds neither volume, or cameras and
            images differ in number.
    """
    names = camera_names(names, images, rig)
    low, high = spec.grid.min[:2], spec.grid.max[:2]
    middle = boxes.centers[:, :2]
    inside = ((middle >= low) & (middle <= high)).all(axis=-1)
    arrays = dict(
        frusta=camera_frusta(rig),
        boxes=boxes.corners[inside].astype(np.float32),
        box_colors=boxes.colors[inside],
        points=_rounded(points),
    )
    pictures = dict(photo=[_shrunk(image) for image in images])
    small = rig.to(torch.float32).scaled(_RENDER_WIDTH / rig.width)
    for name, key in (('prediction', 'pred'), ('truth', 'gt')):
        if f'{key}_occ' not in sample:
            continue
        occ: Tensor = sample.get(f'{key}_occ').cpu()
        grid = VoxelGrid(spec.grid.range, occ.shape)
        arrays[name] = occ.numpy().astype(np.uint8)
        out = splat_volume(occ, grid, spec, small.cameras)
        pictures[name] = list(splat_pictures(out, spec))
        if f'{key}_flow' in sample:
            flow = sample.get(f'{key}_flow').cpu().numpy()
            arrays[f'{name}_flow'] = moving_columns(
                arrays[name], flow, spec, grid
            )
    if not {'prediction', 'truth'} & set(arrays):
        raise ValueError(
            'the viewer needs pred_occ or gt_occ, the sample has '
            f'{sorted(sample.keys())}'
        )
    if 'gt_visible' in sample:
        arrays['visible'] = sample.gt_visible.cpu().numpy().astype(np.uint8)
    return ViewerFrame(title, names, pictures, arrays)


def camera_frusta(rig: CameraRig) -> np.ndarray:
    """Where cameras stand and where their images are drawn.

    Args:
        rig: N cameras in the reference frame.

    Returns:
        ndarray: metres in the reference frame, float32 (N, 5, 3): the
        centre, and the points ``IMAGE_DEPTH`` deep at the image's corners
        (0, 0), (W, 0), (W, H) and (0, H).
    """
    origins, turn = rig.to('cpu', torch.float64).pixel_rays()
    w, h = rig.width, rig.height
    corners = torch.tensor(
        [[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1]], dtype=turn.dtype
    )
    rays = torch.einsum('nij,cj->nci', turn, corners)
    far = origins[:, None] + IMAGE_DEPTH * rays
    return torch.cat([origins[:, None], far], dim=1).float().numpy()


def moving_columns(
    occ: np.ndarray,  # (X, Y, Z)
    flow: np.ndarray,  # (X, Y, Z, 2)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> np.ndarray:
    """The flow of what moves, seen from above.

    Args:
        occ: class ids.
        flow: m/s.
        spec: names the movable classes.
        grid: where the voxels are.

    Returns:
        ndarray: float32 (A, 5): of each column whose highest movable
        voxel moves the middle of this voxel's top in metres, and its flow
        in m/s.

    Raises:
        ValueError: when flow and classes differ in shape.
    """
    same_shape('flow', flow.shape, (*occ.shape, 2))
    movable = np.isin(occ, spec.movable)
    x, y = np.nonzero(movable.any(axis=-1))
    z = occ.shape[2] - 1 - movable[x, y, ::-1].argmax(axis=-1)
    velocity = flow[x, y, z]
    top = np.stack([x + 0.5, y + 0.5, z + 1.0], axis=-1)
    start = top * grid.size + grid.min
    moving = np.hypot(*velocity.T) >= STILL
    rows = np.concatenate([start, velocity], axis=-1)[moving]
    return rows.astype(np.float32)


def _rounded(points: np.ndarray) -> np.ndarray:
    """Points in steps of ``POINT_STEP``, those too far for int16 left out."""
    steps = np.round(points / POINT_STEP)
    near = (np.abs(steps) <= np.iinfo(np.int16).max).all(axis=-1)
    return steps[near].astype(np.int16)


def _shrunk(image: np.ndarray) -> np.ndarray:
    """A photograph at no more than the width of the viewer's."""
    scale = min(_PHOTO_WIDTH / image.shape[1], 1)
    height, width = (round(scale * side) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
