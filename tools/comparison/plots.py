"""Pictures of a comparison, each an SVG in a data URI."""

from __future__ import annotations

import base64
import io
from contextlib import contextmanager
from typing import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from occsplat.evaluation import metric_direction

from .logs import Curve
from .results import Contrast

_STYLE = {
    'svg.hashsalt': 'comparison',  # the same figure, the same bytes
    'font.size': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
}
_COLORS = matplotlib.colormaps['tab10'].colors
_WAY = {1: ', higher is better', -1: ', lower is better'}

#: curves of all seeds by name of the row
Curves = Mapping[str, Sequence[Curve]]


def forest_plot(contrasts: Sequence[Contrast], metric: str) -> str:
    """Paired differences in one metric, one line per row.

    Grey band: differences that the pairs would hardly have shown. Small
    dots, above: pairs. Large dot and thick line: mean and t interval; the thin
    line below it is the bootstrap's.

    Args:
        contrasts: of any metrics.
        metric: the one that is drawn.
    """
    shown = [
        (each.row.name, each.paired)
        for each in contrasts
        if each.metric == metric and each.paired is not None
    ]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(
            figsize=(8, 1.0 + 0.5 * len(shown)), layout='constrained'
        )
        axes = figure.subplots()
        for place, (_, paired) in enumerate(shown):
            blind = paired.detectable
            axes.barh(place, 2 * blind, left=-blind, height=0.7, color='0.92')
            axes.plot(paired.t_interval, [place] * 2, color='C0', lw=3)
            below = [place + 0.18] * 2
            axes.plot(paired.bootstrap_interval, below, color='C0', lw=1)
            above = [place - 0.2] * len(paired.differences)
            axes.plot(paired.differences, above, '.', color='0.4', ms=5)
            axes.plot(paired.mean, place, 'o', color='C0', ms=7)
        axes.axvline(0, color='black', lw=0.8)
        axes.set_yticks(range(len(shown)), [name for name, _ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        way = _WAY.get(metric_direction(metric) or 0, '')
        axes.set_xlabel(f'{metric}: difference to the baseline{way}')
        return _data_uri(figure)


def curve_plot(panels: Mapping[str, Curves], xlabel: str, ylabel: str) -> str:
    """Means over the seeds of each row, and bands of their extremes.

    Args:
        panels: curves by title of the panel.
        xlabel: what steps are.
        ylabel: what values are.
    """
    with panels_figure(len(panels)) as (figure, columns):
        for axes, (title, curves) in zip(columns, panels.items()):
            draw_curves(axes, title, curves, xlabel, ylabel)
        return _data_uri(figure)


@contextmanager
def panels_figure(count: int) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A figure of panels below each other; draw and save it inside."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8, 3.2 * count), layout='constrained')
        yield figure, figure.subplots(count, squeeze=False)[:, 0]


def draw_curves(
    axes: Axes, title: str, curves: Curves, xlabel: str, ylabel: str
) -> None:
    """Fill a panel: a mean over the seeds and a band for each name."""
    for number, (name, seeds) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        _draw_band(axes, name, seeds, color)
    axes.set_title(title, loc='left')
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.legend(frameon=False, fontsize=8)


def _draw_band(
    axes: Axes, name: str, seeds: Sequence[Curve], color: tuple
) -> None:
    """Only steps that all seeds have, so that no seed joins in between."""
    steps = sorted(set.intersection(*(set(curve) for curve in seeds)))
    values = np.array([[curve[step] for step in steps] for curve in seeds])
    # a single value makes no line
    dot = '.' if len(steps) == 1 else None
    axes.plot(steps, values.mean(axis=0), marker=dot, color=color, label=name)
    low, high = values.min(axis=0), values.max(axis=0)
    axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format='svg', metadata=dict(Date=None))
    text = base64.b64encode(buffer.getvalue()).decode('ascii')
    return f'data:image/svg+xml;base64,{text}'
