"""Occ3D on nuScenes: occupancy in the ego frame, with camera masks."""

from __future__ import annotations

from typing import Any, Mapping

from occsplat.data.label_files import checked_ids, checked_mask, read_npz
from occsplat.data.label_set import LabelFile, LabelSet, VoxelLabels
from occsplat.structures import LabelSpec

from .nuscenes_classes import (
    LIDARSEG_CLASSES,
    NPZ,
    NUSCENES_GRID,
    movable,
    palette,
    sizes,
)

CLASSES = ('others', *LIDARSEG_CLASSES, 'free')
#: voxels, as the class weights 1/ln(count) of BEVDet's and RenderOcc's
#: occupancy losses use them.
COUNTS = (
    1163161,
    2309034,
    188743,
    2997643,
    20317180,
    852476,
    243808,
    2457947,
    497017,
    2731022,
    7224789,
    214411435,
    5565043,
    63191967,
    76098082,
    128860031,
    141625221,
    2307405309,
)
#: LiDAR returns in the images of nuScenes, as RenderOcc draws rays by them
RETURNS = (
    2854504,
    7291443,
    141614,
    4239939,
    32248552,
    1583610,
    364372,
    2346381,
    582961,
    4829021,
    14073691,
    191019309,
    6249651,
    55095657,
    58484771,
    193834360,
    131378779,
)

SPEC = LabelSpec(
    name='occ3d',
    classes=CLASSES,
    free=17,
    movable=movable(CLASSES),
    sizes=sizes(CLASSES),
    palette=palette(CLASSES),
    counts=COUNTS,
    image_returns=RETURNS,
    grid=NUSCENES_GRID,
)


def _read(record: Mapping[str, Any], with_flow: bool) -> VoxelLabels:
    path, shape = record[LABELS.file.key], SPEC.grid.shape
    labels = read_npz(path, dict(semantics=shape, mask_camera=shape))
    return VoxelLabels(
        occ=checked_ids(labels['semantics'], SPEC, path),
        visible=checked_mask(labels['mask_camera'], 'mask_camera', path),
    )


LABELS = LabelSet(
    spec=SPEC,
    file=LabelFile(
        key='occ3d_path', title='Occ3D labels', pattern=f'gts/{NPZ}'
    ),
    read=_read,
)
