"""What the runs that are complete say: scores, pairs, verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Mapping, Sequence

from occsplat.engine import ConfigError
from occsplat.evaluation import metric_direction

from .paired import Paired, compare_pairs, verdict
from .rows import Row
from .runs import Run, Scores, read_scores

#: columns unless others are asked for
METRICS = ('RayIoU', 'RayIoU@1', 'RayIoU@2', 'RayIoU@4', 'mIoU', 'mAVE')

#: scores by name of the row and seed
Results = Mapping[str, Mapping[int, Scores]]


@dataclass(frozen=True)
class Contrast:
    """One row against its baseline in one metric.

    Attributes:
        row: the row.
        metric: the metric.
        paired: the differences of its pairs, None without a pair in which
            both have the metric.
    """

    row: Row
    metric: str
    paired: Paired | None

    @property
    def claimed(self) -> bool:
        """Whether the method is there to improve this metric."""
        return self.metric in self.row.claim

    @property
    def verdict(self) -> str:
        """In words."""
        if self.paired is None:
            return 'no pair has it'
        return verdict(self.paired, metric_direction(self.metric))


def gather(runs: Sequence[Run]) -> Results:
    """Scores of the runs that are complete."""
    results: dict[str, dict[int, Scores]] = {}
    for run in filter(lambda run: run.done, runs):
        results.setdefault(run.row.name, {})[run.seed] = read_scores(run)
    return results


def choose_metrics(
    wanted: Sequence[str] | None, rows: Sequence[Row], results: Results
) -> list[str]:
    """The columns, as far as a run has them.

    Args:
        wanted: by the user, None for ``METRICS`` and all claims.
        rows: whose claims are shown in any case.
        results: of the runs so far.
    """
    claims = [metric for row in rows for metric in row.claim]
    there = {
        name
        for by_seed in results.values()
        for scores in by_seed.values()
        for name in scores
    }
    chosen = [*(METRICS if wanted is None else wanted), *claims]
    return [name for name in dict.fromkeys(chosen) if name in there]


def check_metrics(
    wanted: Sequence[str] | None, chosen: Sequence[str], results: Results
) -> None:
    """See that all metrics that were asked for are there.

    Raises:
        ConfigError: when one is in no run, or there is no column at all.
    """
    missing = [name for name in wanted or () if name not in chosen]
    if missing or not chosen:
        there = {n for r in results.values() for s in r.values() for n in s}
        raise ConfigError(
            f'no run has {", ".join(missing or METRICS)}; --metrics can be '
            f'of {", ".join(sorted(there))}'
        )


def contrast_rows(
    rows: Sequence[Row], results: Results, metrics: Sequence[str]
) -> list[Contrast]:
    """Every row that has a baseline, in every metric; claims first."""
    contrasts = []
    for row in rows:
        if row.baseline is None:
            continue
        for metric in dict.fromkeys((*row.claim, *metrics)):
            found = differences(row, results, metric)
            paired = compare_pairs(found) if found else None
            contrasts.append(Contrast(row, metric, paired))
    return contrasts


def differences(row: Row, results: Results, metric: str) -> list[float]:
    """Row minus baseline, of the seeds for which both have the metric."""
    own = results.get(row.name, {})
    base = results.get(row.baseline or '', {})
    both = [
        own[seed].get(metric, math.nan) - base[seed].get(metric, math.nan)
        for seed in own
        if seed in base
    ]
    return [value for value in both if not math.isnan(value)]
