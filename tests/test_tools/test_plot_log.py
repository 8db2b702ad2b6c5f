"""Curves of runs: seeds, smoothing, keys and mistakes."""

import importlib
import json
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plot_log(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('plot_log')


@pytest.fixture
def logs(plot_log):
    return importlib.import_module('comparison.logs')


@pytest.fixture
def axes(plot_log, monkeypatch):
    """Panels that were drawn, in order."""
    drawn = []
    original = plot_log.draw_curves

    def draw(axes, *arguments):
        drawn.append(axes)
        original(axes, *arguments)

    monkeypatch.setattr(plot_log, 'draw_curves', draw)
    return drawn


@pytest.fixture
def work_dir(tmp_path):
    """A function that makes a run: losses every ten steps, and scores."""

    def make(name, losses, scores=(), **more):
        entries = [
            dict(loss=loss, iter=10 * n, step=10 * n, **more)
            for n, loss in enumerate(losses, 1)
        ]
        entries += [dict(RayIoU=s, step=n) for n, s in enumerate(scores, 1)]
        path = tmp_path / name / '20260101_000000' / 'vis_data'
        path.mkdir(parents=True)
        lines = ''.join(json.dumps(entry) + '\n' for entry in entries)
        (path / 'scalars.json').write_text(lines)
        return str(tmp_path / name)

    return make


def lines(axes):
    """x and y of each curve by its label."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.get_lines()
    }


def test_seeds_are_one_curve_with_a_band(plot_log, axes, work_dir, tmp_path):
    runs = [
        work_dir('host_seed0', [4.0, 2.0, 1.0], [0.25, 0.5]),
        work_dir('host_seed1', [2.0, 1.0], [0.75, 1.0]),
        'lonely=' + work_dir('splat', [3.0, 2.0], [0.5]),
    ]
    out = tmp_path / 'a.png'
    command = [*runs, '--keys', 'loss', 'RayIoU', '--out', str(out)]
    assert plot_log.main(command) == out
    losses, scores = axes
    assert lines(losses) == {
        'host, 2 runs': ([10, 20], [3.0, 1.5]),
        'lonely': ([10, 20], [3.0, 2.0]),
    }
    assert lines(scores) == {
        'host, 2 runs': ([1, 2], [0.5, 0.75]),
        'lonely': ([1], [0.5]),
    }
    band = losses.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1.0, 4.0)
    assert losses.get_xlabel() == 'training step'
    assert scores.get_ylabel() == 'RayIoU'
    # a single value is seen, too
    assert [line.get_marker() for line in scores.get_lines()] == ['None', '.']
    with Image.open(out) as image:
        assert image.size == (1200, 960)
    assert not list(tmp_path.glob('*.part'))


def test_a_moving_average_starts_at_the_first_value(logs):
    curve = {10: 4.0, 20: 2.0, 40: 1.0}
    # weights 1/2 for ten steps back, 1/4 for twenty
    second = (4.0 / 2 + 2.0) / (1 / 2 + 1)
    third = (4.0 / 8 + 2.0 / 4 + 1.0) / (1 / 8 + 1 / 4 + 1)
    found = logs.smoothed(curve, half_life=10)
    assert found == pytest.approx({10: 4.0, 20: second, 40: third})
    assert logs.smoothed(curve, 0) == curve
    constant = dict.fromkeys(range(1000, 5000, 50), 3.0)
    assert logs.smoothed(constant, 10) == pytest.approx(constant)


def test_only_the_training_is_smoothed(plot_log, axes, work_dir, tmp_path):
    run = work_dir('run', [4.0, 2.0], [0.0, 1.0])
    command = [run, '--keys', 'loss', 'RayIoU', '--smooth', '10', '--out']
    plot_log.main([*command, str(tmp_path / 'a.svg')])
    losses, scores = axes
    assert lines(losses)['run'][1] == pytest.approx([4.0, 8 / 3])
    assert losses.get_xlabel().endswith('half-life 10 steps)')
    assert lines(scores)['run'] == ([1, 2], [0.0, 1.0])
    assert scores.get_xlabel() == 'validation at'


def test_a_panel_has_the_runs_that_have_its_key(
    plot_log, axes, work_dir, tmp_path
):
    host = work_dir('host', [4.0, 2.0])
    splat = work_dir('splat', [4.0, 2.0], loss_splat=1.0)
    out = tmp_path / 'a.svg'
    keys = ['--keys', 'loss_splat', '--out', str(out)]
    plot_log.main([host, splat, *keys])
    assert list(lines(axes[0])) == ['splat']
    # the same runs, the same bytes
    before = out.read_bytes()
    plot_log.main([host, splat, *keys])
    assert out.read_bytes() == before


def test_mistakes_are_one_line(plot_log, work_dir, tmp_path):
    run = work_dir('run_seed0', [4.0], [0.5], loss_flow=1.0)
    other = work_dir('run_seed1', [])
    (tmp_path / 'empty').mkdir()

    def error(*arguments, out='a.png'):
        with pytest.raises(SystemExit) as caught:
            plot_log.main([*arguments, '--out', str(tmp_path / out)])
        assert not (tmp_path / out).exists()
        return caught.value.code

    text = "error: no run has logged 'los', expected one of loss, loss_flow; "
    assert error(run, '--keys', 'los') == f'{text}RayIoU, or of a class'
    assert 'a.jpeg: expected a name that ends in' in error(run, out='a.jpeg')
    assert 'empty has no */vis_data/scalars' in error(str(tmp_path / 'empty'))
    assert 'named twice' in error(run, f'again={run}')
    assert 'run_seed1 has no */vis_data' in error(run, other)
    late = work_dir('run_seed2', [])
    path = next(Path(late).glob('*/vis_data/scalars.json'))
    path.write_text('{"loss": 1.0, "iter": 15, "step": 15}\n')
    assert "run: its 2 runs have logged 'loss' at no" in error(run, late)
