"""Point clouds on disk: what is read and what is refused.

Shape letters: P points.
"""

from __future__ import annotations

import os

import numpy as np

from .errors import DataError

#: metres; no LiDAR return is so far away
FARTHEST = 1e4
#: beams that a LiDAR may have
RINGS = 1024
# what files begin with that are taken for point clouds; no sweep does: as
# floats these are no coordinates
_OTHERS = {
    b'\x93NUMPY': 'a NumPy file (.npy)',
    b'PK\x03\x04': 'a zip archive (.npz)',
    b'# .PCD': 'a PCD file with a header',
    b'VERSION': 'a PCD file with a header',
    b'ply\n': 'a PLY file',
    b'version https://git-lfs': 'a pointer of git-lfs, not the file itself',
    b'<!DOCTYPE': 'a web page',
    b'<html': 'a web page',
}


def read_points(path: str, features: int) -> np.ndarray:
    """A sweep, as nuScenes stores it.

    Raw float32 without a header: x y z in metres, then the intensity, 0 or
    more, and the number of the beam ('ring'), as far as ``features`` say
    so. A file with another number of columns often has a fitting length
    all the same; intensity and ring tell.

    Args:
        path: the file, ``.bin``.
        features: columns of a point, 3 or more.

    Returns:
        ndarray: float32 (P, features), all finite.

    Raises:
        FileNotFoundError: when the file is missing.
        DataError: when it is empty, cut off or of another format, has
            another number of columns, or has points that are not finite.
    """
    if not os.path.isfile(path):
        beside = [
            other
            for other in (f'{path}.npy', f'{os.path.splitext(path)[0]}.npy')
            if os.path.isfile(other)
        ]
        found = f' ({beside[0]} is no such file)' if beside else ''
        raise FileNotFoundError(
            f'point cloud {path} is missing{found}: expected it where the '
            'info file says. Unpack the LiDAR archives below the data root, '
            'or run tools/create_data.py again if files have moved'
        )
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except OSError as error:
        raise DataError(
            f'point cloud {path} cannot be read: {error.strerror or error}'
        ) from error
    layout = f'float32, {features} columns per point, without a header'
    for start, kind in _OTHERS.items():
        if content.startswith(start):
            raise DataError(
                f'point cloud {path} is {kind}; expected raw {layout}'
            )
    size, point = len(content), 4 * features
    if size == 0 or size % point:
        raise DataError(
            f'point cloud {path} has {size} bytes: expected a positive '
            f'multiple of {point} ({features} float32 a point). It is '
            'truncated or of another format; unpack or copy it again'
        )
    # writable, with memory of its own, as np.fromfile gives it
    points = np.frombuffer(bytearray(content), np.float32)
    points = points.reshape(-1, features)
    problem = _problem(points)
    if problem:
        raise DataError(
            f'point cloud {path}: {problem}; expected raw {layout}. Unpack '
            'or copy it again'
        )
    return points


def _problem(points: np.ndarray) -> str:
    """What no sweep has, '' if nothing."""
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        return (
            f'{int(bad.sum())} of {len(points)} points are not finite, the '
            f'first is point {int(bad.argmax())}'
        )
    far = float(np.abs(points[:, :3]).max())
    if far > FARTHEST:
        return f'a coordinate of {far:g} m. Is it in metres?'
    columns = points.shape[1]
    if columns >= 4 and points[:, 3].min() < 0:
        return (
            f'an intensity (column 4) of {points[:, 3].min():g}. Has a point '
            f'another number of columns than {columns}?'
        )
    if columns == 5:
        ring = points[:, 4]
        whole = (ring == np.round(ring)) & (ring >= 0) & (ring < RINGS)
        if not whole.all():
            return (
                f'a beam number (column 5) of {ring[(~whole).argmax()]:g}. '
                'Has a point another number of columns, such as 4?'
            )
    return ''
