"""What paired differences of a few seeds can tell, and what they can't.

A pair is two runs with the same seed. Its difference, method minus
baseline, is one number per seed and metric; everything here is of these
numbers alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Sequence

import numpy as np
from scipy import optimize, stats

#: two-sided level of the tests, one minus that of the intervals
LEVEL = 0.05
#: chance to be shown that the smallest detectable difference has
POWER = 0.8
RESAMPLES = 10_000

Interval = tuple[float, float]


@dataclass(frozen=True)
class Paired:
    """The mean of paired differences, and how sure it is.

    Attributes:
        differences: one number per pair, method minus baseline.
        mean: their mean.
        t_interval: 95 % interval of the mean difference by Student's t.
            nan with one pair.
        bootstrap_interval: the same by the percentile bootstrap, which is
            too narrow for few pairs. nan with one pair.
        detectable: the difference that as many pairs with as much scatter
            show with a probability of 80 %. nan with one pair.
    """

    differences: tuple[float, ...]
    mean: float
    t_interval: Interval
    bootstrap_interval: Interval
    detectable: float


def compare_pairs(differences: Sequence[float]) -> Paired:
    """Summarise the differences of pairs.

    Args:
        differences: one finite number per pair, method minus baseline.

    Raises:
        ValueError: when there is none, or one is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(
            f'expected finite differences of at least one pair, got '
            f'{list(differences)}'
        )
    count, mean = values.size, float(values.mean())
    if count == 1:
        unknown = (math.nan, math.nan)
        return Paired((mean,), mean, unknown, unknown, math.nan)
    # equal numbers have none, whatever the last bit of their mean says
    same = bool((values == values[0]).all())
    error = 0.0 if same else float(values.std(ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * error
    return Paired(
        tuple(values.tolist()),
        mean,
        (mean - half, mean + half),
        bootstrap_interval(values),
        noncentrality(count) * error,
    )


def bootstrap_interval(values: np.ndarray) -> Interval:
    """95 % percentile interval of the mean; same values, same interval.

    Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982),
    section 10.4.
    """
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means = values[drawn].mean(axis=1)
    low, high = np.quantile(means, (LEVEL / 2, 1 - LEVEL / 2))
    return float(low), float(high)


@lru_cache
def noncentrality(count: int) -> float:
    """The difference that is shown with ``POWER``, in standard errors.

    Of ``count`` pairs: the shift of the noncentral t distribution that
    puts this much of it beyond the critical value. The other tail, where a
    difference would be shown with the wrong sign, has next to nothing of it.
    """
    freedom = count - 1
    critical = stats.t.ppf(1 - LEVEL / 2, freedom)
    # what it would be with a known scatter, from below, and twice that
    guess = critical + stats.t.ppf(POWER, freedom)
    return float(
        optimize.brentq(
            lambda shift: stats.nct.sf(critical, freedom, shift) - POWER,
            0.0,
            2 * guess,
        )
    )


def verdict(paired: Paired, direction: int | None) -> str:
    """Better, worse, or what would have been seen, in words.

    Goes by the t interval: a difference is shown when it is not in it.

    Args:
        paired: the differences.
        direction: 1 where higher is better, -1 where lower is; 0 or None
            where neither is known to be, which makes it 'higher' or 'lower'.
    """
    if len(paired.differences) == 1:
        return 'one pair shows nothing'
    low, high = paired.t_interval
    if low <= 0 <= high:
        if not any(paired.differences):
            return 'no effect shown; the same in every pair'
        return (
            'no effect shown; the bench would have shown '
            f'{paired.detectable:.4f}'
        )
    if not direction:
        return 'higher' if low > 0 else 'lower'
    return 'better' if (low > 0) == (direction > 0) else 'worse'
