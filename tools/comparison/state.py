"""What the folders of a comparison hold at one moment."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Mapping, Sequence

from .logs import Log, read_log
from .results import Contrast, Results, choose_metrics, contrast_rows, gather
from .rows import Row
from .runs import AND, METRICS_FILE, RECORD, Run, read_record
from .tables import Table, contrast_table, count_seeds


class State:
    """What is known once the complete runs are read.

    Args:
        rows: what is compared.
        runs: all that are planned.
        wanted: metrics that the user asked for, None for the usual ones.
        failures: reasons of runs that failed.

    Attributes:
        done: the runs that are complete.
        results: their scores.
        metrics: the columns.
        contrasts: rows against their baselines.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        runs: Sequence[Run],
        wanted: Sequence[str] | None,
        failures: Sequence[str],
    ) -> None:
        self.rows, self.runs, self.failures = rows, runs, failures
        self.done = [run for run in runs if run.done]
        self.results: Results = gather(self.done)
        self.metrics = choose_metrics(wanted, rows, self.results)
        self.contrasts: list[Contrast] = contrast_rows(
            rows, self.results, self.metrics
        )

    @cached_property
    def records(self) -> list[Mapping]:
        """What the complete runs were made from."""
        return [read_record(run) for run in self.done]

    @cached_property
    def logs(self) -> dict[str, list[Log]]:
        """Logs of the complete runs by row, those that say something."""
        logs: dict[str, list[Log]] = {}
        for run in self.done:
            log = read_log(run.folder)
            if log.training:
                logs.setdefault(run.row.name, []).append(log)
        return logs

    def contrast_tables(self) -> list[tuple[str, Table]]:
        """With their titles: what is claimed, then the rest."""
        claimed = [each for each in self.contrasts if each.claimed]
        rest = [each for each in self.contrasts if not each.claimed]
        titles = ('Claims', 'Other metrics' if claimed else 'Differences')
        return [
            (title, contrast_table(part))
            for title, part in zip(titles, (claimed, rest))
            if part
        ]

    def facts(self) -> dict[str, str]:
        """Machine, commit, seeds and dates, as text by name."""
        seeds = list(dict.fromkeys(run.seed for run in self.done))
        named = ', '.join(map(str, seeds))
        facts = {
            'Machine': _listed(self.records, 'machine'),
            'Commit': _listed(self.records, 'commit'),
            'Runs': f'{len(self.done)} of {len(self.runs)} are complete, '
            f'from {count_seeds(len(seeds))} per row ({named}), the last '
            'checkpoint of each',
            'Dates': self._dates(),
        }
        if self.failures:
            facts['Failed'] = '; '.join(self.failures)
        return facts

    def _dates(self) -> str:
        started = min((r.folder / RECORD).stat().st_mtime for r in self.done)
        ended = max(
            (r.folder / METRICS_FILE).stat().st_mtime for r in self.done
        )
        form = '%Y-%m-%d %H:%M'
        times = [datetime.fromtimestamp(t) for t in (started, ended)]
        return ' to '.join(time.strftime(form) for time in times)

    def caution(self) -> str:
        """What must be known before a figure is read; '' if nothing."""
        lines = []
        if len({run.seed for run in self.done}) == 1:
            lines.append('With one seed, any difference can be chance.')
        if AND in _listed(self.records, 'commit'):
            lines.append('The runs are of different code.')
        return ' '.join(lines)


def _listed(records: Sequence[Mapping], key: str) -> str:
    found = {
        value
        for record in records
        for value in record.get(key, 'unknown').split(AND)
    }
    return AND.join(sorted(found))
