"""What the benchmarks share: rows, each measured in its own process."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Callable, Iterator, NamedTuple

import torch

SEED = 0


class Row(NamedTuple):
    """One line of a table: a name and a measurement to run."""

    name: str
    measure: Callable[..., Step]
    arguments: tuple
    threads: int


class Step(NamedTuple):
    """One repetition: phases, each with the result of the one before."""

    phases: dict[str, Callable]


def print_table(rows: Iterator[Row], repeats: int) -> None:
    """Run rows one after the other and print them as they come."""
    columns: list[str] = []
    for row in rows:
        figures = in_new_process(measure, row, repeats)
        if not columns:
            columns = list(figures)
            print_header('| |', columns)
        cells = ' | '.join(
            f'{figures[c]:.0f}' if c in figures else '-' for c in columns
        )
        print(f'| {row.name} | {cells} |', flush=True)


def print_header(first: str, columns: list[str]) -> None:
    """The head of a Markdown table: its first cell, names of figures."""
    print(f'{first} ' + ' | '.join(columns) + ' |')
    print('|---|' + '--:|' * len(columns), flush=True)


def in_new_process(function: Callable, *arguments: Any) -> Any:
    """Call a function where nothing else has taken memory.

    Unlike a worker of ``multiprocessing.Pool``, the process may start
    others, as the workers of a data loader.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(
        1, mp_context=context, initializer=_forget_start_method
    ) as pool:
        return pool.submit(function, *arguments).result()


def _forget_start_method() -> None:
    """'spawn' is for this process, not for the workers that it starts."""
    multiprocessing.set_start_method(None, force=True)


def measure(row: Row, repeats: int) -> dict[str, float]:
    """Medians over repetitions: milliseconds and megabytes by column."""
    torch.set_num_threads(row.threads)
    torch.manual_seed(SEED)
    step = row.measure(*row.arguments)
    before = peak_memory()
    times = {phase: [] for phase in step.phases}
    step_once(step, times)
    for phase in times:
        times[phase].clear()
    for _ in range(repeats):
        step_once(step, times)
    figures = medians(times)
    peak = peak_memory()
    figures['peak MB'] = peak / 1e6
    figures['of it rendering'] = (peak - before) / 1e6
    return figures


def step_once(step: Step, times: dict[str, list[float]]) -> None:
    """Run all phases; each gets what the one before it returned."""
    result = None
    for phase, function in step.phases.items():
        start = time.perf_counter()
        result = function(result)
        times[phase].append(time.perf_counter() - start)


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Milliseconds by column, from the seconds of each phase and step.

    The total is the median of the steps' totals, not the sum of medians.
    """
    figures = {
        f'{phase} ms': 1e3 * statistics.median(seconds)
        for phase, seconds in times.items()
    }
    if len(figures) > 1:
        totals = map(sum, zip(*times.values()))
        figures['total ms'] = 1e3 * statistics.median(totals)
    return figures


def peak_memory() -> float:
    """Most bytes that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak
