"""Files of labelled pixels: the packed ones, and RenderOcc's.

Shape letters: N cameras, P labelled pixels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np

from occsplat.structures import whole_file

from .errors import DataError
from .label_files import read_npz
from .sets import occ3d

#: what the ids mean
SPEC = occ3d.SPEC
#: what stands for RenderOcc's files where others have a key of ``LabelFile``
RENDEROCC = 'renderocc_root'
#: positions are stored in 1/32 of a pixel, depths in 1/256 m
PIXEL_STEPS = 32
DEPTH_STEPS = 256
#: metres beyond which a depth has no room in 16 bits
DEPTH_LIMIT = 255.0
#: pixels beyond which a position has none
SIZE_LIMIT = 2**16 // PIXEL_STEPS

_FIELDS = dict(
    uv=(None, 2),
    depth=(None,),
    label=(None,),
    offsets=(None,),
    image_size=(None, 2),
    dropped=(),
)
_DTYPES = dict(uv=np.uint16, depth=np.uint16, label=np.uint8)


@dataclass
class SweepPixels:
    """LiDAR returns in the raw images of a key frame's cameras.

    Attributes:
        camera: index of the camera, rising, int64 (P,).
        uv: raw pixels, the centre of the first one at 0.5, float64 (P, 2).
        depth: the camera's z in metres, float64 (P,).
        label: ids of Occ3D, integers (P,).
        sizes: width and height of each camera's image, int64 (N, 2).
        dropped: returns that a filter took for hidden; -1: none was used.
    """

    camera: np.ndarray
    uv: np.ndarray
    depth: np.ndarray
    label: np.ndarray
    sizes: np.ndarray
    dropped: int = -1

    def __len__(self) -> int:
        return len(self.camera)

    def of_cameras(self, cameras: Sequence[int]) -> SweepPixels:
        """The returns of some cameras, which get indices from 0 on.

        Args:
            cameras: indices of those to keep, each once, in the new order.
        """
        parts = [np.flatnonzero(self.camera == n) for n in cameras]
        kept = np.concatenate(parts)
        return SweepPixels(
            np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
            self.uv[kept],
            self.depth[kept],
            self.label[kept],
            self.sizes[list(cameras)],
            self.dropped,
        )


def write_packed(path: Path, pixels: SweepPixels) -> None:
    """Write a packed file, whole or not at all.

    Returns beyond ``DEPTH_LIMIT`` are left out.

    Args:
        path: the file, ``.npz``.
        pixels: what is in it.

    Raises:
        ValueError: when an image is too large for the fixed point.
        DataError: when the file can't be written.
    """
    if pixels.sizes.max() > SIZE_LIMIT:
        raise ValueError(
            f'{path}: expected images of at most {SIZE_LIMIT} pixels a '
            f'side, which is what 16 bits hold in steps of 1/{PIXEL_STEPS}, '
            f'got (width, height) {pixels.sizes.max(axis=0).tolist()}'
        )
    near = pixels.depth <= DEPTH_LIMIT
    counts = np.bincount(pixels.camera[near], minlength=len(pixels.sizes))
    # rounded down: what is inside of the image stays there
    uv = np.floor(pixels.uv[near] * PIXEL_STEPS)
    depth = np.round(pixels.depth[near] * DEPTH_STEPS)
    with whole_file(path) as part, open(part, 'wb') as file:
        np.savez_compressed(
            file,
            uv=uv.astype(np.uint16),
            depth=depth.astype(np.uint16),
            label=pixels.label[near],
            offsets=np.append(0, counts.cumsum()).astype(np.int32),
            image_size=pixels.sizes.astype(np.uint16),
            dropped=np.int32(pixels.dropped),
        )


def read_packed(path: str) -> SweepPixels:
    """Read a file of ``write_packed``.

    Positions come back to 1/64 of a pixel, depths to 1/512 m.

    Raises:
        FileNotFoundError: when the file is missing.
        DataError: when it is damaged or no file of this kind.
    """
    arrays = read_npz(path, _FIELDS)
    uv, depth, label, offsets, sizes = (
        arrays[key]
        for key in ('uv', 'depth', 'label', 'offsets', 'image_size')
    )
    problems = [
        f'{key} is {arrays[key].dtype}'
        for key, dtype in _DTYPES.items()
        if arrays[key].dtype != dtype
    ]
    problems += [
        f'{key} is {arrays[key].dtype}'
        for key in ('offsets', 'image_size', 'dropped')
        if arrays[key].dtype.kind not in 'iu'
    ]
    if not len(uv) == len(depth) == len(label):
        problems.append(
            f'{len(uv)} positions, {len(depth)} depths, {len(label)} classes'
        )
    counts = np.diff(offsets.astype(np.int64))
    if len(counts) != len(sizes) or (counts < 0).any():
        problems.append(f'offsets {offsets.tolist()}, {len(sizes)} cameras')
    elif offsets[0] != 0 or offsets[-1] != len(uv):
        problems.append(f'offsets {offsets.tolist()} of {len(uv)} pixels')
    if problems:
        raise DataError(
            f'label file {path}: {"; ".join(problems)}. Expected a file of '
            'tools/create_data.py lidar2d; delete it and run that again'
        )
    pixels = SweepPixels(
        np.repeat(np.arange(len(sizes)), counts),
        (uv + 0.5) / PIXEL_STEPS,
        depth.astype(np.float64) / DEPTH_STEPS,
        label,
        sizes.astype(np.int64),
        int(arrays['dropped']),
    )
    _check(pixels, path)
    return pixels


def read_renderocc(
    root: str | Path, images: Sequence[str], size: tuple[int, int]
) -> SweepPixels:
    """Read RenderOcc's files (ICRA 2024), one pair per image.

    ``depth_gt/<image>.bin`` holds float32 rows (u, v, z),
    ``seg_gt_lidarseg/<image>.bin`` rows (u, v, class) of the same returns
    in the same order, raw pixels, metres and ids of Occ3D.

    Args:
        root: folder of the two folders.
        images: files of a key frame's images, whose names count.
        size: (width, height) of the images.

    Raises:
        FileNotFoundError: when a file is missing.
        DataError: when one is no table of three float32 a row, the two
            of an image don't belong together, or values make no sense.
    """
    parts = []
    for camera, image in enumerate(images):
        name = f'{os.path.basename(image)}.bin'
        depth_path = Path(root) / 'depth_gt' / name
        label_path = Path(root) / 'seg_gt_lidarseg' / name
        depth, label = _read_rows(depth_path), _read_rows(label_path)
        # the same returns, so the same numbers but for their last digits
        if depth.shape != label.shape or not np.allclose(
            depth[:, :2], label[:, :2], rtol=0, atol=0.01
        ):
            raise DataError(
                f'{label_path} ({len(label)} rows) is not of the same '
                f'returns as {depth_path} ({len(depth)} rows): expected the '
                'same u and v in each row. Make both again'
            )
        if (label[:, 2] != np.round(label[:, 2])).any():
            raise DataError(f'{label_path}: expected whole class ids')
        rows = SweepPixels(
            np.full(len(depth), camera),
            depth[:, :2],
            depth[:, 2],
            label[:, 2].astype(np.int64),
            np.tile(size, (len(images), 1)),
        )
        _check(rows, f'{depth_path} or {label_path}')
        parts.append(rows)
    return SweepPixels(
        *(
            np.concatenate([getattr(part, key) for part in parts])
            for key in ('camera', 'uv', 'depth', 'label')
        ),
        parts[0].sizes,
    )


def _read_rows(path: Path) -> np.ndarray:
    """float64 (P, 3)."""
    if not path.is_file():
        raise FileNotFoundError(
            f'label file {path} is missing: expected it where '
            "RenderOcc's gen_depth_gt.py and gen_seg_gt_from_lidarseg.py "
            'write, one file per image (docs/data.md)'
        )
    size = path.stat().st_size
    if size % 12:
        raise DataError(
            f'label file {path} has {size} bytes: expected a multiple of 12 '
            '(3 float32 a row). It is truncated; copy or make it again'
        )
    return np.fromfile(path, np.float32).reshape(-1, 3).astype(np.float64)


def _check(pixels: SweepPixels, path: str) -> None:
    """DataError for values that no return can have."""
    size = pixels.sizes[pixels.camera]
    inside = ((pixels.uv >= 0) & (pixels.uv < size)).all(axis=-1)
    known = (pixels.label >= 0) & (pixels.label < SPEC.free)
    good = inside & known & (pixels.depth > 0) & np.isfinite(pixels.depth)
    if not good.all():
        first = int((~good).argmax())
        raise DataError(
            f'{path}: {int((~good).sum())} of {len(good)} pixels make no '
            f'sense, the first is (u, v) {pixels.uv[first].tolist()}, depth '
            f'{float(pixels.depth[first])}, class {int(pixels.label[first])}. '
            f'Expected positions inside of {size[first].tolist()}, positive '
            f'depths and classes 0..{SPEC.free - 1}: is this of images of '
            'another size?'
        )
