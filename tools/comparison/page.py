"""The page of a comparison: one HTML file with its pictures in it."""

from __future__ import annotations

import html
import textwrap
from typing import Mapping, Sequence

from .logs import Log, loss_curve, shared_losses, validation_curve
from .plots import Curves, curve_plot, forest_plot
from .rows import Row
from .state import State
from .tables import cost_table, html_table, score_table

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 76em; margin: 2em auto;
  padding: 0 1em; color: #222; }
code { background: #f3f3f3; padding: .1em .3em; overflow-wrap: anywhere; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .2em .6em; border-bottom: 1px solid #ddd;
  text-align: right; white-space: nowrap; }
th.words, td.words { text-align: left; }
tr.mean { font-weight: bold; }
img { max-width: 100%; }
"""
_READ = """
Each difference is one of pairs: method minus baseline, of two runs with the
same seed. The verdict goes by the t interval. The bootstrap interval of few
pairs is too narrow and stands beside it for comparison. "Would have shown"
is the difference that this many pairs with this scatter show four times out
of five: an effect smaller than that may be there, and this comparison can't
tell. One in twenty differences without any effect is called one, in either
direction: trust what a claim named beforehand. docs/bench.md says more.
"""


def page(state: State, command: str) -> str:
    """The page, with nothing that it would have to load.

    Args:
        state: what is known.
        command: that has made it.
    """
    facts = ''.join(
        f'<li>{name}: {html.escape(text)}</li>\n'
        for name, text in state.facts().items()
    )
    parameters = {
        run.row.name: record.get('parameters', {})
        for run, record in zip(state.done, state.records)
    }
    sections = [
        f'<h1>Comparison</h1>\n<p><code>{html.escape(command)}'
        f'</code></p>\n<ul>{facts}</ul>\n<p>{state.caution()}</p>\n',
        f'<p>{_READ}</p>\n' if state.contrasts else '',
        *(
            _section(title, html_table(table))
            for title, table in state.contrast_tables()
        ),
        *_forests(state),
        *_curves(state),
        _section(
            'Cost',
            html_table(cost_table(state.rows, state.logs, parameters))
            + '<p>Seconds are medians of the log, and longer when runs are '
            'side by side. Render heads are not needed in inference.</p>\n',
        ),
        _section(
            'All runs',
            html_table(score_table(state.results, state.metrics)),
        ),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<title>Comparison</title>\n<style>{_STYLE}</style></head><body>\n'
        f'{"".join(sections)}</body></html>\n'
    )


def _section(title: str, content: str) -> str:
    return f'<h2>{title}</h2>\n<div class="wide">{content}</div>\n'


def _picture(source: str, text: str) -> str:
    return f'<img src="{source}" alt="{html.escape(text)}">\n'


def _forests(state: State) -> list[str]:
    """A forest plot a metric; all but the first are folded."""
    metrics = [
        metric
        for metric in dict.fromkeys(each.metric for each in state.contrasts)
        if any(c.paired for c in state.contrasts if c.metric == metric)
    ]
    out = []
    for metric in metrics:
        picture = _picture(
            forest_plot(state.contrasts, metric),
            f'paired differences in {metric}',
        )
        opened = '' if out else ' open'
        out.append(
            f'<details{opened}><summary>Paired differences in '
            f'{html.escape(metric)}</summary>\n{picture}</details>\n'
        )
    return out


def _curves(state: State) -> list[str]:
    """Losses, and validations where there is more than the last one."""
    groups = _groups(state.rows, state.logs)
    if not groups:
        return []
    losses: dict[str, Curves] = {}
    for names in groups:
        logs = [log for name in names for log in state.logs[name]]
        terms = shared_losses(logs)
        title = textwrap.fill(f'{names[0]}: {" + ".join(terms)}', 100)
        losses[title] = {
            name: [loss_curve(log, terms) for log in state.logs[name]]
            for name in names
        }
    pictures = _picture(
        curve_plot(losses, 'training step', 'loss'), 'training losses'
    )
    metric, scores = _validations(state, groups)
    if scores:
        pictures += _picture(
            curve_plot(scores, 'validation at', metric), 'validations'
        )
    text = (
        '<p>Mean over the seeds, and the band from the lowest to the highest '
        'seed. Losses are the sum of the terms that all rows of a panel '
        'have.</p>\n'
    )
    return [_section('Learning curves', pictures + text)]


def _groups(
    rows: Sequence[Row], logs: Mapping[str, Sequence[Log]]
) -> list[list[str]]:
    """Names of rows with logs, those with the same first baseline."""
    first: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for row in rows:  # a baseline comes before its rows
        first[row.name] = first[row.baseline] if row.baseline else row.name
        if row.name in logs:
            groups.setdefault(first[row.name], []).append(row.name)
    return list(groups.values())


def _validations(
    state: State, groups: Sequence[Sequence[str]]
) -> tuple[str, dict[str, Curves]]:
    """The first metric that was validated on the way, and its curves."""
    for metric in state.metrics:
        curves: dict[str, Curves] = {}
        for names in groups:
            found = {
                name: [validation_curve(log, metric) for log in logs]
                for name, logs in ((n, state.logs[n]) for n in names)
            }
            found = {
                name: seeds
                for name, seeds in found.items()
                if min(map(len, seeds)) > 1
            }
            if found:
                curves[f'{names[0]} and what is compared with it'] = found
        if curves:
            return metric, curves
    return '', {}
