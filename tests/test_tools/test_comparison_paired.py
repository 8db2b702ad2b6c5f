"""Statistics of pairs: against scipy, known values, and simulation."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]
VALUES = [0.011, 0.004, -0.002, 0.009, 0.006]


@pytest.fixture
def paired(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('comparison.paired')


def normal(rows, count, shift=0.0):
    return shift + np.random.default_rng(3).normal(size=(rows, count))


def test_the_t_interval_is_that_of_scipy(paired):
    result = paired.compare_pairs(VALUES)
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert result.t_interval == pytest.approx(tuple(expected))
    assert result.mean == pytest.approx(np.mean(VALUES))
    assert result.differences == tuple(VALUES)


def test_the_bootstrap_interval_is_that_of_scipy(paired):
    result = paired.compare_pairs(VALUES)
    expected = stats.bootstrap(
        (VALUES,), np.mean, method='percentile', n_resamples=50_000
    ).confidence_interval
    assert result.bootstrap_interval == pytest.approx(
        tuple(expected), abs=3e-4
    )
    again = paired.compare_pairs(VALUES)
    assert again.bootstrap_interval == result.bootstrap_interval


@pytest.mark.parametrize(
    ('count', 'expected'),
    # delta of R's power.t.test(n, power=0.8, type='paired'), sd = 1
    [(3, 3.26404), (5, 1.68200), (10, 0.99600), (20, 0.66044)],
)
def test_the_detectable_difference_has_known_values(paired, count, expected):
    values = np.arange(count, dtype=float)
    values /= values.std(ddof=1)
    result = paired.compare_pairs(values)
    assert result.detectable == pytest.approx(expected, rel=1e-4)


def test_intervals_cover_as_often_as_the_documents_say(paired):
    """95 % by t; the bootstrap of 5 falls short by 11 points or so."""
    inside = np.zeros(2)
    draws = normal(1000, 5, shift=0.7)
    for values in draws:
        result = paired.compare_pairs(values)
        for i, (low, high) in enumerate(
            (result.t_interval, result.bootstrap_interval)
        ):
            inside[i] += low <= 0.7 <= high
    by_t, by_bootstrap = inside / len(draws)
    assert by_t == pytest.approx(0.95, abs=0.02)
    assert by_bootstrap == pytest.approx(0.835, abs=0.035)


def test_false_alarms_and_planted_differences(paired, monkeypatch):
    """One in twenty without an effect, four in five of the size told."""
    monkeypatch.setattr(paired, 'RESAMPLES', 1)  # no verdict goes by them
    size = paired.noncentrality(5) / math.sqrt(5)
    found = {}
    for shift in (0.0, size, -size):
        said = [
            paired.verdict(paired.compare_pairs(values), 1)
            for values in normal(1500, 5, shift)
        ]
        found[shift] = [
            np.mean([word == wanted for word in said])
            for wanted in ('better', 'worse')
        ]
    assert found[0.0] == pytest.approx([0.025, 0.025], abs=0.012)
    assert found[size][0] == pytest.approx(0.8, abs=0.03)
    assert found[-size][1] == pytest.approx(0.8, abs=0.03)
    assert found[size][1] == found[-size][0] == 0


def test_the_words_of_a_verdict(paired):
    up = paired.compare_pairs([0.3, 0.31, 0.29])
    down = paired.compare_pairs([-0.3, -0.31, -0.29])
    assert [paired.verdict(up, way) for way in (1, -1, 0, None)] == [
        'better', 'worse', 'higher', 'higher',
    ]  # fmt: skip
    assert [paired.verdict(down, way) for way in (1, -1, 0, None)] == [
        'worse', 'better', 'lower', 'lower',
    ]  # fmt: skip
    unclear = paired.compare_pairs([0.3, -0.31, 0.29])
    shown = f'{unclear.detectable:.4f}'
    assert paired.verdict(unclear, 1) == (
        f'no effect shown; the bench would have shown {shown}'
    )
    same = paired.compare_pairs([0.0, 0.0])
    assert paired.verdict(same, 1).endswith('the same in every pair')


def test_equal_differences_have_no_width(paired):
    result = paired.compare_pairs([0.1, 0.1, 0.1])
    assert result.t_interval == (result.mean, result.mean)
    assert result.detectable == 0
    assert paired.verdict(result, 1) == 'better'


def test_one_pair_shows_nothing(paired):
    result = paired.compare_pairs([0.5])
    assert result.mean == 0.5
    assert np.isnan([*result.t_interval, *result.bootstrap_interval]).all()
    assert paired.verdict(result, 1) == 'one pair shows nothing'


@pytest.mark.parametrize('values', [[], [1.0, math.nan], [math.inf]])
def test_what_is_no_difference_is_refused(paired, values):
    with pytest.raises(ValueError, match='expected finite differences'):
        paired.compare_pairs(values)
