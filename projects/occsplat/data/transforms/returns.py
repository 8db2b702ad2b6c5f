"""LiDAR returns in images: those of the label files, and the nearest ones.

Shape letters: N cameras, P returns, Q pixels that hold one, H W image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from occsplat.data.errors import DataError
from occsplat.data.label_files import absent
from occsplat.data.pixel_files import SPEC as FILE_SPEC
from occsplat.data.pixel_files import SweepPixels, read_packed, read_renderocc
from occsplat.data.sets import lidar2d
from occsplat.structures import CameraRig, LabelSpec


def read_returns(
    record: dict[str, Any],
    raw_size: tuple[int, int],
    renderocc_root: str | Path | None = None,
) -> SweepPixels:
    """The labelled returns in a key frame's images.

    Args:
        record: of the key frame.
        raw_size: width and height of its images.
        renderocc_root: folder of RenderOcc's files to read instead of
            those of ``tools/create_data.py lidar2d``.

    Raises:
        FileNotFoundError: when the frame has no file.
        DataError: when it is damaged, or made for other images.
    """
    if renderocc_root is not None:
        return read_renderocc(renderocc_root, record['img_paths'], raw_size)
    path = record[lidar2d.FILE.key]
    if path is None:
        raise FileNotFoundError(absent(record, lidar2d.FILE))
    pixels = read_packed(path)
    # files hold all cameras of the entry, networks may use fewer
    every, names = record['all_cameras'], record['cameras']
    if len(pixels.sizes) != len(every):
        raise DataError(
            f'label file {path} was made for {len(pixels.sizes)} '
            f'cameras, the info entry has {", ".join(every)}. Delete it '
            'and run tools/create_data.py lidar2d again'
        )
    pixels = pixels.of_cameras([every.index(name) for name in names])
    expected = [list(raw_size)] * len(names)
    if pixels.sizes.tolist() != expected:
        raise DataError(
            f'label file {path} was made for images of (width, height) '
            f'{pixels.sizes.tolist()}, those here are {expected}. Delete '
            'it and run tools/create_data.py lidar2d again'
        )
    return pixels


def class_ids(spec: LabelSpec, ignore_others: bool = False) -> np.ndarray:
    """Ids of a label set by those of the files; -1: it has no such class.

    Args:
        spec: the label set.
        ignore_others: treat 'others' as if it were not in the set.
    """
    names = FILE_SPEC.classes[: FILE_SPEC.free]
    ids = [spec.classes.index(n) if n in spec.classes else -1 for n in names]
    if ignore_others:
        ids[names.index('others')] = -1
    return np.array(ids)


def nearest_returns(place: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Of the returns in each place the nearest one.

    Args:
        place: a number for each pixel that returns fall into, (P,).
        depth: metres, (P,).

    Returns:
        ndarray: indices of returns in rising order of places, (Q,); of
        two at the same depth the first.
    """
    order = np.lexsort((depth, place))
    return order[np.unique(place[order], return_index=True)[1]]


def nearest_in_images(
    camera: np.ndarray, uv: np.ndarray, depth: np.ndarray, rig: CameraRig
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest return in each pixel of the network's images.

    Args:
        camera: which image each return is in, (P,).
        uv: network-input pixels, (P, 2); outside of the image too.
        depth: metres, (P,).
        rig: (N,), for the size of the images.

    Returns:
        tuple: pixels of the N images, row by row, (Q,), and the index of
        the return in each of them, (Q,).
    """
    column, row = np.floor(uv).astype(np.int64).T
    inside = (column >= 0) & (column < rig.width)
    inside &= (row >= 0) & (row < rig.height)
    place = (camera * rig.height + row) * rig.width + column
    inside = np.flatnonzero(inside)
    kept = inside[nearest_returns(place[inside], depth[inside])]
    return place[kept], kept


def as_maps(
    place: np.ndarray, values: np.ndarray, empty: float, rig: CameraRig
) -> np.ndarray:
    """Images (N, H, W) of values (Q,) at pixels (Q,), ``empty`` elsewhere.

    Args:
        place, rig: see ``nearest_in_images``.
        values: one per pixel; the images have their dtype.
        empty: value of all other pixels.
    """
    shape = rig.num_cameras, rig.height, rig.width
    maps = np.full(shape, empty, values.dtype)
    maps.flat[place] = values
    return maps
