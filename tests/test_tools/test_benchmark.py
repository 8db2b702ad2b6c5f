"""The benchmark measures what it says it measures."""

import contextlib
import importlib
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from occsplat.structures import VoxelGrid

ROOT = Path(__file__).parents[2]
TOY = str(Path(__file__).with_name('toy_config.py'))


@pytest.fixture
def tool(monkeypatch):
    """A function from the name of a module in tools/ to the module."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    # processes of their own get this path too
    monkeypatch.syspath_prepend(str(ROOT / 'projects'))
    monkeypatch.syspath_prepend(str(Path(TOY).parent))
    return importlib.import_module


@pytest.fixture
def rows(tool):
    return tool('benchmarks.rows')


@pytest.fixture
def rasterizing(tool):
    return tool('benchmarks.rasterizing')


@pytest.fixture
def training(tool):
    return tool('benchmarks.training')


def test_figures_of_a_row(rows, rasterizing):
    row = rows.Row(
        'small',
        rasterizing.frustum_step,
        ('numba', 200, 3, 'U(0, 1)', 0.1),
        torch.get_num_threads(),
    )
    figures = rows.measure(row, 3)
    assert list(figures) == [
        'forward ms', 'backward ms', 'total ms', 'peak MB', 'of it rendering',
    ]  # fmt: skip
    assert 0 < figures['forward ms'] < figures['total ms']
    assert 100 < figures['peak MB'] < 100_000
    assert 0 <= figures['of it rendering'] < figures['peak MB']


def test_rows_run_in_processes_and_become_a_table(rows, rasterizing, capsys):
    threads = torch.get_num_threads()
    table = [
        rows.Row(
            f'{count} Gaussians',
            rasterizing.frustum_step,
            ('numba', count, 3, '1', 0.1),
            threads,
        )
        for count in (100, 200)
    ]
    rows.print_table(iter(table), 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('| | forward ms | backward ms | total ms |')
    assert [line.split(' | ')[0] for line in lines[2:]] == [
        '| 100 Gaussians', '| 200 Gaussians',
    ]  # fmt: skip
    assert len({line.count('|') for line in lines}) == 1


def test_the_scene_is_the_one_described(rasterizing):
    torch.manual_seed(0)
    gaussians, camera = rasterizing.frustum(5000, 18, '0.1', 704, 256)
    depth = gaussians['means'][:, 2]
    assert 5 <= float(depth.min()) < 10 < 49 < float(depth.max()) <= 50
    pixels = gaussians['means'] @ camera['Ks'][0].T
    pixels = pixels[:, :2] / depth[:, None]
    assert float(pixels.min()) >= 0
    assert pixels.max(0).values.tolist() == pytest.approx([704, 256], rel=0.02)
    assert gaussians['opacities'].unique().tolist() == pytest.approx([0.1])


def test_the_volume_is_seen_by_every_camera(rasterizing):
    torch.manual_seed(0)
    gaussians, labels = rasterizing.town_volume('trained')
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
    outputs = rasterizing.label_truth(
        there, labels[occupied], rasterizing.town_cameras()
    )()
    assert [tuple(out.alpha.shape) for out in outputs] == [
        (6, 64, 176), (1, 200, 200),
    ]  # fmt: skip
    for out in outputs:
        for alpha in out.alpha:
            assert float((alpha > 0.9).float().mean()) > 0.3


def test_labelled_pixels_lie_in_every_image(rasterizing):
    torch.manual_seed(0)
    cameras = rasterizing.town_rig(torch.eye(3), 1600, 900)
    pixels = rasterizing.scanned_pixels(cameras, 500)
    assert pixels[:, 0].bincount().tolist() == [500] * 6
    low, high = pixels.amin(0).tolist(), pixels.amax(0).tolist()
    assert min(low) >= 0 and high[1] < 900 and high[2] < 1600


def test_both_run_lengths_are_the_same(tool):
    module = tool('benchmarks.run_lengths')
    grid = VoxelGrid(range=(-8, -4, -1, 8, 4, 2), shape=(16, 8, 3))
    labels = module.town_labels(grid)
    assert labels.shape == grid.shape and len(labels.unique()) > 1
    times = module.measure_run_lengths(grid, 2, 3)
    assert len(times) == 3 and min(map(min, times)) > 0


def test_run_lengths_that_disagree_are_no_figures(tool, monkeypatch):
    module = tool('benchmarks.run_lengths')
    grid = VoxelGrid(range=(-8, -4, -1, 8, 4, 2), shape=(16, 8, 3))
    monkeypatch.setattr(
        module, 'by_slices', lambda x, s: module.run_lengths(x)
    )
    with pytest.raises(RuntimeError, match='disagree'):
        module.measure_run_lengths(grid, 2, 1)


def test_table_of_run_lengths(tool, monkeypatch, capsys):
    module = tool('benchmarks.run_lengths')
    calls = []

    def measured(function, *arguments):
        calls.append((function, *arguments))
        return [(30.0, 1.0), (40.0, 2.0), (90.0, 3.0)]

    monkeypatch.setattr(module, 'in_new_process', measured)
    tool('benchmark').main(['run_lengths', '--repeats', '3'])
    lines = capsys.readouterr().out.splitlines()
    assert '1 threads' in lines[0] and 'median of 3' in lines[0]
    assert lines[4:] == [
        '| 256x256x32, 4 | 40 | 2.0 | 30 (20 to 30) |',
        '| 256x256x32, 1 | 40 | 2.0 | 30 (20 to 30) |',
        '| 200x200x16, 2 | 40 | 2.0 | 30 (20 to 30) |',
    ]
    assert {call[0] for call in calls} == {module.measure_run_lengths}
    assert [call[2:] for call in calls] == [(4, 3), (1, 3), (2, 3)]


def toy_steps(training, steps, **options):
    # mmengine wants another experiment name for each run in a process
    name = f'toy_{time.perf_counter_ns()}'
    options = {'train_cfg.max_epochs': 50, 'experiment_name': name} | options
    return training.measure_training(TOY, options, 1, steps)


def test_phases_of_a_training_step(training, monkeypatch):
    """Each phase gets the time that is spent in it, on a made-up clock."""
    toy = importlib.import_module('toy')
    clock = [0.0]
    monkeypatch.setattr(training.StepClock, '_now', lambda self: clock[0])
    slow = dict(
        data=(toy.ToyDataset, '__getitem__', 1),  # two samples per batch
        forward=(toy.ToyModel, 'forward', 4),
        backward=(torch.Tensor, 'backward', 8),
        optimizer=(torch.optim.SGD, 'step', 16),
    )
    for owner, method, seconds in slow.values():
        original = getattr(owner, method)

        def delayed(*args, original=original, seconds=seconds, **kwargs):
            clock[0] += seconds
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, method, delayed)
    figures = toy_steps(training, 5)
    assert 100 < figures.pop('peak MB') < 100_000
    figures.pop('GPU MB', None)
    expected = {'data ms': 2e3, 'forward ms': 4e3, 'backward ms': 8e3}
    assert figures == expected | {'optimizer ms': 16e3, 'total ms': 30e3}


def test_real_steps_of_the_optimizer(training, monkeypatch):
    """On as many batches as were asked for, and no more."""
    toy = importlib.import_module('toy')
    weights = []
    original = toy.ToyModel.forward

    def spy(self, x, mode='tensor'):
        weights.append(self.layer.weight.item())
        assert mode == 'loss' and not self.warmup
        return original(self, x, mode=mode)

    monkeypatch.setattr(toy.ToyModel, 'forward', spy)
    toy_steps(training, 6)
    assert len(weights) == training.WARMUP_STEPS + 6
    assert len(set(weights)) == len(weights)


def test_a_run_that_is_too_short(training):
    with pytest.raises(ValueError, match='trains for 4 steps, expected'):
        toy_steps(training, 9, **{'train_cfg.max_epochs': 2})


def test_what_is_left_out_of_a_config(training):
    cfg = Config.fromfile(TOY, import_custom_modules=False)
    training.strip_config(cfg)
    assert cfg.val_cfg is cfg.test_dataloader is None
    assert cfg.default_hooks == dict(checkpoint=None)
    (hook,) = cfg.custom_hooks
    assert hook == dict(type='WarmupSwitchHook', switch_iter=0)
    assert cfg.train_dataloader.batch_size == 2


def test_configs_take_turns(training):
    calls = []

    def run(config):
        calls.append(config)
        return {'total ms': 1.0 * len(calls)}

    figures = training.run_rounds(['a.py', 'b.py'], 2, run)
    assert calls == ['a.py', 'b.py', 'a.py', 'b.py']
    assert figures == [
        [{'total ms': 1.0}, {'total ms': 3.0}],
        [{'total ms': 2.0}, {'total ms': 4.0}],
    ]


def test_relative_time_compares_within_rounds(training):
    """A round in which the machine was slow changes nothing."""
    baseline = [{'total ms': t} for t in (10.0, 100.0, 10.0)]
    method = [{'total ms': t} for t in (15.0, 150.0, 20.0)]
    text = training.relative_time(method, baseline)
    assert text == '1.50 (1.50 to 2.00)'


def test_table_of_training(tool, capsys):
    """From the command line to a process that starts another one."""
    arguments = ['--steps', '1', '--rounds', '1', '--threads', '1']
    arguments += ['--cfg-options', 'train_dataloader.num_workers=1']
    tool('benchmark').main(['train', TOY, *arguments])
    lines = capsys.readouterr().out.splitlines()
    assert '1 threads' in lines[0] and '1 rounds of 1 steps' in lines[0]
    assert lines[2].startswith('| config | data ms | forward ms |')
    assert len({line.count('|') for line in lines[2:]}) == 1
    (row,) = lines[4:]
    assert row.startswith('| toy_config | ')
    assert row.endswith(' | 1.00 (1.00 to 1.00) |')


def test_rows_beside_a_busy_process(tool, training, monkeypatch, capsys):
    busy = []
    original = training.busy_core

    @contextlib.contextmanager
    def spy():
        with original():
            busy.append(True)
            yield
            busy.pop()

    monkeypatch.setattr(training, 'busy_core', spy)
    monkeypatch.setattr(
        training,
        'in_new_process',
        lambda *_: {'total ms': 20.0 if busy else 10.0},
    )
    arguments = ['--rounds', '1', '--threads', '1', '--beside-busy']
    tool('benchmark').main(['train', TOY, *arguments])
    assert capsys.readouterr().out.splitlines()[4:] == [
        '| toy_config | 10 | 1.00 (1.00 to 1.00) |',
        '| toy_config, beside a busy process | 20 | 2.00 (2.00 to 2.00) |',
    ]


def test_the_neighbour_is_busy_and_leaves(training, monkeypatch):
    started = []
    original = training.subprocess.Popen

    def spy(*args, **kwargs):
        started.append(original(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(training.subprocess, 'Popen', spy)
    with pytest.raises(KeyboardInterrupt), training.busy_core():
        (neighbour,) = started
        assert neighbour.poll() is None
        time.sleep(0.5)
        ticks = Path(f'/proc/{neighbour.pid}/stat').read_text().split()[13]
        assert int(ticks) > 0
        raise KeyboardInterrupt
    assert neighbour.poll() is not None


def test_missing_data_name_the_command(tool, monkeypatch, tmp_path):
    config = ROOT / 'occupancy_configs/fbocc/fbocc-tiny_minitown.py'
    root = f'train_dataloader.dataset.data_root={tmp_path / "nothing"}'
    # in this process: one of its own takes seconds to start
    monkeypatch.setattr(
        tool('benchmarks.training'),
        'in_new_process',
        lambda function, *arguments: function(*arguments),
    )
    with pytest.raises(SystemExit, match=r'create_data\.py minitown'):
        tool('benchmark').main(
            ['train', str(config), '--cfg-options', root, '--threads', '1']
        )


@pytest.mark.parametrize(
    'arguments',
    [
        ['rasterize', '--repeats', '0'],
        ['rasterize', '--tables', 'x'],
        ['run_lengths', '--repeats', '0'],
        ['train'],
        ['train', TOY, '--steps', '0'],
    ],
)
def test_wrong_arguments(tool, arguments, capsys):
    with pytest.raises(SystemExit):
        tool('benchmark').main(arguments)
    assert 'error' in capsys.readouterr().err
