"""A scene as a film: volumes that turn while time goes on.

Shape letters: N cameras, H W image, X Y Z voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

from .colors import OTHER, nothing_shown, volume_colors
from .heading import forward_left
from .lettering import PAPER
from .sample_sheet import camera_names
from .sheet import GAP, Panel, contact_sheet, with_note
from .splat_views import splat_pictures, splat_volume
from .voxel_views import chase_rig, render_colors

#: pixels of the whole picture, and of the volumes in it
_WIDTH, _HEIGHT = 900, 270
#: pictures of one turn, of which each key frame has its share
PICTURES = 32
#: metres that the camera keeps from the car, along the ground and above it
_AWAY, _ABOVE = 45.0, 31.0
#: horizontal field of view in degrees, of a picture of this width by height
_VIEW, _ASPECT = 62.0, 1.6
#: places for cameras in a row, at least: fewer do not fill the picture
PLACES = 3
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
        above: rows of titled RGB images, uint8 (H, W, 3), above them.
        beside: titled images to the right of them, as high as they are.
        title: a line above everything.
    """

    volumes: Mapping[str, np.ndarray]
    above: Sequence[Sequence[Panel]] = ()
    beside: Sequence[Panel] = ()
    title: str = ''


def film_frame(
    sample: OccDataSample,
    images: Sequence[np.ndarray],  # N of (H, W, 3)
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
    names: Sequence[str],
    title: str = '',
) -> FilmFrame:
    """Prediction and truth, and what the cameras that look ahead see.

    Above the volumes are the photographs, and below each of them what the
    rasteriser makes of the first volume in the same camera, see
    ``splat_volume``: of the prediction, where there is one.

    Args:
        sample: with ``pred_occ`` or ``gt_occ`` or both.
        images: RGB, uint8, one per camera; smaller ones are kept.
        spec: the label set.
        rig: cameras of ``images`` in the reference frame.
        names: the cameras' names.
        title: a line above everything.

    Raises:
        ValueError: when cameras, images and names differ in number, or
            the sample holds neither volume.
    """
    names = camera_names(names, images, rig)
    ahead, left = camera_headings(rig, spec.frame)
    shown = [n for n in np.argsort(-left) if ahead[n] > _AHEAD]
    volumes = sample_volumes(sample)
    above: list[list[Panel]] = []
    if shown:
        places = max(PLACES, len(shown))
        width = _panel_width(places)
        photos = [(names[n], shrunk(images[n], width)) for n in shown]
        small = rig[shown].scaled(width / rig.width)
        title_of, occ = next(iter(volumes.items()))
        grid = VoxelGrid(spec.grid.range, occ.shape)
        seen = splat_volume(
            torch.from_numpy(occ), grid, spec, small.to(torch.float32).cameras
        )
        note = nothing_shown(occ, spec)
        renders = [
            (f'{title_of}, rendered', with_note(view, note))
            for view in splat_pictures(seen, spec)
        ]
        above = [centred(photos, places), centred(renders, places)]
    return FilmFrame(volumes, above, title=title)


def sample_volumes(sample: OccDataSample) -> dict[str, np.ndarray]:
    """Prediction and truth by title, class ids (X, Y, Z).

    Raises:
        ValueError: when the sample holds neither.
    """
    volumes = {
        name: sample.get(key).cpu().numpy()
        for name, key in (('prediction', 'pred_occ'), ('truth', 'gt_occ'))
        if key in sample
    }
    if not volumes:
        raise ValueError(
            'a film needs pred_occ or gt_occ, the sample has '
            f'{sorted(sample.keys())}'
        )
    return volumes


def camera_headings(
    rig: CameraRig,  # (N,)
    frame: str,
) -> tuple[np.ndarray, np.ndarray]:
    """How far cameras look ahead and to the left, two of (N,), in -1..1."""
    axes = rig.ref2cam[:, 2, :2].double().cpu().numpy()
    ahead, left = forward_left(axes, frame).T
    return ahead, left


def shrunk(image: np.ndarray, width: int) -> np.ndarray:
    """An image (H, W, 3) at no more than a width in pixels."""
    if image.shape[1] <= width:
        return image
    size = (width, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def centred(row: list[Panel], places: int) -> list[Panel]:
    """A row with paper at both ends where it has fewer pictures."""
    height, width = row[0][1].shape[:2]
    side = (places - len(row)) * width // 2
    if side == 0:
        return row
    paper = '', np.full((height, side, 3), PAPER, np.uint8)
    return [paper, *row, paper]


def scene_film(
    frames: Sequence[FilmFrame], spec: LabelSpec
) -> Iterator[np.ndarray]:
    """A camera goes once around the car, while the key frames follow.

    Args:
        frames: key frames in time order; the volumes span the label set's
            range.
        spec: the label set.

    Returns:
        Iterator: RGB pictures, uint8 (H, 900, 3): about ``PICTURES``, the
        same number of each key frame.

    Raises:
        ValueError: when there is no frame, or frames have different
            volumes.
    """
    each = max(round(PICTURES / max(len(frames), 1)), 1)
    return turning_film(frames, spec, each, _WIDTH, _HEIGHT)


def turning_film(
    frames: Sequence[FilmFrame],
    spec: LabelSpec,
    each: int,
    width: int,
    height: int,
) -> Iterator[np.ndarray]:
    """``scene_film`` in another size and at another pace.

    It begins behind the car. The volumes are drawn as by
    ``render_occupancy``, with the car that carries the sensors in white,
    which is in no label.

    Args:
        frames: key frames in time order.
        spec: the label set.
        each: pictures of each key frame.
        width: pixels of a picture.
        height: pixels of the volumes in it.

    Returns:
        Iterator: RGB pictures, uint8 (H, width, 3), drawn one by one.

    Raises:
        ValueError: as ``scene_film``.
    """
    same_volumes([frame.volumes for frame in frames])
    turn = 360 / (each * len(frames))

    def pictures() -> Iterator[np.ndarray]:
        for number, frame in enumerate(frames):
            angles = [turn * (each * number + n) for n in range(each)]
            room = width - sum(
                GAP + image.shape[1] * height / image.shape[0]
                for _, image in frame.beside
            )
            count = len(frame.volumes)
            size = (_panel_width(count, room), height)
            panels = [
                _views(title, occ, angles, size, spec)
                for title, occ in frame.volumes.items()
            ]
            for row in zip(*panels):
                yield contact_sheet(
                    [*frame.above, [*row, *frame.beside]],
                    width,
                    frame.title,
                    spec,
                    others=['this car'],
                )

    return pictures()


def same_volumes(volumes: Sequence[Mapping[str, np.ndarray]]) -> None:
    """See that key frames can follow each other in one film.

    Args:
        volumes: of each key frame, by title.

    Raises:
        ValueError: when there is none, or titles differ.
    """
    titles = {tuple(of_frame) for of_frame in volumes}
    if len(titles) != 1:
        raise ValueError(
            'a film needs key frames of the same volumes, got '
            f'{len(volumes)} frames with {sorted(titles)}'
        )


def _panel_width(number: int, width: float = _WIDTH) -> int:
    """Pixels of one of so many pictures, which a sheet leaves as it is."""
    return int((width - (number + 1) * GAP) // number)


def _views(
    title: str,
    occ: np.ndarray,  # (X, Y, Z)
    angles: Sequence[float],
    size: tuple[int, int],
    spec: LabelSpec,
) -> Iterator[Panel]:
    """A volume from all sides, at a width and a height in pixels."""
    grid = VoxelGrid(spec.grid.range, occ.shape)
    note = nothing_shown(occ, spec)
    occ, colors = _with_car(occ, grid, spec)
    for angle in angles:
        rig = orbit_rig(angle, *size, spec.frame)
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
        height: pixels, which show the same whatever their number.
        frame: the reference frame, see ``LabelSpec.frame``.

    Returns:
        CameraRig: (1,), float64.
    """
    turn = math.radians(angle)
    eye = (-_AWAY * math.cos(turn), _AWAY * math.sin(turn), _ABOVE)
    half = math.tan(math.radians(_VIEW / 2)) * width / height / _ASPECT
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
