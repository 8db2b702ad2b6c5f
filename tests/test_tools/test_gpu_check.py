"""The GPU check, as far as there is no GPU."""

import importlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_in_gsplat import stand_in_gsplat

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'tools' / 'gpu_check.sh'
# hides numba from every process of the check
HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('numba', 'llvmlite'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def tool(monkeypatch):
    """The module, as the script runs it."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('gpu_check')


@pytest.fixture
def bench(tool, tmp_path):
    return tool.make_bench(True, tmp_path)


@pytest.mark.slow
def test_a_dry_run_without_numba(tmp_path):
    """Everything there is, small."""
    (tmp_path / 'sitecustomize.py').write_text(HIDE)
    out = tmp_path / 'out'
    done = subprocess.run(
        ['bash', SCRIPT, '--dry', '--out', out],
        env={
            **os.environ,
            'PYTHON': sys.executable,
            'PYTHONPATH': str(tmp_path),
            'OMP_NUM_THREADS': '1',
        },
        capture_output=True,
        text=True,
        timeout=1200,
    )
    report = (out / 'report.md').read_text()
    assert done.returncode == 0, done.stdout + done.stderr + report
    assert 'FAILED' not in report and 'Traceback' not in report
    assert 'GPU none' in report and 'numba' in report
    for text in (
        'test_live_gsplat[pinhole-k1-gsplat-cuda]',
        '| pinhole-k1 | torch |',
        '| voxelsplat_fbocc-tiny_minitown | loss_voxelsplat_depth |',
        '| voxelsplat_fbocc-tiny_minitown | fp32 |',
        '| voxdet_fbocc-tiny_minitown | amp |',
        '| voxelsplat_fbocc-tiny_minitown | VoxelSplatHead |',
        '| voxdet_fbocc-tiny_minitown | OffsetHead |',
    ):
        assert text in report, text
    for name in ('pinhole-k1', 'pinhole-k3-background'):
        with np.load(out / 'golden' / f'{name}.npz') as golden:
            assert golden['image_alpha'].max() > 0.5
    assert not list(out.rglob('*.part'))


def test_a_failing_part_stops_no_other(tool, tmp_path):
    report = tool.Report(tmp_path / 'new' / 'report.md', 'Title')

    def broken():
        raise ZeroDivisionError('by hand')

    def partly():
        raise tool.gpu.PartError('| what | there is |')

    report.run('First', broken)
    # whole already: whatever comes may take the process along
    assert 'ZeroDivisionError: by hand' in report.path.read_text()
    report.run('Second', partly)
    report.run('Third', lambda: 'all is well')
    text = report.path.read_text()
    assert report.failed == ['First', 'Second']
    assert '| Second | FAILED |' in text and '| Third | passed |' in text
    assert '\n| what | there is |\n' in text and 'all is well' in text


def test_the_status_says_whether_all_is_well(tool, tmp_path, monkeypatch):
    parts = ('run_tests', 'make_data', 'images', 'one_call', 'networks')
    for name in (*parts, 'both_devices', 'heads', 'environment'):
        monkeypatch.setattr(tool, name, lambda *_: 'fine')
    arguments = ['--dry', '--out', str(tmp_path)]
    assert tool.main(arguments) == 0

    def broken(*_):
        raise RuntimeError('no such kernel')

    monkeypatch.setattr(tool, 'one_call', broken)
    assert tool.main(arguments) == 1
    text = (tmp_path / 'report.md').read_text()
    assert 'no such kernel' in text and '| Heads | passed |' in text


def test_configs_fail_one_by_one_and_time_is_limited(tool):
    def measure(path):
        if path.stem == 'b':
            raise ValueError('too wide')
        return [[path.stem, 1.0]]

    paths = [Path(f'{name}.py') for name in 'abc']
    late = time.monotonic() + 100
    with pytest.raises(tool.gpu.PartError) as caught:
        tool.each(paths, measure, ('config', 'ms'), late)
    text = str(caught.value)
    assert '| a | 1 |' in text and '| c | 1 |' in text
    assert 'ValueError: too wide' in text
    with pytest.raises(tool.gpu.PartError, match='the time is over'):
        tool.each(paths[:1], measure, ('config', 'ms'), time.monotonic() - 1)
    assert '| a | 1 |' in tool.each(paths[:1], measure, ('c', 'ms'), late)


def test_every_resnet_config_is_measured(tool):
    found = {path.stem for path in tool.gpu.resnet_configs(ROOT)}
    named = {
        path.stem
        for path in (ROOT / 'occupancy_configs').rglob('*.py')
        if re.search('-r(50|101)_', path.stem) and '_base_' not in path.parts
    }
    assert found == named and len(found) >= 25


@pytest.mark.parametrize(
    'name, change',
    [('image_depth', 1.01), ('image_alpha', 0.9), ('grad_means', 1.01)],
)
def test_what_differs_from_gsplat_is_found(
    tool, bench, tmp_path, monkeypatch, name, change
):
    original = tool.maker.render

    def changed(*arguments):
        golden = original(*arguments)
        golden[name] = golden[name] * np.float32(change)
        return golden

    scenes = ['pinhole-k3-background']
    fine = tool.gpu.compare_images(bench, tool.maker, scenes, tmp_path)
    assert '| pinhole-k3-background | torch | 0 |' in fine
    monkeypatch.setattr(tool.maker, 'render', changed)
    with pytest.raises(tool.gpu.PartError, match='pinhole-k3-background'):
        tool.gpu.compare_images(bench, tool.maker, scenes, tmp_path)


@pytest.fixture
def two_devices(tool, bench, monkeypatch):
    """A network with chance in it, in the place of a config's."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(8))
            self.dropout = torch.nn.Dropout()
            self.scale = [1.0, 1.0]

        def __deepcopy__(self, memo):
            # what a device makes of the same network
            copied = Net()
            copied.scale = [self.scale.pop(0)]
            copied.dropout.p = self.dropout.p
            return copied

        def data_preprocessor(self, data, training):
            return dict(x=data)

        def forward(self, x, mode):
            weight = self.dropout(self.weight)
            drawn = torch.multinomial(torch.ones(8), 2)
            weight = (weight * torch.rand_like(x))[drawn]
            return dict(loss_a=self.scale[0] * weight.sum())

        def parse_losses(self, losses):
            return losses['loss_a'], losses

    net = Net()
    monkeypatch.setattr(
        tool.devices,
        'prepare',
        lambda *_: (None, net, dict(train=torch.ones(8))),
    )
    return net


def test_both_devices_draw_the_same(tool, bench, two_devices):
    before = torch.rand_like, torch.multinomial
    rows = tool.devices.compare_devices(bench, Path('a.py'))
    assert [row[-1] for row in rows] == [0, 0] and rows[0][2] != 0
    assert (torch.rand_like, torch.multinomial) == before


def test_a_device_that_computes_something_else_is_found(
    tool, bench, two_devices
):
    two_devices.scale = [1.0, 1.05]
    with pytest.raises(tool.gpu.PartError, match='differ: loss_a, gradients'):
        tool.devices.compare_devices(bench, Path('a.py'))


def test_the_released_call_is_what_it_says(tool, bench):
    calls = []
    size = dict(count=50, views=36, width=12, height=8)
    wide = tool.gpu.Bench(
        'cpu',
        lambda: stand_in_gsplat('1.5.3', calls),
        bench.root,
        tool.gpu.RELEASED | size,
    )
    forward, both, memory = tool.gpu.released_call(wide)
    assert 0 < forward < both and memory > 100
    assert {(c['channels'], c['packed'], c['mode']) for c in calls} == {
        (18, True, 'RGB+D')
    }
    assert tool.gpu.RELEASED['views'] == 36


def test_its_cameras_see_what_it_draws(tool, bench, monkeypatch):
    """Forward is ahead, up is up: the floor fills the lower half."""
    seen = []
    stand_in = bench.gsplat()

    def spy(**arguments):
        seen.append(arguments)
        return stand_in.rasterization(**arguments)

    spying = type(sys)('gsplat')
    spying.rasterization = spy
    size = dict(count=10, views=6, width=40, height=24)
    tool.gpu.released_call(
        tool.gpu.Bench(
            'cpu', lambda: spying, bench.root, tool.gpu.RELEASED | size
        )
    )
    views, K = seen[0]['viewmats'], seen[0]['Ks'][0]
    place = torch.tensor([-8.0, 0, 1.5])
    for n, view in enumerate(views):
        angle = torch.tensor(n * torch.pi / 3)
        ahead = torch.stack((angle.cos(), angle.sin(), torch.zeros(())))
        below = torch.tensor([0, 0, -1.0])
        point = view[:3, :3] @ (place + 10 * ahead + below) + view[:3, 3]
        u, v, depth = (K @ point / 1).tolist()
        assert depth == pytest.approx(10, abs=1e-4)
        assert u / depth == pytest.approx(20, abs=1e-3) and v / depth > 12


def test_without_a_gpu_one_line(tool, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match='--dry'):
        tool.main([])


@pytest.mark.parametrize('given', [True, False])
def test_the_script_runs_with_any_python(tmp_path, given):
    """PYTHON where it is given, python3 where no environment is."""
    repo = tmp_path / 'repo' / 'tools'
    repo.mkdir(parents=True)
    for name in ('env.sh', 'gpu_check.sh'):
        (repo / name).write_bytes((ROOT / 'tools' / name).read_bytes())
    fake = tmp_path / 'bin' / ('own' if given else 'python3')
    fake.parent.mkdir()
    fake.write_text('#!/bin/bash\nprintf "%s|" "$0" "$@"\n')
    fake.chmod(0o755)
    variables = {'PATH': f'{fake.parent}:/usr/bin:/bin', 'HOME': '/nowhere'}
    if given:
        variables['PYTHON'] = str(fake)
    done = subprocess.run(
        ['bash', repo / 'gpu_check.sh', '--out', 'a b', '--dry'],
        env=variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split('|')[:-1] == [
        str(fake), str(repo / 'gpu_check.py'), '--out', 'a b', '--dry',
    ]  # fmt: skip
