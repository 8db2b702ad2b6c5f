"""What the ids of a label volume mean."""

from __future__ import annotations

from dataclasses import dataclass

from .voxel_grid import VoxelGrid

#: the grid that Occ3D-nuScenes and OpenOcc share: 0.4 m voxels
NUSCENES_GRID = VoxelGrid(
    range=(-40, -40, -1, 40, 40, 5.4), shape=(200, 200, 16)
)
#: the grid of SurroundOcc-nuScenes: 0.5 m voxels around the LiDAR
SURROUNDOCC_GRID = VoxelGrid(
    range=(-50, -50, -5, 50, 50, 3), shape=(200, 200, 16)
)
#: frames that labels live in: the car's, or its LiDAR's
FRAMES = ('ego', 'lidar')


@dataclass(frozen=True)
class LabelSpec:
    """The vocabulary of one label set.

    Attributes:
        name: key of the label set, as used in configs.
        classes: names by id; the free class is one of them.
        free: id of empty space.
        movable: ids of the classes that carry flow and enter mAVE.
        palette: one (r, g, b) in 0..255 a class.
        counts: voxels of each class in the data set's published
            statistics; class weights derive from them.
        grid: the grid on which labels are stored on disk.
        frame: the reference frame of labels and samples at the time of
            the key frame's LIDAR_TOP: 'ego' (origin on the ground, x
            forward, y left) or 'lidar' (origin in the LiDAR; on nuScenes
            x right, y forward). z is up in both.
        speed_bins: lower edges (m/s) of the speed groups that sampling
            balances; the last group is open.
        speed_counts: voxels in each speed group.
        image_returns: LiDAR returns of each class in images, free left
            out; empty where nobody has counted them.
        has_flow: whether the label set ships flow.
        ignore: id that no loss and no metric looks at.
    """

    name: str
    classes: tuple[str, ...]
    free: int
    movable: tuple[int, ...]
    palette: tuple[tuple[int, int, int], ...]
    counts: tuple[int, ...]
    grid: VoxelGrid
    frame: str = 'ego'
    speed_bins: tuple[float, ...] = (0.0, 1.0, 2.0, 5.0, 10.0)
    speed_counts: tuple[int, ...] = ()
    image_returns: tuple[int, ...] = ()
    has_flow: bool = False
    ignore: int = 255

    def __post_init__(self) -> None:
        if self.frame not in FRAMES:
            raise ValueError(
                f'LabelSpec {self.name}: frame must be one of {FRAMES}, got '
                f'{self.frame!r}'
            )
        for key in ('palette', 'counts'):
            if len(getattr(self, key)) != len(self.classes):
                raise ValueError(
                    f'LabelSpec {self.name}: {key} has '
                    f'{len(getattr(self, key))} entries for '
                    f'{len(self.classes)} classes'
                )

    @property
    def num_classes(self) -> int:
        """Number of ids, free included."""
        return len(self.classes)

    @property
    def occupied(self) -> tuple[int, ...]:
        """All ids but the free one, in order."""
        return tuple(i for i in range(self.num_classes) if i != self.free)

    @staticmethod
    def named(name: str | LabelSpec) -> LabelSpec:
        """The spec of a label set.

        Args:
            name: 'openocc', 'occ3d' or 'surroundocc' (a LabelSpec passes
                through).

        Raises:
            ValueError: for an unknown name; lists the known ones.
        """
        if isinstance(name, LabelSpec):
            return name
        if name not in _SPECS:
            raise ValueError(
                f'unknown label spec {name!r}, expected one of '
                f'{sorted(_SPECS)}'
            )
        return _SPECS[name]


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

_OPENOCC_CLASSES = (
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

# the nuScenes-lidarseg challenge's order, which both sets keep
_LIDARSEG_CLASSES = (
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
_OCC3D_CLASSES = ('others', *_LIDARSEG_CLASSES, 'free')
_SURROUNDOCC_CLASSES = ('free', *_LIDARSEG_CLASSES)

# OpenOcc v2 counts over train+val (34 149 frames of 640 000 voxels), as
# the class weights 1/ln(count) of FB-Occ-style losses use them.
_OPENOCC_COUNTS = (
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


# Occ3D counts, as the class weights 1/ln(count) of BEVDet's and RenderOcc's
# occupancy losses use them.
_OCC3D_COUNTS = (
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

# LiDAR returns in the images of nuScenes, as RenderOcc draws rays by them
_OCC3D_RETURNS = (
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


def _openocc_counts(classes: tuple[str, ...]) -> tuple[int, ...]:
    """OpenOcc's counts under other ids.

    SurroundOcc has no published statistics of its own. The grids have the
    same number of voxels and show the same streets.
    """
    known = dict(zip(_OPENOCC_CLASSES, _OPENOCC_COUNTS))
    return tuple(known[name] for name in classes)


_SPECS = {
    'openocc': LabelSpec(
        name='openocc',
        classes=_OPENOCC_CLASSES,
        free=16,
        movable=tuple(range(8)),
        palette=tuple(_COLORS[name] for name in _OPENOCC_CLASSES),
        counts=_OPENOCC_COUNTS,
        grid=NUSCENES_GRID,
        speed_counts=(21813410495, 6412527, 12202872, 18054418, 5279688),
        has_flow=True,
    ),
    'occ3d': LabelSpec(
        name='occ3d',
        classes=_OCC3D_CLASSES,
        free=17,
        movable=(2, 3, 4, 5, 6, 7, 9, 10),
        palette=tuple(_COLORS[name] for name in _OCC3D_CLASSES),
        counts=_OCC3D_COUNTS,
        image_returns=_OCC3D_RETURNS,
        grid=NUSCENES_GRID,
    ),
    'surroundocc': LabelSpec(
        name='surroundocc',
        classes=_SURROUNDOCC_CLASSES,
        free=0,
        movable=(2, 3, 4, 5, 6, 7, 9, 10),
        palette=tuple(_COLORS[name] for name in _SURROUNDOCC_CLASSES),
        counts=_openocc_counts(_SURROUNDOCC_CLASSES),
        grid=SURROUNDOCC_GRID,
        frame='lidar',
    ),
}
