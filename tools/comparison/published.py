"""Runs that documents speak of, and the tables that follow from them.

A file of runs is a CSV table: row, machine, seed, and a column per metric,
empty where a run does not have it. A document asks for a table in a comment,
which readers do not see, and gets it between the two::

    <!-- differences of voxelsplat gaussrender to fbocc in RayIoU mIoU -->
    <!-- end -->
    <!-- runs of fbocc voxelsplat in RayIoU mIoU -->
    <!-- end -->
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Iterable, Mapping, NamedTuple, Sequence

from occsplat.engine import ConfigError

from .paired import compare_pairs
from .runs import METRICS_FILE, Scores, read_json, write_text
from .tables import Table, markdown

KEYS = ('row', 'machine', 'seed')
_FOLDER = re.compile(r'(.+)_seed(\d+)')
_TABLE = re.compile(r'(<!-- (.*?) -->\n).*?(<!-- end -->)', re.DOTALL)
_DIFFERENCES = re.compile(r'differences of (.+) to (\S+) in (.+)')
_RUNS = re.compile(r'runs of (.+) in (.+)')


class PublishedRun(NamedTuple):
    """One line of a file of runs.

    Attributes:
        row: of the bench.
        machine: it and its baseline must be of the same.
        seed: of the pair.
        scores: by metric, those that the run has.
    """

    row: str
    machine: str
    seed: int
    scores: Scores

    @property
    def key(self) -> tuple[str, str, int]:
        """What there is one of."""
        return self.row, self.machine, self.seed


def read_runs(path: Path) -> tuple[list[PublishedRun], list[str]]:
    """The runs of a file and its metrics.

    Raises:
        ConfigError: when it is no such table, or has a run twice.
    """
    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or ())
        if tuple(header[:3]) != KEYS:
            raise ConfigError(
                f'{path}: expected columns {", ".join(KEYS)} and metrics, '
                f'got {", ".join(header)}'
            )
        metrics = header[3:]
        runs = [
            PublishedRun(
                line['row'],
                line['machine'],
                int(line['seed']),
                {m: float(line[m]) for m in metrics if line[m]},
            )
            for line in reader
        ]
    keys = [run.key for run in runs]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ConfigError(f'{path} has these runs twice: {sorted(twice)}')
    return runs, metrics


def write_runs(
    path: Path, runs: Iterable[PublishedRun], metrics: Sequence[str]
) -> None:
    """Write a file of runs, four digits per score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow([*KEYS, *metrics])
    for run in runs:
        scores = [run.scores.get(metric, math.nan) for metric in metrics]
        cells = ['' if math.isnan(x) else f'{x:.4f}' for x in scores]
        writer.writerow([*run.key, *cells])
    write_text(path, text.getvalue())


def finished_runs(work_dir: Path, machine: str) -> list[PublishedRun]:
    """The complete runs in the work dir of a comparison.

    Raises:
        ConfigError: when there is none, or one is damaged.
    """
    runs = []
    for path in sorted(work_dir.glob(f'*/{METRICS_FILE}')):
        named = _FOLDER.fullmatch(path.parent.name)
        if named:
            scores = read_json(path)['metrics']
            there = {k: v for k, v in scores.items() if v is not None}
            runs.append(PublishedRun(named[1], machine, int(named[2]), there))
    if not runs:
        raise ConfigError(
            f'{work_dir} has no complete run: expected folders ROW_seedN '
            f'with {METRICS_FILE}, as tools/compare_methods.py leaves them'
        )
    return runs


def merged(
    old: Sequence[PublishedRun], new: Sequence[PublishedRun]
) -> list[PublishedRun]:
    """Old runs, new ones in place of those of the same key, sorted by row.

    Rows keep the order in which they have come.
    """
    runs = {run.key: run for run in (*old, *new)}
    order = list(dict.fromkeys(row for row, _, _ in runs))
    return sorted(
        runs.values(), key=lambda r: (order.index(r.row), r.machine, r.seed)
    )


def seed_differences(
    runs: Sequence[PublishedRun], row: str, baseline: str, metric: str
) -> list[float]:
    """Row minus baseline, one number per seed.

    Both are of one machine. A seed that ran on several machines counts
    once, with the mean of its differences: what it does to a run may be
    the same on all of them.
    """
    scores: Mapping[tuple, Scores] = {run.key: run.scores for run in runs}
    by_seed = defaultdict(list)
    for run in runs:
        other = scores.get((baseline, run.machine, run.seed), {})
        if run.row == row and metric in run.scores and metric in other:
            by_seed[run.seed].append(run.scores[metric] - other[metric])
    return [fmean(by_seed[seed]) for seed in sorted(by_seed)]


def difference_table(
    runs: Sequence[PublishedRun],
    rows: Sequence[str],
    baseline: str,
    metrics: Sequence[str],
) -> Table:
    """A line per row: means of the differences, 95 % intervals by t."""
    table = [['row', 'seeds', *metrics]]
    for row in rows:
        found = [seed_differences(runs, row, baseline, m) for m in metrics]
        seeds = max(map(len, found))
        cells = [
            _difference(values, metric, seeds)
            for values, metric in zip(found, metrics)
        ]
        table.append([row, str(seeds), *cells])
    return table


def run_table(
    runs: Sequence[PublishedRun], rows: Sequence[str], metrics: Sequence[str]
) -> Table:
    """A line per run, in the order of the rows."""
    table = [['row', 'machine', 'seed', *metrics]]
    for row in rows:
        for run in (run for run in runs if run.row == row):
            scores = [run.scores.get(metric, math.nan) for metric in metrics]
            cells = [
                '-' if math.isnan(value) else _digits(value, metric)
                for value, metric in zip(scores, metrics)
            ]
            table.append([row, run.machine, str(run.seed), *cells])
    return table


def fill(text: str, runs: Sequence[PublishedRun]) -> str:
    """A document with the tables that it asks for.

    Raises:
        ConfigError: for a row or metric that no run has.
    """
    return _TABLE.sub(
        lambda m: f'{m[1]}\n{markdown(_asked_for(m[2], runs))}\n{m[3]}', text
    )


def _asked_for(words: str, runs: Sequence[PublishedRun]) -> Table:
    differences, each = _DIFFERENCES.fullmatch(words), _RUNS.fullmatch(words)
    if differences:
        rows, baseline, metrics = differences.groups()
        _check(words, [*rows.split(), baseline], metrics.split(), runs)
        return difference_table(runs, rows.split(), baseline, metrics.split())
    if each:
        rows, metrics = each.groups()
        _check(words, rows.split(), metrics.split(), runs)
        return run_table(runs, rows.split(), metrics.split())
    raise ConfigError(
        f"'<!-- {words} -->' asks for no table: expected 'differences of "
        "ROW... to BASELINE in METRIC...' or 'runs of ROW... in METRIC...'"
    )


def _check(
    words: str,
    rows: Sequence[str],
    metrics: Sequence[str],
    runs: Sequence[PublishedRun],
) -> None:
    there = {run.row for run in runs} | {m for r in runs for m in r.scores}
    missing = [name for name in (*rows, *metrics) if name not in there]
    if missing:
        raise ConfigError(
            f"'<!-- {words} -->': no run has {', '.join(missing)}"
        )


def _difference(values: Sequence[float], metric: str, seeds: int) -> str:
    """Mean and interval; bold where it leaves 0 out."""
    if not values:
        return '-'
    paired = compare_pairs(values)
    mean = _digits(paired.mean, metric, '+')
    if len(values) == 1:
        return mean
    low, high = paired.t_interval
    mean = mean if low <= 0 <= high else f'**{mean}**'
    ends = ' to '.join(_digits(end, metric, '+') for end in (low, high))
    fewer = '' if len(values) == seeds else f', {len(values)} seeds'
    return f'{mean} ({ends}{fewer})'


def _digits(value: float, metric: str, sign: str = '') -> str:
    """Three digits, two for metres and metres per second."""
    long = metric.startswith(('mAVE', 'image_depth', 'depth', 'False'))
    return f'{value:{sign}.{2 if long else 3}f}'
