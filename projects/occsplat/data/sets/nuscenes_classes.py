"""What the label sets of nuScenes have in common."""

from __future__ import annotations

from typing import Sequence

from occsplat.structures import VoxelGrid

#: the grid that Occ3D-nuScenes and OpenOcc share: 0.4 m voxels
NUSCENES_GRID = VoxelGrid(
    range=(-40, -40, -1, 40, 40, 5.4), shape=(200, 200, 16)
)
#: a key frame's file in the folders of Occ3D and OpenOcc
NPZ = '{scene_name}/{token}/labels.npz'
#: the nuScenes-lidarseg challenge's order, which Occ3D and SurroundOcc keep
LIDARSEG_CLASSES = (
    'barrier',
    'bicycle',
    'bus',
    'car',
    'construction_vehicle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'trailer',
    'truck',
    'driveable_surface',
    'other_flat',
    'sidewalk',
    'terrain',
    'manmade',
    'vegetation',
)

_COLORS = dict(
    others=(120, 120, 120),
    car=(0, 150, 245),
    truck=(160, 32, 240),
    trailer=(135, 60, 0),
    bus=(255, 255, 0),
    construction_vehicle=(0, 255, 255),
    bicycle=(255, 192, 203),
    motorcycle=(200, 180, 0),
    pedestrian=(255, 0, 0),
    traffic_cone=(255, 240, 150),
    barrier=(255, 120, 50),
    driveable_surface=(255, 0, 255),
    other_flat=(175, 0, 75),
    sidewalk=(75, 0, 75),
    terrain=(150, 240, 80),
    manmade=(230, 230, 250),
    vegetation=(0, 175, 0),
    free=(255, 255, 255),
)
#: mean length, width and height in metres of the boxes of nuScenes' training
#: set, the anchors of CBGS (Zhu et al. 2019)
_SIZES = dict(
    car=(4.61, 1.95, 1.72),
    truck=(6.74, 2.46, 2.73),
    trailer=(12.01, 2.87, 3.82),
    bus=(11.19, 2.94, 3.47),
    construction_vehicle=(6.38, 2.73, 3.13),
    bicycle=(1.68, 0.60, 1.27),
    motorcycle=(2.10, 0.76, 1.44),
    pedestrian=(0.73, 0.66, 1.76),
)


def palette(classes: Sequence[str]) -> tuple[tuple[int, int, int], ...]:
    """One (r, g, b) in 0..255 per class."""
    return tuple(_COLORS[name] for name in classes)


def movable(classes: Sequence[str]) -> tuple[int, ...]:
    """Ids of the classes that move: those of objects with a size."""
    return tuple(i for i, name in enumerate(classes) if name in _SIZES)


def sizes(classes: Sequence[str]) -> tuple[tuple[float, float, float], ...]:
    """Typical length, width and height in metres per movable class."""
    return tuple(_SIZES[classes[i]] for i in movable(classes))
