"""A scene as a film: volumes that turn while time goes on.

Shape letters: H W image, X Y Z voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

import cv2
import numpy as np

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

from .colors import OTHER, nothing_shown, volume_colors
from .heading import forward_left
from .sample_sheet import camera_names
from .sheet import GAP, Panel, contact_sheet, with_note
from .voxel_views import chase_rig, render_colors

#: pixels of the whole picture, and of the volumes in it
_WIDTH, _HEIGHT = 980, 300
#: pictures of one turn, of which each key frame has its share
PICTURES = 32
#: metres that the camera keeps from the car, along the ground and above it
_AWAY, _ABOVE = 45.0, 31.0
#: horizontal field of view in degrees, of one of two volumes
_VIEW = 62.0
#: cosine from which on a camera looks ahead
_AHEAD = 0.3
#: metres behind, ahead, left or right, and above the ground: where the car
#: that carries the sensors is, from its rear axle or its LiDAR
CAR = {'ego': (-1.0, 3.9, 1.0), 'lidar': (-2.0, 2.9, 1.0)}
GROUND, ROOF = {'ego': 0.0, 'lidar': -1.84}, 1.6


@dataclass(frozen=True)
class FilmFrame:
    """What is shown of one key frame.

    Attributes:
        volumes: class ids (X, Y, Z) by title, one or two; all key frames
            have the same titles.
        photos: titled RGB images, uint8 (H, W, 3), in a strip above.
        title: a line above everything.
    """

    volumes: Mapping[str, np.ndarray]
    photos: Sequence[Panel] = ()
    title: str = ''


def film_frame(
    sample: OccDataSample,
    images: Sequence[np.ndarray],  # N of (H, W, 3)
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
    names: Sequence[str],
    title: str = '',
) -> FilmFrame:
    """Prediction and truth, and the images of the cameras that look ahead.

    Args:
        sample: with ``pred_occ`` or ``gt_occ`` or both.
        images: RGB, uint8, one per camera; smaller ones are kept.
        spec: the label set.
        rig: cameras of ``images`` in the reference frame.
        names: the cameras' names.
        title: a line above everything.

    Raises:
        ValueError: when cameras, images and names differ in number.
    """
    names = camera_names(names, images, rig)
    axes = rig.ref2cam[:, 2, :2].double().cpu().numpy()
    ahead, left = forward_left(axes, spec.frame).T
    photos = [
        (names[n], _shrunk(images[n]))
        for n in np.argsort(-left)
        if ahead[n] > _AHEAD
    ]
    volumes = {
        name: sample.get(key).cpu().numpy()
        for name, key in (('prediction', 'pred_occ'), ('truth', 'gt_occ'))
        if key in sample
    }
    return FilmFrame(volumes, photos, title)


def _shrunk(image: np.ndarray) -> np.ndarray:
    """A photograph at no more than the width of the strip."""
    if image.shape[1] <= _WIDTH:
        return image
    height = round(image.shape[0] * _WIDTH / image.shape[1])
    size = (_WIDTH, height)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def scene_film(
    frames: Sequence[FilmFrame], spec: LabelSpec
) -> list[np.ndarray]:
    """A camera goes once around the car, while the key frames follow.

    It begins behind the car. The volumes are drawn as by
    ``render_occupancy``, with the car that carries the sensors in white,
    which is in no label.

    Args:
        frames: key frames in time order; the volumes span the label set's
            range.
        spec: the label set.

    Returns:
        list: RGB pictures, uint8 (H, 980, 3): about ``PICTURES``, the
        same number of each key frame.

    Raises:
        ValueError: when there is no frame, or frames have different
            volumes.
    """
    titles = {tuple(frame.volumes) for frame in frames}
    if len(titles) != 1:
        raise ValueError(
            'a film needs key frames of the same volumes, got '
            f'{len(frames)} frames with {sorted(titles)}'
        )
    each = max(round(PICTURES / len(frames)), 1)
    turn = 360 / (each * len(frames))
    pictures = []
    for number, frame in enumerate(frames):
        angles = [turn * (each * number + n) for n in range(each)]
        panels = [
            _views(title, occ, angles, _panel_width(len(frame.volumes)), spec)
            for title, occ in frame.volumes.items()
        ]
        above = [frame.photos] if frame.photos else []
        pictures += [
            contact_sheet(
                [*above, row], _WIDTH, frame.title, spec, others=['this car']
            )
            for row in zip(*panels)
        ]
    return pictures


def _panel_width(number: int) -> int:
    """Pixels of one of so many volumes, which a sheet leaves as it is."""
    return (_WIDTH - (number + 1) * GAP) // number


def _views(
    title: str,
    occ: np.ndarray,  # (X, Y, Z)
    angles: Sequence[float],
    width: int,
    spec: LabelSpec,
) -> Iterator[Panel]:
    """A volume from all sides, at a width in pixels."""
    grid = VoxelGrid(spec.grid.range, occ.shape)
    note = nothing_shown(occ, spec)
    occ, colors = _with_car(occ, grid, spec)
    for angle in angles:
        rig = orbit_rig(angle, width, _HEIGHT, spec.frame)
        view = render_colors(occ, grid, spec, rig, [colors])[0, 0]
        yield title, with_note(view, note)


def orbit_rig(
    angle: float, width: int, height: int, frame: str = 'ego'
) -> CameraRig:
    """A camera that looks at the car from above.

    Args:
        angle: degrees that it has gone around from behind the car, first
            along its left side.
        width: pixels; a wider picture shows more to the sides.
        height: pixels.
        frame: the reference frame, see ``LabelSpec.frame``.

    Returns:
        CameraRig: (1,), float64.
    """
    turn = math.radians(angle)
    eye = (-_AWAY * math.cos(turn), _AWAY * math.sin(turn), _ABOVE)
    half = math.tan(math.radians(_VIEW / 2)) * width / _panel_width(2)
    fov = 2 * math.degrees(math.atan(half))
    return chase_rig(width, height, eye, (0.0, 0.0, -2.0), fov, frame)


def _with_car(
    occ: np.ndarray,  # (X, Y, Z)
    grid: VoxelGrid,
    spec: LabelSpec,
) -> tuple[np.ndarray, np.ndarray]:
    """A volume with the car in it, and the colours (X, Y, Z, 3)."""
    centers = grid.centers().numpy()
    behind, ahead, side = CAR[spec.frame]
    flat = forward_left(centers[..., :2], spec.frame)
    along, left = flat[..., 0], flat[..., 1]
    height = centers[..., 2] - GROUND[spec.frame]
    car = (along > behind) & (along < ahead) & (abs(left) < side)
    car &= (height > 0) & (height < ROOF)
    occ, colors = occ.copy(), volume_colors(occ, spec)
    occ[car] = spec.occupied[0]
    colors[car] = OTHER
    return occ, colors
