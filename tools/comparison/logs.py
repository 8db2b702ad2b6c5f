"""What a run's own log says: losses, validations, time and memory."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

from occsplat.engine import ConfigError

#: values by step
Curve = dict[int, float]


class Log(NamedTuple):
    """The scalars of one run, whatever number of times it was resumed.

    Attributes:
        training: entries by training step.
        validation: entries by what the log counts validations in, epochs
            in a run of epochs and otherwise steps.
    """

    training: dict[int, Mapping[str, float]]
    validation: dict[int, Mapping[str, float]]


def read_log(folder: Path) -> Log:
    """Read mmengine's ``<time>/vis_data/scalars.json`` of a run.

    Raises:
        ConfigError: when one is damaged.
    """
    log = Log({}, {})
    # a resumed run repeats what came after its checkpoint: the last counts
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        lines = path.read_text(encoding='utf-8').split('\n')
        # behind the last line's end is what a killed run was writing
        for number, line in enumerate(lines[:-1], 1):
            try:
                entry = json.loads(line)
                kind = log.training if 'iter' in entry else log.validation
                kind[entry['step']] = entry
            except (ValueError, KeyError) as error:
                raise ConfigError(
                    f'{path} is damaged in line {number}: {error}'
                ) from error
    return log


def shared_losses(logs: Sequence[Log]) -> list[str]:
    """Loss terms that all runs have, or the sum if there is none.

    A method adds terms: its sum is not its baseline's.
    """
    terms = [
        {
            key
            for entry in log.training.values()
            for key in entry
            if key.startswith('loss_')
        }
        for log in logs
    ]
    return sorted(set.intersection(*terms)) or ['loss']


def loss_curve(log: Log, terms: Sequence[str]) -> Curve:
    """The sum of some loss terms; those that came later count from then."""
    return {
        step: sum(entry.get(term, 0.0) for term in terms)
        for step, entry in sorted(log.training.items())
    }


def validation_curve(log: Log, metric: str) -> Curve:
    """One metric of the validations."""
    return _curve(log.validation, metric)


def training_curve(log: Log, key: str) -> Curve:
    """One value of the training's steps, from where it is logged."""
    return _curve(log.training, key)


def _curve(entries: Mapping[int, Mapping[str, float]], key: str) -> Curve:
    return {
        step: entry[key]
        for step, entry in sorted(entries.items())
        if key in entry
    }


def smoothed(curve: Curve, half_life: float) -> Curve:
    """The mean of a value and all before it, the later the heavier.

    A value that lies n steps back has a weight of 0.5 ** (n / half_life).
    Weights are of those values alone that there are, so that the curve
    starts at its first value and not from zero.

    Args:
        curve: values by step.
        half_life: steps; 0 leaves the curve as it is.
    """
    if half_life == 0:
        return dict(curve)
    result, total, weight, before = {}, 0.0, 0.0, 0
    for step, value in sorted(curve.items()):
        kept = 0.5 ** ((step - before) / half_life)
        total, weight = kept * total + value, kept * weight + 1
        result[step], before = total / weight, step
    return result


def seconds_per_step(logs: Sequence[Log]) -> float | None:
    """The median over all lines of the logs, None without one."""
    times = [
        entry['time']
        for log in logs
        for entry in log.training.values()
        if 'time' in entry
    ]
    return statistics.median(times) if times else None


def gpu_megabytes(logs: Sequence[Log]) -> float | None:
    """The peak of the GPU's memory; None on the CPU, where none is logged."""
    peaks = [
        entry['memory']
        for log in logs
        for entry in log.training.values()
        if 'memory' in entry
    ]
    return max(peaks, default=None)
