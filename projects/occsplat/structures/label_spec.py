"""What the ids of a label volume mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from .voxel_grid import VoxelGrid

Array = TypeVar('Array', Tensor, np.ndarray)

_REGISTERED: dict[str, LabelSpec] = {}


@dataclass(frozen=True)
class LabelSpec:
    """The vocabulary of one label set.

    Attributes:
        name: key of the label set, as used in configs.
        classes: names by id; the free class is one of them.
        free: id of empty space.
        movable: ids of the classes that carry flow and enter mAVE.
        palette: one (r, g, b) in 0..255 per class.
        counts: voxels of each class in the data set's published
            statistics; class weights derive from them.
        grid: the grid on which labels are stored on disk.
        frame: name of the reference frame of labels and samples. nuScenes
            has two, at the time of the key frame's LIDAR_TOP: 'ego' (origin
            on the ground, x forward, y left) and 'lidar' (origin in the
            LiDAR, x right, y forward). z is up in both.
        speed_bins: lower edges (m/s) of the speed groups that sampling
            balances; the last group is open.
        speed_counts: voxels in each speed group.
        image_returns: LiDAR returns of each class in images, free left
            out; empty where nobody has counted them.
        sizes: typical length, width and height in metres of what each of
            the movable classes is; empty where nobody knows.
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
    sizes: tuple[tuple[float, float, float], ...] = ()
    has_flow: bool = False
    ignore: int = 255

    def __post_init__(self) -> None:
        for key in ('palette', 'counts'):
            if len(getattr(self, key)) != len(self.classes):
                raise ValueError(
                    f'LabelSpec {self.name}: {key} has '
                    f'{len(getattr(self, key))} entries for '
                    f'{len(self.classes)} classes'
                )
        if self.sizes and len(self.sizes) != len(self.movable):
            raise ValueError(
                f'LabelSpec {self.name}: sizes has {len(self.sizes)} entries '
                f'for {len(self.movable)} movable classes'
            )

    @property
    def num_classes(self) -> int:
        """Number of ids, free included."""
        return len(self.classes)

    @property
    def occupied(self) -> tuple[int, ...]:
        """All ids but the free one, in order."""
        return tuple(i for i in range(self.num_classes) if i != self.free)

    def is_occupied(self, ids: Array) -> Array:
        """Where something is known to be: neither free nor ignored.

        Args:
            ids (Tensor | ndarray): class ids, of any shape.

        Returns:
            Tensor | ndarray: bool, of the same shape.
        """
        return (ids != self.free) & (ids != self.ignore)

    def channels_of(self, ids: Array) -> Array:
        """Places of class ids in ``occupied``, -1 for free and ignored.

        Args:
            ids (Tensor | ndarray): ids of this label set, of any shape.

        Returns:
            Tensor | ndarray: int64, of the same shape.
        """
        # times 1: torch does not subtract a bool
        behind_free = (ids > self.free) * 1
        return (ids + 1 - behind_free) * self.is_occupied(ids) - 1

    def register(self) -> LabelSpec:
        """Make the spec known under its name, see ``named``.

        Returns:
            LabelSpec: itself.

        Raises:
            ValueError: when another spec has this name.
        """
        if _REGISTERED.setdefault(self.name, self) != self:
            raise ValueError(
                f'there is another label spec {self.name!r}: choose a name '
                f'that is none of {sorted(_REGISTERED)}'
            )
        return self

    @staticmethod
    def named(name: str | LabelSpec) -> LabelSpec:
        """The spec of a label set.

        Args:
            name: of a registered spec: 'openocc', 'occ3d', 'surroundocc',
                or one from outside (a LabelSpec passes through).

        Raises:
            ValueError: for an unknown name; lists the known ones.
        """
        if isinstance(name, LabelSpec):
            return name
        if name not in _REGISTERED:
            raise ValueError(
                f'unknown label spec {name!r}, expected one of '
                f'{sorted(_REGISTERED)}. Importing occsplat.data registers '
                'those of OccSplat; one of your own has to be imported '
                'through custom_imports'
            )
        return _REGISTERED[name]
