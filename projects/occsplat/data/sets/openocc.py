"""OpenOcc v2 on nuScenes: occupancy and flow in the ego frame.

The labels of the CVPR 2024 occupancy and flow challenge. Camera masks are
not shipped with them: ``tools/create_data.py visibility`` makes them.
"""

from __future__ import annotations

from typing import Any, Mapping

from occsplat.data.label_files import (
    checked_flow,
    checked_ids,
    checked_mask,
    read_npz,
)
from occsplat.data.label_set import LabelFile, LabelSet, VoxelLabels
from occsplat.structures import LabelSpec

from .nuscenes_classes import NPZ, NUSCENES_GRID, movable, palette, sizes

CLASSES = (
    'car',
    'truck',
    'trailer',
    'bus',
    'construction_vehicle',
    'bicycle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'barrier',
    'driveable_surface',
    'other_flat',
    'sidewalk',
    'terrain',
    'manmade',
    'vegetation',
    'free',
)

#: voxels over train+val (34 149 frames of 640 000 voxels), as
#: the class weights 1/ln(count) of FB-Occ-style losses use them.
COUNTS = (
    89275612,
    30702871,
    14707768,
    13641797,
    5860037,
    388063,
    543072,
    5070078,
    846475,
    4671687,
    468293495,
    13572616,
    151618193,
    211187466,
    382769006,
    454647803,
    20007563961,
)
#: name of the array in a mask file
MASK = 'ray_mask2'

SPEC = LabelSpec(
    name='openocc',
    classes=CLASSES,
    free=16,
    movable=movable(CLASSES),
    sizes=sizes(CLASSES),
    palette=palette(CLASSES),
    counts=COUNTS,
    grid=NUSCENES_GRID,
    speed_counts=(21813410495, 6412527, 12202872, 18054418, 5279688),
    has_flow=True,
)


def _read(record: Mapping[str, Any], with_flow: bool) -> VoxelLabels:
    path, shape = record[LABELS.file.key], SPEC.grid.shape
    fields = dict(semantics=shape)
    if with_flow:
        fields['flow'] = (*shape, 2)
    labels = read_npz(path, fields)
    occ = checked_ids(labels['semantics'], SPEC, path)
    flow = checked_flow(labels['flow'], path) if with_flow else None
    mask_path, visible = record[MASK_FILE.key], None
    if mask_path is not None:
        mask = read_npz(mask_path, {MASK: shape})
        visible = checked_mask(mask[MASK], MASK, mask_path)
    return VoxelLabels(occ, flow, visible)


MASK_FILE = LabelFile(
    key='visibility_path',
    title='visibility masks',
    pattern=f'openocc_v2_ray_mask/{NPZ}',
)
LABELS = LabelSet(
    spec=SPEC,
    file=LabelFile(
        key='openocc_path',
        title='OpenOcc labels',
        pattern=f'openocc_v2/{NPZ}',
    ),
    read=_read,
    masks=MASK_FILE,
)
