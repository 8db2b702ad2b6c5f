"""Tables of a comparison as cells, and cells as Markdown and HTML."""

from __future__ import annotations

import html
import math
import statistics
from typing import Mapping, Sequence

from occsplat.evaluation import metric_direction

from .logs import Log, gpu_megabytes, seconds_per_step
from .results import Contrast, Results
from .rows import Row

#: a header, then lines; all equally long
Table = list[list[str]]
#: columns of names and words; the others hold numbers
_WORDS = ('row', 'machine', 'seed', 'baseline', 'metric', 'better', 'verdict')
_BETTER = {1: 'higher', -1: 'lower'}


def score_table(results: Results, metrics: Sequence[str]) -> Table:
    """One line per run, and the means of each row."""
    table = [['row', 'seed', *metrics]]
    for name, runs in results.items():
        columns = [
            [scores.get(metric, math.nan) for scores in runs.values()]
            for metric in metrics
        ]
        for seed, values in zip(runs, zip(*columns)):
            table.append([name, str(seed), *map(number, values)])
        means = [statistics.fmean(values) for values in columns]
        label = f'mean of {count_seeds(len(runs))}'
        table.append([f'**{name}**', label, *map(number, means)])
    return table


def contrast_table(contrasts: Sequence[Contrast]) -> Table:
    """One line per row and metric: the paired difference to the baseline."""
    table = [
        [
            'row', 'baseline', 'metric', 'better', 'pairs',
            'mean difference', '95 % by t', '95 % by bootstrap',
            'would have shown', 'verdict',
        ]
    ]  # fmt: skip
    for each in contrasts:
        paired = each.paired
        figures = ['0', '-', '-', '-', '-']
        if paired is not None:
            figures = [
                str(len(paired.differences)),
                number(paired.mean, '+'),
                interval(paired.t_interval),
                interval(paired.bootstrap_interval),
                number(paired.detectable),
            ]
        better = _BETTER.get(metric_direction(each.metric) or 0, '-')
        names = [each.row.name, each.row.baseline or '', each.metric, better]
        table.append([*names, *figures, each.verdict])
    return table


def cost_table(
    rows: Sequence[Row],
    logs: Mapping[str, Sequence[Log]],
    parameters: Mapping[str, Mapping[str, int]],
) -> Table:
    """One line per row: time, memory where it is logged, parameters.

    Args:
        rows: in their order.
        logs: of each row's runs.
        parameters: of each row's network, see ``count_parameters``.
    """
    memory = any(gpu_megabytes(each) is not None for each in logs.values())
    header = ['row', 'seconds per step']
    header += ['GPU MB'] * memory
    table = [[*header, 'parameters in training', 'in inference']]
    for row in rows:
        runs, weights = logs.get(row.name, ()), parameters.get(row.name, {})
        seconds, peak = seconds_per_step(runs), gpu_megabytes(runs)
        line = [row.name, '-' if seconds is None else f'{seconds:.3g}']
        if memory:
            line.append('-' if peak is None else f'{peak:.0f}')
        for kind in ('training', 'inference'):
            line.append(f'{weights[kind]:,}' if kind in weights else '-')
        table.append(line)
    return table


def number(value: float, sign: str = '') -> str:
    """Four digits, a dash for what is not defined."""
    return '-' if math.isnan(value) else f'{value:{sign}.4f}'


def interval(ends: tuple[float, float]) -> str:
    """Both ends with their signs."""
    if math.isnan(ends[0]):
        return '-'
    return f'{ends[0]:+.4f} to {ends[1]:+.4f}'


def count_seeds(count: int) -> str:
    """'1 seed' or '2 seeds'."""
    return f'{count} seed' + ('s' if count > 1 else '')


def markdown(table: Table) -> str:
    """A Markdown table; numbers go to the right."""
    rule = ['---' if name in _WORDS else '--:' for name in table[0]]
    lines = [table[0], rule, *table[1:]]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def html_table(table: Table) -> str:
    """The same in HTML; lines of means are bold there, too."""

    def line(cells: Sequence[str], tag: str) -> str:
        out = []
        for column, cell in zip(table[0], cells):
            kind = ' class="words"' if column in _WORDS else ''
            text = html.escape(cell.strip('*'))
            out.append(f'<{tag}{kind}>{text}</{tag}>')
        mean = ' class="mean"' if cells[0].startswith('**') else ''
        return f'<tr{mean}>{"".join(out)}</tr>\n'

    header, *lines = table
    body = ''.join(line(cells, 'td') for cells in lines)
    return (
        f'<table><thead>\n{line(header, "th")}</thead><tbody>\n{body}'
        '</tbody></table>\n'
    )
