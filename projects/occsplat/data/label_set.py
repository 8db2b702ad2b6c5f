"""What a data set's labels are: their meaning, their files, their reader.

``sets/`` holds one file for each data set that comes with OccSplat. One from
outside makes a ``LabelSet``, registers it, and is imported through
``custom_imports``.

Shape letters: X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, NamedTuple

import numpy as np

from occsplat.structures import LabelSpec

_FILES: dict[str, LabelFile] = {}
_SETS: dict[str, LabelSet] = {}


@dataclass(frozen=True)
class LabelFile:
    """One kind of label file, of which each key frame has one.

    Attributes:
        key: field of an info entry that holds its path.
        title: what people call it.
        pattern: a key frame's file relative to the root, with the fields
            ``scene_name``, ``token`` and ``lidar_file``.
        command: of tools/create_data.py, which makes the files; '' where
            they are downloaded.
    """

    key: str
    title: str
    pattern: str
    command: str = ''

    def path(self, scene_name: str, token: str, lidar_file: str) -> str:
        """A key frame's file, relative to the root.

        Args:
            scene_name: such as 'scene-0061'.
            token: the key frame's sample token.
            lidar_file: name of its point cloud, without folders.
        """
        return self.pattern.format(
            scene_name=scene_name, token=token, lidar_file=lidar_file
        )

    def register(self) -> LabelFile:
        """Let info files note where it is; returns itself.

        Raises:
            ValueError: when another kind of file has this key.
        """
        if _FILES.setdefault(self.key, self) != self:
            raise ValueError(
                f'there is another label file {self.key!r}: choose a key '
                f'that is none of {sorted(_FILES)}'
            )
        return self


class VoxelLabels(NamedTuple):
    """A key frame's labels at their own resolution.

    Attributes:
        occ: class ids, uint8 (X, Y, Z).
        flow: m/s along the reference axes, float32 (X, Y, Z, 2); None
            where the set has none, or it was not asked for.
        visible: what a camera sees, bool (X, Y, Z), or None.
    """

    occ: np.ndarray
    flow: np.ndarray | None = None
    visible: np.ndarray | None = None


@dataclass(frozen=True)
class LabelSet:
    """A data set's voxel labels.

    Attributes:
        spec: what the ids mean, their grid and frame.
        file: where they are.
        read: a key frame's labels: from its record, whose field
            ``file.key`` is the path of a file that was there when the
            record was made, and whether flow is wanted.
        masks: where files with camera masks are; None where masks are in
            the label files themselves.
        has_masks: whether there are camera masks at all.
    """

    spec: LabelSpec
    file: LabelFile
    read: Callable[[Mapping[str, Any], bool], VoxelLabels]
    masks: LabelFile | None = None
    has_masks: bool = True

    def register(self) -> LabelSet:
        """Make spec, files and reader known; returns itself.

        Raises:
            ValueError: when a name or key is taken.
        """
        self.spec.register()
        self.file.register()
        if self.masks is not None:
            self.masks.register()
        if _SETS.setdefault(self.spec.name, self) != self:
            raise ValueError(
                f'the labels of {self.spec.name!r} have another reader: '
                f'choose a name that is none of {sorted(_SETS)}'
            )
        return self

    @staticmethod
    def named(name: str | LabelSpec) -> LabelSet:
        """The label set of a spec.

        Raises:
            ValueError: when the spec is unknown, or nobody has said how
                its labels are read.
        """
        spec = LabelSpec.named(name)
        if spec.name not in _SETS:
            raise ValueError(
                f'nothing reads the labels of {spec.name!r}: register a '
                f'LabelSet for it; those of {sorted(_SETS)} are'
            )
        return _SETS[spec.name]


def label_files() -> dict[str, LabelFile]:
    """All kinds of label files by key, in the order of registration."""
    return dict(_FILES)


def label_sets() -> list[LabelSet]:
    """All label sets, in the order of registration."""
    return list(_SETS.values())
