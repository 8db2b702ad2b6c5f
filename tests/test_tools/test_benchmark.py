"""The benchmark measures what it says it measures."""

import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('benchmark')


def test_figures_of_a_row(benchmark):
    row = benchmark.Row(
        'small',
        benchmark.frustum_step,
        ('numba', 200, 3, 'U(0, 1)', 0.1),
        torch.get_num_threads(),
    )
    figures = benchmark._measure(row, 3)
    assert list(figures) == [
        'forward ms', 'backward ms', 'total ms', 'peak MB', 'of it rendering',
    ]  # fmt: skip
    assert 0 < figures['forward ms'] < figures['total ms']
    assert 100 < figures['peak MB'] < 100_000
    assert 0 <= figures['of it rendering'] < figures['peak MB']


def test_rows_run_in_processes_and_become_a_table(benchmark, capsys):
    threads = torch.get_num_threads()
    rows = [
        benchmark.Row(
            f'{count} Gaussians',
            benchmark.frustum_step,
            ('numba', count, 3, '1', 0.1),
            threads,
        )
        for count in (100, 200)
    ]
    benchmark.print_table(iter(rows), 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('| | forward ms | backward ms | total ms |')
    assert [line.split(' | ')[0] for line in lines[2:]] == [
        '| 100 Gaussians', '| 200 Gaussians',
    ]  # fmt: skip
    assert len({line.count('|') for line in lines}) == 1


def test_the_scene_is_the_one_described(benchmark):
    torch.manual_seed(0)
    gaussians, camera = benchmark.frustum(5000, 18, '0.1', 704, 256)
    depth = gaussians['means'][:, 2]
    assert 5 <= float(depth.min()) < 10 < 49 < float(depth.max()) <= 50
    pixels = gaussians['means'] @ camera['Ks'][0].T
    pixels = pixels[:, :2] / depth[:, None]
    assert float(pixels.min()) >= 0
    assert pixels.max(0).values.tolist() == pytest.approx([704, 256], rel=0.02)
    assert gaussians['opacities'].unique().tolist() == pytest.approx([0.1])


def test_the_volume_is_seen_by_every_camera(benchmark):
    torch.manual_seed(0)
    gaussians, labels = benchmark.town_volume('trained')
    assert len(labels) == 200 * 200 * 16
    occupied = labels >= 0
    assert 0.1 < float(occupied.float().mean()) < 0.4
    assert float(gaussians['opacities'][occupied].min()) >= 0.7
    assert float((gaussians['opacities'][~occupied] > 0).float().mean()) == (
        pytest.approx(0.04, abs=0.002)
    )
    there = {
        name: gaussians[name][occupied] for name in ('means', 'scales')
    } | dict(opacities=torch.ones(int(occupied.sum())))
    outputs = benchmark.label_truth(
        there, labels[occupied], benchmark.town_cameras()
    )()
    assert [tuple(out.alpha.shape) for out in outputs] == [
        (6, 64, 176), (1, 200, 200),
    ]  # fmt: skip
    for out in outputs:
        for alpha in out.alpha:
            assert float((alpha > 0.9).float().mean()) > 0.3


@pytest.mark.parametrize('arguments', [['--repeats', '0'], ['--tables', 'x']])
def test_wrong_arguments(benchmark, arguments, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(['rasterize', *arguments])
    assert 'error' in capsys.readouterr().err
