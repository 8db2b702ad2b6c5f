"""See that all parts of a config speak of the same labels.

A data set's ids mean nothing to a head or a metric of another label set,
yet nothing else would notice: ids are numbers.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Iterator, NamedTuple

from occsplat.structures import LabelSpec, VoxelGrid, as_grid

Resolve = Callable[[str], list[Any]]
_MISSING = inspect.Parameter.empty


class Labels(NamedTuple):
    """What one part of a config takes labels for."""

    path: str
    spec: LabelSpec
    grid: VoxelGrid | None


def label_problems(content: dict[str, Any], resolve: Resolve) -> Iterator[str]:
    """What contradicts the data set, or the first part that has labels.

    Args:
        content: of a config.
        resolve: the classes that a type name means.

    Raises:
        ValueError: for labels or a grid that do not exist; names the part.
    """
    parts = [
        part
        for key in sorted(content)
        for part in _parts(content[key], key, resolve)
    ]
    data = [part for part in parts if part.path.endswith('.dataset')]
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
    if gridded:
        yield from _volume_problems(content, resolve, gridded[0])


def _volume_problems(
    content: dict[str, Any], resolve: Resolve, labels: Labels
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


def _parts(node: Any, path: str, resolve: Resolve) -> Iterator[Labels]:
    """Every dict of a config whose type takes a label_spec."""
    items: Any = ()
    if isinstance(node, dict):
        items = [(f'{path}.{key}', value) for key, value in node.items()]
        name = _argument(node, 'label_spec', resolve)
        if name is not _MISSING:
            grid = _argument(node, 'grid', resolve)
            try:
                spec = LabelSpec.named(name)
                if grid is not _MISSING:
                    grid = spec.grid if grid is None else as_grid(grid)
            except (TypeError, ValueError) as error:
                raise ValueError(f'{path}: {error}') from error
            yield Labels(path, spec, None if grid is _MISSING else grid)
    elif isinstance(node, (list, tuple)):
        items = [(f'{path}[{i}]', value) for i, value in enumerate(node)]
    for here, value in items:
        yield from _parts(value, here, resolve)


def _argument(node: Any, name: str, resolve: Resolve) -> Any:
    """What a typed dict says of an argument, or its type's default."""
    kind = node.get('type') if isinstance(node, dict) else None
    if kind is None:
        return _MISSING
    for candidate in resolve(kind) if isinstance(kind, str) else [kind]:
        for base in getattr(candidate, '__mro__', ()):
            if '__init__' not in vars(base):
                continue
            parameters = inspect.signature(base.__init__).parameters
            if name in parameters:
                return node.get(name, parameters[name].default)
            if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
                break  # what its bases take is not for the config to say
    return _MISSING


def _meaning(spec: LabelSpec) -> tuple[Any, ...]:
    """What decides whether ids of two specs are the same things."""
    return spec.classes, spec.free, spec.ignore, spec.frame


def _shown(grid: VoxelGrid) -> str:
    return f'{grid.shape} voxels of {grid.range}'
