"""Which configs a data set is enough for."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Collection, Mapping

from occsplat.data.inventory import file_titles
from occsplat.engine import load_config
from occsplat.engine.config_report import needed_files

#: of a config: folder, and the fields that it reads to train and to score
_Needs = tuple[tuple[str, ...], tuple[str, ...]]


def config_table(configs: Path, whole: Mapping[str, Collection[str]]) -> str:
    """A line for all configs that read the same files.

    What a config reads is what the transforms of its pipelines say.

    Args:
        configs: folder of the methods' folders.
        whole: record fields whose files are all there, by split.
    """
    groups: dict[_Needs, list[Path]] = defaultdict(list)
    for path in sorted(configs.glob('*/*.py')):
        if path.parent.name == '_base_' or path.name == 'rows.py':
            continue
        needed = needed_files(load_config(path))
        groups[needed.get('train', ()), needed.get('val', ())].append(path)
    return '\n'.join(
        line for needs, paths in groups.items()
        for line in _lines(needs, paths, whole)
    )  # fmt: skip


def _lines(
    needs: _Needs, paths: list[Path], whole: Mapping[str, Collection[str]]
) -> list[str]:
    titles = file_titles()
    lacking = {
        split: [titles[f] for f in fields if f not in whole.get(split, ())]
        for split, fields in zip(('train', 'val'), needs)
    }
    verdict = 'yes'
    if any(lacking.values()):
        verdict = 'no, there are not all ' + '; '.join(
            f'{", ".join(names)} of {split}'
            for split, names in lacking.items()
            if names
        )
    read = [', '.join(titles[field] for field in fields) for fields in needs]
    methods: dict[str, int] = defaultdict(int)
    for path in paths:
        methods[path.parent.name] += 1
    counted = ', '.join(f'{name} ({n})' for name, n in methods.items())
    return [
        f'{verdict}',
        f'    train: {read[0]}; score: {read[1]}',
        f'    {counted}, such as {paths[0].stem}',
    ]
