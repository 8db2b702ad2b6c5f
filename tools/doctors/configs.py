"""What a config says, changes, builds and reads, in print."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from mmengine.config import Config

from occsplat.data.inventory import file_titles
from occsplat.engine import load_config
from occsplat.engine.config_report import (
    baseline_of,
    differences,
    needed_files,
    parameter_counts,
)


def describe(
    cfg: Config,
    path: str | Path,
    baseline: str | Path | None,
    say: Callable[[str], Any],
) -> None:
    """Print everything about a config.

    Args:
        cfg: see ``load_config``, which has looked for what is wrong in it.
        path: its file.
        baseline: config to compare with; None: see ``baseline_of``.
        say: takes the lines.

    Raises:
        ConfigError: for a baseline that is none, or a network that can't
            be built.
    """
    baseline = baseline or baseline_of(path)
    # its errors come first
    other = None if baseline is None else load_config(baseline)
    say(cfg.pretty_text)
    if baseline is None or other is None:
        say('Baseline: none; name one with --baseline')
    else:
        say(f'Baseline: {_short(baseline)}')
        lines = differences(other.to_dict(), cfg.to_dict())
        for line in lines or ['nothing differs']:
            say(f'    {line}')
    say('\nParameters (those that learn):')
    counts = parameter_counts(cfg)
    whole = tuple(map(sum, zip(*counts.values())))
    for name, (count, learns) in {**counts, 'in all': whole}.items():
        say(f'    {name:<20} {count:>13,} ({learns:,})')
    say('\nFiles that have to be there, for each key frame:')
    titles = file_titles()
    for split, fields in needed_files(cfg).items():
        data = cfg[f'{split}_dataloader'].dataset
        names = ', '.join(titles.get(field, field) for field in fields)
        say(f'    {split}: {names}; {data.ann_file} in {data.data_root}')


def _short(path: str | Path) -> str:
    path = Path(path).resolve()
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
