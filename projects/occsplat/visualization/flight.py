"""A flight through a scene, along the way that the car took.

Shape letters: M key frames, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

from .colors import nothing_shown
from .film import same_volumes, sample_volumes
from .sheet import GAP, contact_sheet, with_note
from .voxel_views import chase_rig, render_occupancy

#: pictures per second
FLIGHT_FPS = 16
#: pixels of the whole picture, and of the volumes in it
_WIDTH, _HEIGHT = 1280, 400
#: where the camera is and what it looks at, metres ahead, left and up of
#: the reference frame's origin
_EYE, _TARGET = (-9.0, 0.0, 7.0), (14.0, 0.0, 0.0)


@dataclass(frozen=True)
class FlightFrame:
    """A key frame to fly through.

    Attributes:
        volumes: class ids (X, Y, Z) by title, one or two; all key frames
            have the same titles.
        timestamp: seconds.
        ref2global: its reference frame's pose, float64 (4, 4).
    """

    volumes: Mapping[str, np.ndarray]
    timestamp: float
    ref2global: np.ndarray


def flight_frame(sample: OccDataSample) -> FlightFrame:
    """Prediction and truth of a sample, and when and where it was.

    Raises:
        ValueError: when the sample holds neither volume.
    """
    return FlightFrame(
        sample_volumes(sample),
        float(sample.timestamp),
        np.asarray(sample.ref2global, np.float64),
    )


class DrivePath:
    """Where the reference frame is between key frames.

    Splines of position and turn, which go through the pose of each key
    frame at its time without a jerk. A single key frame stands still.

    Args:
        timestamps: seconds, increasing (M,).
        poses: ref2global at these times, float64 (M, 4, 4).
    """

    def __init__(
        self, timestamps: Sequence[float], poses: Sequence[np.ndarray]
    ) -> None:
        poses = np.asarray(poses, np.float64)
        # seconds of today are large numbers, and splines take cubes
        self.start = timestamps[0]
        times = np.asarray(timestamps, np.float64) - self.start
        if len(times) == 1:
            times, poses = np.array([0.0, 1.0]), poses.repeat(2, axis=0)
        self.position = CubicSpline(times, poses[:, :3, 3])
        self.turn = RotationSpline(
            times, Rotation.from_matrix(poses[:, :3, :3])
        )

    def __call__(self, timestamp: float) -> np.ndarray:
        """ref2global at a time in seconds, float64 (4, 4)."""
        pose = np.eye(4)
        pose[:3, :3] = self.turn(timestamp - self.start).as_matrix()
        pose[:3, 3] = self.position(timestamp - self.start)
        return pose


def flight_rig(
    pose: np.ndarray,  # (4, 4)
    ref2global: np.ndarray,  # (4, 4)
    width: int,
    height: int,
    frame: str = 'ego',
) -> CameraRig:
    """The flying camera, seen from a key frame.

    Behind and above the car, and looking ahead.

    Args:
        pose: ref2global at the time of the picture, see ``DrivePath``.
        ref2global: the key frame's.
        width: pixels.
        height: pixels.
        frame: the reference frame, see ``LabelSpec.frame``.

    Returns:
        CameraRig: (1,) in the key frame's reference frame, float64.
    """
    rig = chase_rig(width, height, _EYE, _TARGET, frame=frame)
    moved = np.linalg.inv(pose) @ ref2global
    rig.ref2cam = rig.ref2cam @ torch.from_numpy(moved)
    return rig


def flight_film(
    frames: Sequence[FlightFrame], spec: LabelSpec, title: str = ''
) -> Iterator[np.ndarray]:
    """A camera follows the car through the volumes.

    Each picture shows the key frame that is nearest in time, from where
    the camera is at that moment: what stands still stays where it is, what
    moves by itself goes from key frame to key frame.

    Args:
        frames: key frames in time order; the volumes span the label set's
            range.
        spec: the label set.
        title: the scene's name.

    Returns:
        Iterator: RGB pictures, uint8 (H, 1280, 3), drawn one by one,
        ``FLIGHT_FPS`` for each second from the first key frame to the
        last.

    Raises:
        ValueError: when there is no frame, or frames have different
            volumes.
    """
    same_volumes([frame.volumes for frame in frames])
    times = np.array([frame.timestamp for frame in frames])
    path = DrivePath(times, [frame.ref2global for frame in frames])
    number = max(round((times[-1] - times[0]) * FLIGHT_FPS), 1)
    moments = times[0] + np.arange(number) / FLIGHT_FPS

    def pictures() -> Iterator[np.ndarray]:
        for moment in moments:
            frame = frames[np.abs(times - moment).argmin()]
            seconds = (t - times[0] for t in (moment, frame.timestamp))
            words = '{:.1f} s: key frame of {:.1f} s'.format(*seconds)
            yield _picture(frame, path(moment), spec, f'{title}, {words}')

    return pictures()


def _picture(
    frame: FlightFrame, pose: np.ndarray, spec: LabelSpec, title: str
) -> np.ndarray:
    """The volumes of a key frame side by side, seen in flight."""
    count = len(frame.volumes)
    width = (_WIDTH - (count + 1) * GAP) // count
    rig = flight_rig(pose, frame.ref2global, width, _HEIGHT, spec.frame)
    row = []
    for name, occ in frame.volumes.items():
        grid = VoxelGrid(spec.grid.range, occ.shape)
        view = render_occupancy(occ, grid, spec, rig)[0]
        row.append((name, with_note(view, nothing_shown(occ, spec))))
    return contact_sheet([row], _WIDTH, title, spec)
