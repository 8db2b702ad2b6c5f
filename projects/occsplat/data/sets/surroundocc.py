"""SurroundOcc on nuScenes (ICCV 2023): occupancy in the LiDAR frame."""

from __future__ import annotations

from typing import Any, Mapping

from occsplat.data.label_files import read_sparse
from occsplat.data.label_set import LabelFile, LabelSet, VoxelLabels
from occsplat.structures import LabelSpec, VoxelGrid

from . import openocc
from .nuscenes_classes import LIDARSEG_CLASSES, movable, palette, sizes

CLASSES = ('free', *LIDARSEG_CLASSES)
#: 0.5 m voxels around the LiDAR
GRID = VoxelGrid(range=(-50, -50, -5, 50, 50, 3), shape=(200, 200, 16))
# SurroundOcc has no published statistics of its own. OpenOcc's grid has the
# same number of voxels and shows the same streets.
_KNOWN = dict(zip(openocc.CLASSES, openocc.COUNTS))

SPEC = LabelSpec(
    name='surroundocc',
    classes=CLASSES,
    free=0,
    movable=movable(CLASSES),
    sizes=sizes(CLASSES),
    palette=palette(CLASSES),
    counts=tuple(_KNOWN[name] for name in CLASSES),
    grid=GRID,
    frame='lidar',
)


def _read(record: Mapping[str, Any], with_flow: bool) -> VoxelLabels:
    return VoxelLabels(read_sparse(record[LABELS.file.key], SPEC))


LABELS = LabelSet(
    spec=SPEC,
    file=LabelFile(
        key='surroundocc_path',
        title='SurroundOcc labels',
        pattern='surroundocc/samples/{lidar_file}.npy',
    ),
    read=_read,
    has_masks=False,
)
