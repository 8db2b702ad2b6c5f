"""One place in a config says what its labels are; all parts take it.

A data set's ids mean nothing to a head or a metric of another label set,
yet nothing else would notice: ids are numbers. So a config says once::

    labels = dict(label_spec='openocc', grid=dict(range=..., shape=...))

and loaders, metrics and heads need not repeat it.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any, Callable, Iterator, NamedTuple

from mmengine.config import Config

from occsplat.structures import LabelSpec, VoxelGrid, as_grid

from .config_file import RUN_KEYS

Resolve = Callable[[str], list[Any]]
_MISSING = inspect.Parameter.empty  # has to be given, and is not
_ABSENT = object()  # the type has no such argument


@dataclass(frozen=True)
class Labels:
    """The voxel labels that a config speaks of.

    Attributes:
        label_spec: name of a registered LabelSpec.
        grid: what labels are pooled to, VoxelGrid's arguments; the label
            set's own grid unless given.

    Raises:
        ValueError: when there is no such spec or grid.
    """

    label_spec: str
    grid: dict | VoxelGrid | None = None

    def __post_init__(self) -> None:
        LabelSpec.named(self.label_spec)
        if self.grid is not None:
            as_grid(self.grid)


def spread_labels(cfg: Config, resolve: Resolve) -> None:
    """Give every part that takes labels what ``labels`` says of them.

    Parts are dicts whose type takes a ``label_spec``; what a part says
    itself is left to ``label_problems``.

    Args:
        cfg: changed in place; nothing happens where it has no ``labels``.
        resolve: the classes that a type name means.

    Raises:
        TypeError, ValueError: when ``labels`` is not what ``Labels`` takes.
    """
    if cfg.get('labels') is None:
        return
    labels = Labels(**cfg.labels)
    said = dict(label_spec=labels.label_spec)
    if labels.grid is not None:
        said['grid'] = cfg.labels['grid']
    for key in RUN_KEYS & cfg.keys():
        _spread(cfg[key], said, resolve)


def _spread(node: Any, said: dict[str, Any], resolve: Resolve) -> None:
    values: Any = ()
    if isinstance(node, dict):
        if _argument(node, 'label_spec', resolve) is not _ABSENT:
            for name, value in said.items():
                if _argument(node, name, resolve) is not _ABSENT:
                    node.setdefault(name, copy.deepcopy(value))
        values = node.values()
    elif isinstance(node, (list, tuple)):
        values = node
    for value in values:
        _spread(value, said, resolve)


class _Part(NamedTuple):
    """What one part of a config takes labels for."""

    path: str
    spec: LabelSpec
    grid: VoxelGrid | None


def label_problems(content: dict[str, Any], resolve: Resolve) -> Iterator[str]:
    """What contradicts ``labels``, else the data set, else the first part.

    Args:
        content: of a config, with its labels spread.
        resolve: the classes that a type name means.

    Raises:
        ValueError: for labels or a grid that do not exist, or that a part
            has to be told; names the part.
    """
    parts = [
        part
        for key in sorted(content)
        for part in _parts(content[key], key, resolve)
    ]
    data = [part for part in parts if part.path.endswith('.dataset')]
    if content.get('labels') is not None:
        labels = Labels(**content['labels'])
        spec = LabelSpec.named(labels.label_spec)
        grid = spec.grid if labels.grid is None else as_grid(labels.grid)
        parts = data = [_Part('labels', spec, grid), *parts]
    gridded = [part for part in parts if part.grid is not None]
    for part in parts:
        first = (data or parts)[0]
        if _meaning(part.spec) != _meaning(first.spec):
            yield (
                f'{part.path}.label_spec is {part.spec.name!r}, but '
                f'{first.path}.label_spec is {first.spec.name!r}: their '
                'class ids differ'
            )
    for part in gridded:
        if part.grid != gridded[0].grid:
            yield (
                f'{part.path}.grid is {_shown(part.grid)}, but '
                f'{gridded[0].path}.grid is {_shown(gridded[0].grid)}: '
                'labels have one grid'
            )
    # pixels have no grid
    if any(part.path != 'labels' for part in gridded):
        yield from _volume_problems(content, resolve, gridded[0])


def _volume_problems(
    content: dict[str, Any], resolve: Resolve, labels: _Part
) -> Iterator[str]:
    """Whether the network's volume covers what the labels do."""
    model = content.get('model')
    lifter = model.get('lifter') if isinstance(model, dict) else None
    if not isinstance(lifter, dict) or not lifter.get('grid'):
        return
    volume = as_grid(lifter['grid'])
    if volume.range != labels.grid.range:
        yield (
            f'model.lifter.grid covers {volume.range}, but '
            f'{labels.path}.grid {labels.grid.range} (metres)'
        )
    head = model.get('occ_head')
    factor = _argument(head, 'upsample', resolve)
    if isinstance(factor, int):
        shape = tuple(n * factor for n in volume.shape)
        if shape != labels.grid.shape:
            yield (
                f'model.lifter.grid has {volume.shape} voxels, '
                f'model.occ_head.upsample={factor} makes {shape} of them, '
                f'but {labels.path}.grid has {labels.grid.shape}'
            )


def _parts(node: Any, path: str, resolve: Resolve) -> Iterator[_Part]:
    """Every dict of a config whose type takes a label_spec."""
    items: Any = ()
    if isinstance(node, dict):
        items = [(f'{path}.{key}', value) for key, value in node.items()]
        name = _argument(node, 'label_spec', resolve)
        if name is _MISSING:
            raise ValueError(
                f'{path}: label_spec is missing. Say what the labels are '
                "once, labels = dict(label_spec='openocc'), and every part "
                'takes it'
            )
        if name is not _ABSENT:
            grid = _argument(node, 'grid', resolve)
            try:
                spec = LabelSpec.named(name)
                if grid is None:
                    grid = spec.grid
                elif grid not in (_ABSENT, _MISSING):
                    grid = as_grid(grid)
            except (TypeError, ValueError) as error:
                raise ValueError(f'{path}: {error}') from error
            unknown = grid in (_ABSENT, _MISSING)
            yield _Part(path, spec, None if unknown else grid)
    elif isinstance(node, (list, tuple)):
        items = [(f'{path}[{i}]', value) for i, value in enumerate(node)]
    for here, value in items:
        yield from _parts(value, here, resolve)


def _argument(node: Any, name: str, resolve: Resolve) -> Any:
    """What a typed dict says of an argument, or its type's default."""
    kind = node.get('type') if isinstance(node, dict) else None
    if kind is None:
        return _ABSENT
    for candidate in resolve(kind) if isinstance(kind, str) else [kind]:
        for base in getattr(candidate, '__mro__', ()):
            if '__init__' not in vars(base):
                continue
            parameters = inspect.signature(base.__init__).parameters
            if name in parameters:
                return node.get(name, parameters[name].default)
            if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
                break  # what its bases take is not for the config to say
    return _ABSENT


def _meaning(spec: LabelSpec) -> tuple[Any, ...]:
    """What decides whether ids of two specs are the same things."""
    return spec.classes, spec.free, spec.ignore, spec.frame


def _shown(grid: VoxelGrid) -> str:
    return f'{grid.shape} voxels of {grid.range}'
