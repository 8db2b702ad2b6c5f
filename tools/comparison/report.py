"""The two files that a comparison writes: Markdown and a page."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Sequence

from .page import page
from .results import check_metrics
from .rows import Row
from .runs import Run, write_text
from .state import State
from .tables import markdown, score_table


@dataclass
class Report:
    """What is known of a comparison, while it goes on and at its end.

    Attributes:
        argv: the command line.
        rows: what is compared.
        runs: all that are planned.
        table_path: where the Markdown goes.
        page_path: where the page goes.
        wanted: metrics that the user asked for, None for the usual ones.
        failures: reasons of runs that failed.
    """

    argv: Sequence[str]
    rows: Sequence[Row]
    runs: Sequence[Run]
    table_path: Path
    page_path: Path
    wanted: Sequence[str] | None = None
    failures: list[str] = field(default_factory=list)

    def write(self, last: bool = False) -> str:
        """Write both files from the runs that are complete.

        Args:
            last: whether no run is left, so that a metric that no run has
                is a mistake.

        Returns:
            str: the Markdown; '' and no file where nothing is complete.

        Raises:
            ConfigError: when the last write lacks a metric.
        """
        state = State(self.rows, self.runs, self.wanted, self.failures)
        if not state.done:
            return ''
        if last:
            check_metrics(self.wanted, state.metrics, state.results)
        command = shlex.join(
            ['python', 'tools/compare_methods.py', *self.argv]
        )
        text = document(state, command)
        write_text(self.table_path, text)
        write_text(self.page_path, page(state, command))
        return text


def document(state: State, command: str) -> str:
    """The tables in Markdown.

    Args:
        state: what is known.
        command: that has made it.
    """
    facts = [f'{name}: {text}.' for name, text in state.facts().items()]
    parts = [
        f'`{command}`',
        ' '.join(filter(None, [*facts, state.caution()])),
        markdown(score_table(state.results, state.metrics)).rstrip(),
    ]
    for title, table in state.contrast_tables():
        parts += [f'{title}:', markdown(table).rstrip()]
    return '\n\n'.join(parts) + '\n'
