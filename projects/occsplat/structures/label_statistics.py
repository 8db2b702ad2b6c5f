"""How often the classes of a label set occur, and how fast they are.

Shape letters: K classes, Q speed groups.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from .errors import DataError
from .files import whole_file
from .label_spec import LabelSpec


@dataclass(frozen=True)
class LabelStatistics:
    """Voxels by class and speed, counted over a split.

    Speed group q holds the speeds from ``speed_bins[q]`` up to, without,
    ``speed_bins[q + 1]``; standing still, exactly 0 m/s, is in the first
    group, and the last group is open. A label set without flow has the one
    group that begins at 0.

    Attributes:
        classes: names by id, (K,).
        speed_bins: lower edges of the speed groups in m/s, ascending from
            0, (Q,).
        counts: voxels of each class in each speed group, (K, Q).
        frames: key frames that were counted.

    Raises:
        ValueError: when the attributes do not fit together; names the one.
    """

    classes: tuple[str, ...]
    speed_bins: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    frames: int

    def __post_init__(self) -> None:
        bins, size = self.speed_bins, (len(self.classes), len(self.speed_bins))
        if not self.classes or not all(map(_is_text, self.classes)):
            _refuse('classes', 'names', self.classes)
        if not bins or not all(map(_is_number, bins)):
            _refuse('speed_bins', 'numbers', bins)
        if bins[0] != 0 or not all(a < b for a, b in pairwise(bins)):
            _refuse('speed_bins', 'speeds that ascend from 0', bins)
        if [len(row) for row in self.counts] != [size[1]] * size[0]:
            _refuse(
                'counts',
                f'{size[0]} classes x {size[1]} speed groups',
                [len(row) for row in self.counts],
            )
        for name, row in zip(self.classes, self.counts):
            if not all(map(_is_count, row)):
                _refuse('counts', f'whole numbers from 0 for {name!r}', row)
        if not _is_count(self.frames) or self.frames == 0:
            _refuse('frames', 'a whole number from 1', self.frames)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Voxels of each class, (K,)."""
        return tuple(map(sum, self.counts))

    @property
    def speed_counts(self) -> tuple[int, ...]:
        """Voxels in each speed group, (Q,)."""
        return tuple(map(sum, zip(*self.counts)))

    def check(self, spec: LabelSpec) -> None:
        """Refuse the statistics of another label set.

        Raises:
            ValueError: when the classes are not those of the spec, in
                its order.
        """
        if self.classes != spec.classes:
            raise ValueError(
                f'label statistics: expected the classes of {spec.name!r}, '
                f'{list(spec.classes)}, got {list(self.classes)}. Count '
                f'these labels with tools/create_data.py stats --label-set '
                f'{spec.name}'
            )

    def save(self, path: str | Path) -> None:
        """Write a JSON file; never half of one.

        Raises:
            DataError: when it can't be written.
        """
        with whole_file(path) as part:
            part.write_text(json.dumps(asdict(self), indent=1) + '\n')

    @classmethod
    def load(cls, path: str | Path) -> LabelStatistics:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: when there is no such file.
            DataError: when it is no JSON, or a key is missing, unknown or
                holds something else; names the file and the key.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f'label statistics {path} do not exist. Make them with '
                'tools/create_data.py stats'
            )
        try:
            content = json.loads(Path(path).read_text())
        except (OSError, RecursionError, ValueError) as error:
            raise DataError(
                f'label statistics {path} are no JSON ({error}). Make them '
                'again with tools/create_data.py stats'
            ) from error
        try:
            return cls(**_attributes(content))
        except ValueError as error:
            raise DataError(f'{path}: {error}') from error


def _attributes(content: Any) -> dict[str, Any]:
    """The attributes that a JSON file holds, lists made tuples."""
    if not isinstance(content, dict):
        raise ValueError(f'expected a dictionary, got {content!r}')
    expected = {field.name for field in fields(LabelStatistics)}
    missing, unknown = expected - set(content), set(content) - expected
    if missing or unknown:
        raise ValueError(
            f'missing keys {sorted(missing)}, unknown keys {sorted(unknown)}'
        )
    for key in ('classes', 'speed_bins', 'counts'):
        if not isinstance(content[key], list):
            _refuse(key, 'a list', content[key])
    for row in content['counts']:
        if not isinstance(row, list):
            _refuse('counts', 'a list for each class', row)
    return dict(
        classes=tuple(content['classes']),
        speed_bins=tuple(content['speed_bins']),
        counts=tuple(map(tuple, content['counts'])),
        frames=content['frames'],
    )


def _refuse(key: str, expected: str, actual: Any) -> None:
    raise ValueError(
        f'label statistics: {key}: expected {expected}, got {actual!r}'
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and value >= 0
