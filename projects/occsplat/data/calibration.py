"""Is this the calibration of cameras on a car?

A matrix that is transposed, scaled or of images of another size gives a
sample like any other, and a network that learns nothing. So every entry of
an info file is looked at, when it is written and when it is read, by the
same functions: both go through ``frame_record``. What they say begins with
the field; who knows the file and the key frame puts those before it.

Cameras are pinhole cameras without skew: what has a lens distortion has to
be rectified before.

Shape letters: N cameras, M matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from .errors import DataError

#: how far R @ R.T may be from one: what is printed with three decimals
#: passes, a scale of 1.001 does not
ROTATION_TOLERANCE = 1.5e-3
#: skew as a share of the focal length
SKEW_TOLERANCE = 0.01
#: focal length as a share of the image's side: 169 and 0.6 degrees of view
FOCAL_SHARES = (0.05, 100.0)
#: seconds since 1970 that no drive reaches: milliseconds do
LATEST = 1e11
#: seconds between a camera's image and the LiDAR's sweep, at most
CAMERA_DELAY = 1.0
#: seconds from one key frame to the next, at least and at most
FRAME_STEP = (1e-3, 60.0)
#: metres between two sensors of a car, at most
MOUNT = 100.0
#: degrees and metres by which the car's motion between the LiDAR's and a
#: camera's time may change where the camera is seen from the LiDAR
MOTION = (15.0, 5.0)


@dataclass
class Calibration:
    """The matrices of a key frame, all float64.

    Attributes:
        cam2img: intrinsics of the raw images, (N, 3, 3).
        lidar2cam: LiDAR at its time -> camera at its own, (N, 4, 4).
        lidar2ego: (4, 4).
        ego2global: when the LiDAR fired, (4, 4).
        cam2ego: where each camera is mounted, if the entry says it, (4, 4)
            or None, N of them.
        sizes: width and height of the raw images, where the entry says
            them, else None, (N,).
    """

    cam2img: np.ndarray
    lidar2cam: np.ndarray
    lidar2ego: np.ndarray
    ego2global: np.ndarray
    cam2ego: list[np.ndarray | None]
    sizes: list[tuple[int, int] | None]


def read_calibration(
    info: Mapping[str, Any], names: Sequence[str]
) -> Calibration:
    """The matrices of an info entry, checked.

    Args:
        info: the entry.
        names: its cameras to look at, in this order.

    Raises:
        KeyError, TypeError: when a field is absent or no dictionary.
        DataError: when a matrix or a time can't be one; begins with the
            field, which names the camera.
    """
    lidar = info['lidar_points']
    cameras = [info['images'][name] for name in names]
    poses = {
        "lidar_points['lidar2ego']": lidar['lidar2ego'],
        'ego2global': info['ego2global'],
    }
    for name, camera in zip(names, cameras):
        poses[f"{name}['lidar2cam']"] = camera['lidar2cam']
        # hardly read, but they tell whether the rest is right
        for key in ('cam2ego', 'ego2global'):
            if camera.get(key) is not None:
                poses[f'{name}[{key!r}]'] = camera[key]
    found = dict(zip(poses, _poses(poses)))
    sizes = [_size(name, camera) for name, camera in zip(names, cameras)]
    lidar2cam = [found[f"{name}['lidar2cam']"] for name in names]
    calibration = Calibration(
        _intrinsics(names, [camera['cam2img'] for camera in cameras], sizes),
        np.array(lidar2cam).reshape(-1, 4, 4),
        found["lidar_points['lidar2ego']"],
        found['ego2global'],
        [found.get(f"{name}['cam2ego']") for name in names],
        sizes,
    )
    _check_mounts(calibration, names, found)
    time = check_time('timestamp', info['timestamp'])
    for name, camera in zip(names, cameras):
        if camera.get('timestamp') is not None:
            field = f"{name}['timestamp']"
            delay = check_time(field, camera['timestamp']) - time
            if not abs(delay) <= CAMERA_DELAY:
                raise DataError(
                    f'{field} is {delay:g} s after that of the key frame; '
                    f'expected {CAMERA_DELAY:g} s at most, both in seconds'
                )
    return calibration


def check_time(field: str, value: Any) -> float:
    """A time in seconds.

    Args:
        field: to name in errors.
        value: what there is.

    Raises:
        DataError: when it is no number, not finite, negative, or so large
            that it is in milliseconds or microseconds.
    """
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool):
        raise DataError(
            f'{field} is {value!r}; expected a time in seconds, a number'
        )
    if not 0 <= value < LATEST:
        raise DataError(
            f'{field} is {value!r}; expected a time in seconds, from 0 and '
            f'below {LATEST:g}. Is it in milliseconds or microseconds?'
        )
    return float(value)


def check_order(records: Sequence[Mapping[str, Any]]) -> None:
    """Whether key frames that are linked follow each other in time.

    Args:
        records: of all key frames, see ``frame_record``.

    Raises:
        DataError: when a token comes twice, or a key frame is not a
            little before the one that it calls ``next``.
    """
    by_token = {record['token']: record for record in records}
    if len(by_token) != len(records):
        tokens = [record['token'] for record in records]
        twice = next(t for t in tokens if tokens.count(t) > 1)
        raise DataError(f'key frame {twice!r} comes twice')
    low, high = FRAME_STEP
    for record in records:
        after = by_token.get(record['next'])
        if after is None:
            continue
        step = after['timestamp'] - record['timestamp']
        if not low <= step <= high:
            raise DataError(
                f'key frame {record["token"]!r}: the next one, '
                f'{after["token"]!r}, is {step:g} s later by their '
                f'timestamp; expected {low:g} to {high:g} s. Are they in '
                'seconds, and of these frames?'
            )


def check_image_size(
    record: Mapping[str, Any], camera: int, size: tuple[int, int]
) -> None:
    """Whether a camera's matrix is one of an image of this size.

    Args:
        record: of the key frame, see ``frame_record``.
        camera: index of the camera.
        size: width and height of the image on disk.

    Raises:
        DataError: when the info entry says another size, or the matrix
            can't be one of such an image; names frame, camera and file.
    """
    name = record['cameras'][camera]
    start = f'key frame {record["token"]!r}, {record["img_paths"][camera]}'
    cure = (
        'Were the images resized? Use those that the calibration was made '
        'for, or scale cam2img (and width and height) along with them'
    )
    said = record['image_sizes'][camera]
    if said is not None and said != size:
        raise DataError(
            f'{start}: the image has {size[0]}x{size[1]} pixels, the info '
            f'entry says {said[0]}x{said[1]} of {name}. {cure}'
        )
    problem = _intrinsic_problem(record['cam2img'][camera], size)
    if problem:
        raise DataError(f"{start}: {name}['cam2img'] {problem}. {cure}")


def _poses(fields: Mapping[str, Any]) -> np.ndarray:
    """float64 (M, 4, 4), each a rotation and an offset."""
    try:
        matrices = np.asarray([*fields.values()], dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        matrices = None
    if matrices is None or matrices.shape != (len(fields), 4, 4):
        matrices = np.stack(
            [_matrix(name, value, 4) for name, value in fields.items()]
        )
    with np.errstate(invalid='ignore', over='ignore'):
        rotations = matrices[:, :3, :3]
        error = rotations @ rotations.swapaxes(1, 2) - np.eye(3)
        good = np.isfinite(matrices).all(axis=(1, 2))
        good &= (np.abs(error) <= ROTATION_TOLERANCE).all(axis=(1, 2))
        good &= np.linalg.det(rotations) > 0
        good &= (np.abs(matrices[:, 3] - (0, 0, 0, 1)) < 1e-6).all(axis=1)
    if not good.all():
        first = int((~good).argmax())
        raise DataError(f'{[*fields][first]} {_fault(matrices[first])}')
    return matrices


def _fault(matrix: np.ndarray) -> str:
    """What is wrong with a pose."""
    if not np.isfinite(matrix).all():
        return 'has values that are not finite'
    if not np.abs(matrix[3] - (0, 0, 0, 1)).max() < 1e-6:
        return (
            f'has the last row {matrix[3].tolist()}; expected [0, 0, 0, 1]. '
            'Is it transposed?'
        )
    rotation = matrix[:3, :3]
    lengths = np.linalg.norm(rotation, axis=1)
    if (np.abs(lengths - 1) > ROTATION_TOLERANCE / 2).any():
        return (
            'is no rotation: its rows have the lengths '
            f'{lengths.round(4).tolist()}; expected 1. Is it scaled or '
            'sheared?'
        )
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > ROTATION_TOLERANCE:
        return (
            'is no rotation: its axes are not at right angles. Is it sheared?'
        )
    return (
        'is no rotation but a mirror: its determinant is '
        f'{np.linalg.det(rotation):.3f}; expected 1'
    )


def _intrinsics(
    names: Sequence[str],
    values: Sequence[Any],
    sizes: Sequence[tuple[int, int] | None],
) -> np.ndarray:
    """float64 (N, 3, 3)."""
    matrices = np.empty((len(names), 3, 3))
    for n, (name, value) in enumerate(zip(names, values)):
        field = f"{name}['cam2img']"
        matrices[n] = _matrix(field, value, 3)
        problem = _intrinsic_problem(matrices[n], sizes[n])
        if problem:
            raise DataError(f'{field} {problem}')
    return matrices


def _intrinsic_problem(K: np.ndarray, size: tuple[int, int] | None) -> str:
    """What is wrong with a camera's matrix (3, 3), '' if nothing."""
    (fx, skew, cx), (zero, fy, cy), last = K.tolist()
    if not np.isfinite(K).all():
        return 'has values that are not finite'
    if last != [0, 0, 1]:
        return (
            f'has the last row {last}; expected [0, 0, 1]. Is it transposed?'
        )
    if not (fx >= 1 and fy >= 1):
        return (
            f'has the focal lengths {fx:g} and {fy:g}; expected pixels of '
            'the raw image, positive'
        )
    if not max(abs(skew), abs(zero)) <= SKEW_TOLERANCE * min(fx, fy):
        return (
            f'has a skew of {skew:g} and {zero:g}; expected none, as of a '
            'pinhole camera'
        )
    if cx <= 0 or cy <= 0:
        return (
            f'has the principal point ({cx:g}, {cy:g}), which is outside of '
            'the image'
        )
    if size is None:
        return ''
    width, height = size
    if not (cx < width and cy < height):
        return (
            f'has the principal point ({cx:g}, {cy:g}), which is outside of '
            f'the image of {width}x{height} pixels'
        )
    low, high = FOCAL_SHARES
    if not (low <= fx / width <= high and low <= fy / height <= high):
        return (
            f'has the focal lengths {fx:g} and {fy:g}, which no pinhole '
            f'camera with an image of {width}x{height} pixels has'
        )
    return ''


def _matrix(field: str, value: Any, side: int) -> np.ndarray:
    """float64 (side, side), what a larger one adds being that of one."""
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(
            f'{field} is no {side}x{side} matrix of numbers ({error})'
        ) from error
    if side == 3 and matrix.shape in ((3, 4), (4, 4)):
        # as data sets with several cameras of one frame write it
        rest = np.eye(4)[: len(matrix)].copy()
        rest[:3, :3] = matrix[:3, :3]
        if np.array_equal(matrix, rest, equal_nan=True):
            matrix = matrix[:3, :3]
    if matrix.shape != (side, side):
        raise DataError(
            f'{field} is an array of shape {matrix.shape}; expected a '
            f'{side}x{side} matrix'
        )
    return matrix


def _size(name: str, camera: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height of the raw image as the entry says it."""
    size = camera.get('width'), camera.get('height')
    if size == (None, None):
        return None
    whole = all(
        isinstance(side, (int, np.integer)) and not isinstance(side, bool)
        for side in size
    )
    if not whole or min(size) < 1:
        raise DataError(
            f"{name}['width'] and ['height'] are {size}; expected the size "
            'of its image in pixels'
        )
    return int(size[0]), int(size[1])


def _check_mounts(
    calibration: Calibration,
    names: Sequence[str],
    found: Mapping[str, np.ndarray],
) -> None:
    """Sensors are on one car, and where both of two ways to it say."""
    lidar2ego, lidar2cam = calibration.lidar2ego, calibration.lidar2cam
    far = {"lidar_points['lidar2ego']": lidar2ego}
    far |= {f"{n}['lidar2cam']": m for n, m in zip(names, lidar2cam)}
    for field, matrix in far.items():
        distance = float(np.linalg.norm(matrix[:3, 3]))
        if distance > MOUNT:
            raise DataError(
                f'{field} puts the sensors {distance:g} m apart; expected '
                f'{MOUNT:g} m at most. Is it in metres?'
            )
    pairs = [
        (n, found[f"{name}['cam2ego']"])
        for n, name in enumerate(names)
        if f"{name}['cam2ego']" in found
    ]
    if not pairs:
        return
    index, cam2ego = [n for n, _ in pairs], np.stack([m for _, m in pairs])
    # one, but for the car's motion between the two sensors' times
    there = lidar2cam[index] @ np.linalg.inv(lidar2ego) @ cam2ego
    cosine = (np.trace(there[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    degrees = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    metres = np.linalg.norm(there[:, :3, 3], axis=1)
    wrong = (degrees > MOTION[0]) | (metres > MOTION[1])
    if wrong.any():
        first = int(wrong.argmax())
        name = names[index[first]]
        raise DataError(
            f"{name}['lidar2cam'] and {name}['cam2ego'] contradict each "
            f'other by {degrees[first]:.0f} degrees and {metres[first]:.1f} '
            'm. Is one of them inverted, or of another camera?'
        )
