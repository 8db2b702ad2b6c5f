"""Runs: one row with one seed, its folder, and what is kept in it."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import torch
from mmdet3d.registry import MODELS

from occsplat.engine import (
    ConfigError,
    build_errors,
    latest_checkpoint,
    load_config,
)
from occsplat.structures.files import whole_file

from .jobs import Command
from .rows import SEED, Row, parse_options

TOOLS = Path(__file__).resolve().parents[1]
#: what a folder was made from: config, machine, commit, parameters
RECORD = 'run.json'
METRICS_FILE = 'metrics.json'
#: between the values of a record, such as two commits
AND = '; '

Scores = Mapping[str, float]


class Run(NamedTuple):
    """One row with one seed.

    Attributes:
        row: what is trained.
        seed: of the pair; the row's offset is not in it.
        folder: where it goes.
    """

    row: Row
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        """How messages call it."""
        return f'{self.row.name}, seed {self.seed}'

    @property
    def done(self) -> bool:
        """Whether it has been trained and tested."""
        return (self.folder / METRICS_FILE).is_file()

    def options(self) -> list[str]:
        """What every tool takes at the end."""
        seed = f'{SEED}={self.seed + self.row.seed_offset}'
        return ['--cfg-options', *self.row.options, seed]

    def arguments(self) -> list[str]:
        """What train.py and test.py take after the positional ones."""
        return ['--work-dir', str(self.folder), *self.options()]


def plan_runs(
    rows: Sequence[Row], seeds: Sequence[int], work_dir: str | Path
) -> list[Run]:
    """Every row with every seed, all rows with the first seed first.

    So a comparison that is stopped has pairs.

    Raises:
        ConfigError: when a seed is there twice, or a row is its baseline
            with the same seeds.
    """
    if len(set(seeds)) < len(seeds):
        raise ConfigError(
            '--seeds must differ from each other, got '
            f'{" ".join(map(str, seeds))}'
        )
    by_name = {row.name: row for row in rows}
    for row in rows:
        other = by_name.get(row.baseline or '')
        if other is None or row[1:3] != other[1:3]:
            continue
        apart = row.seed_offset - other.seed_offset
        if {seed + apart for seed in seeds} & set(seeds):
            raise ConfigError(
                f'row {row.name} is its baseline {other.name}, in part with '
                f'the same seeds: give it a seed_offset beyond {max(seeds)}'
            )
    return [
        Run(row, seed, Path(work_dir) / f'{row.name}_seed{seed}')
        for seed in seeds
        for row in rows
    ]


def prepare(run: Run, about: Mapping[str, str]) -> None:
    """Make the run's folder, or see that it belongs to this very run.

    A new run's network is built once, to count its parameters, and so that
    one that can't be built is known before hours of training.

    Args:
        run: the run.
        about: further entries of the record, such as the commit. A run
            that goes on keeps those that it has been started with, too.

    Raises:
        ConfigError: when the folder is that of another config or seed, or
            the config can't be run.
    """
    cfg = load_config(run.row.config, parse_options(run.options()[1:]))
    # as it will be read again: tuples become lists, types their names
    content = json.loads(json.dumps(cfg.to_dict(), default=str))
    path = run.folder / RECORD
    advice = f'delete {run.folder} or name another --work-dir'
    if path.is_file():
        record = read_json(path)
        if record['config'] != content:
            raise ConfigError(
                f'{run.folder} is a run of another config, which differs in '
                f'{first_difference(record["config"], content)}: {advice}'
            )
        if run.done:
            return
        started = (run.folder / 'train.log').is_file()
        for key, value in about.items():
            before = record.get(key, 'unknown').split(AND) if started else []
            record[key] = AND.join(dict.fromkeys([*before, value]))
    elif run.folder.is_dir() and any(run.folder.iterdir()):
        raise ConfigError(f'{run.folder} has files but no {RECORD}: {advice}')
    else:
        with build_errors(cfg):
            model = MODELS.build(cfg.model)
        record = dict(
            config=content, parameters=count_parameters(model), **about
        )
    write_text(path, json.dumps(record, indent=2) + '\n')


def count_parameters(model: torch.nn.Module) -> dict[str, int]:
    """Numbers in all weights; inference goes without render heads."""

    def count(module: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    heads = getattr(model, 'render_heads', torch.nn.ModuleList())
    total = count(model)
    return dict(training=total, inference=total - count(heads))


def first_difference(old: Any, new: Any, path: str = '') -> str:
    """Where two configs differ, as a key path with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        items = [
            (f'{path}.{key}', old.get(key), new.get(key))
            for key in sorted(old.keys() | new.keys())
        ]
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f'{path[1:]} ({len(old)} items, now {len(new)})'
        items = [
            (f'{path}.{i}', *pair) for i, pair in enumerate(zip(old, new))
        ]
    else:
        return f'{path[1:]} ({old!r}, now {new!r})'
    for deeper, a, b in items:
        if a != b:
            return first_difference(a, b, deeper)
    return f'{path[1:]} (a key without a value)'


def has_threshold(run: Run) -> bool:
    """Whether the occupancy head decides by an opacity threshold."""
    model = read_record(run)['config']['model']
    return 'opacity_threshold' in model.get('occ_head', {})


def steps(run: Run, calibrate: bool = False) -> Iterator[Command]:
    """Train, calibrate if asked to, and test: one command after the other.

    Raises:
        ConfigError: when training has left no checkpoint.
    """
    # goes on from the newest checkpoint, if there is one
    train = [run.row.config, '--resume', *run.arguments()]
    yield _command('train', train, run)
    checkpoint = latest_checkpoint(run.folder)
    if checkpoint is None:
        raise ConfigError(
            f'training left no checkpoint in {run.folder}: does the config '
            'have a CheckpointHook?'
        )
    trained = [run.row.config, str(checkpoint)]
    if calibrate and has_threshold(run):
        tables = ['--out', str(run.folder), *run.options()]
        yield _command('calibrate_threshold', [*trained, *tables], run)
    yield _command('test', [*trained, *run.arguments()], run)


def _command(tool: str, arguments: Sequence[str], run: Run) -> Command:
    script = str(TOOLS / f'{tool}.py')
    return Command(
        f'{tool}.py of {run.title}',
        (sys.executable, script, *arguments),
        run.folder / f'{tool}.log',
    )


def read_scores(run: Run) -> dict[str, float]:
    """What test.py wrote; nan where a metric is not defined."""
    scores = read_json(run.folder / METRICS_FILE)['metrics']
    return {k: math.nan if v is None else v for k, v in scores.items()}


def read_record(run: Run) -> dict[str, Any]:
    """What the folder was made from."""
    return read_json(run.folder / RECORD)


def machine(threads: int, jobs: int) -> str:
    """What figures of a run depend on."""
    device = platform.machine()
    if torch.cuda.is_available():
        device += f', {torch.cuda.get_device_name()}'
    beside = f', {jobs} runs side by side' if jobs > 1 else ''
    return (
        f'{device}, {threads} threads{beside}, Python '
        f'{platform.python_version()}, torch {torch.__version__}'
    )


def commit() -> str:
    """The commit of the code, '-dirty' behind it if files differ from it."""
    describe = 'describe --always --dirty --abbrev=12 --exclude *'.split()
    try:
        done = subprocess.run(
            ['git', '-C', str(TOOLS), *describe],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:  # no git on this machine
        return 'unknown'
    return done.stdout.strip() if done.returncode == 0 else 'unknown'


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file.

    Raises:
        ConfigError: when it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise ConfigError(f'{path} is damaged: {error}') from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding='utf-8')
