"""The doctors print what they find, and their status says whether it stops
a training."""

import importlib
import shutil
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import torch

from occsplat.structures import Finding, MissingPackageError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'occupancy_configs'
Usage = namedtuple('Usage', 'total used free')


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('doctor')


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('doctors.environment')


def test_this_machine_is_told(tool, capsys):
    status = tool.main(['env'])
    out = capsys.readouterr().out
    assert status == ('problem' in out)
    assert f'ok       torch: {metadata.version("torch")}' in out
    for name in ('import occsplat.plugin', 'threads', 'disk', 'gsplat'):
        assert f' {name}: ' in out


def test_a_problem_is_the_exit_status(tool, monkeypatch, capsys):
    doctors = importlib.import_module('doctors.environment')
    problem = Finding('problem', 'disk', 'full')
    monkeypatch.setattr(doctors, 'disk', lambda folder: problem)
    assert tool.main(['env']) == 1
    assert 'problem  disk: full\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    'free, level', [(5e8, 'problem'), (5e9, 'note'), (5e10, 'ok')]
)
def test_disk(machine, monkeypatch, tmp_path, free, level):
    usage = Usage(1e12, 1e12 - free, free)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    assert machine.disk(tmp_path).level == level


def test_shared_memory_of_a_container(machine, monkeypatch):
    monkeypatch.setattr(machine, 'SHARED_MEMORY', Path('/'))
    for size, level in ((64 * 2**20, 'problem'), (8 * 2**30, 'ok')):
        usage = Usage(size, 0, size)
        monkeypatch.setattr(shutil, 'disk_usage', lambda path, u=usage: u)
        assert machine.shared_memory().level == level
    monkeypatch.setattr(machine, 'SHARED_MEMORY', Path('/nowhere'))
    assert machine.shared_memory().level == 'note'


@pytest.mark.parametrize(
    'report, name',
    [
        ('torch 2.3.1', 'torch'),
        ('mmcv-lite 2.2.0', 'mmcv-lite'),
        ('mmdet3d not installed', 'mmdet3d'),
    ],
)
def test_packages_that_do_not_fit(machine, monkeypatch, report, name):
    monkeypatch.setattr(machine, 'version_report', lambda: report)
    (finding,) = machine.packages()
    assert (finding.level, finding.name) == ('problem', name)


def test_packages_that_cannot_be_imported(machine, monkeypatch):
    def broken(name):
        raise AssertionError('MMCV==2.2.0 is used\nbut incompatible')

    monkeypatch.setattr(machine.importlib, 'import_module', broken)
    finding = machine.imports()
    assert finding.level == 'problem'
    assert 'MMCV==2.2.0 is used but incompatible' in finding.text


def test_kernels_without_numba(machine, monkeypatch):
    def missing(name):
        raise MissingPackageError('need numba')

    monkeypatch.setattr(machine.importlib, 'import_module', missing)
    for gpu, level in ((False, 'problem'), (True, 'note')):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda g=gpu: g)
        assert machine.kernels().level == level


def test_gpus(machine, monkeypatch):
    cuda = torch.cuda
    monkeypatch.setattr(cuda, 'is_available', lambda: False)
    for path, level in ((None, 'note'), ('/usr/bin/nvidia-smi', 'problem')):
        monkeypatch.setattr(shutil, 'which', lambda name, p=path: p)
        (finding,) = machine.gpus()
        assert finding.level == level
    monkeypatch.setattr(cuda, 'is_available', lambda: True)
    monkeypatch.setattr(cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(cuda, 'get_device_name', lambda n: f'Card {n}')
    monkeypatch.setattr(
        cuda, 'mem_get_info', lambda n: (60e9 if n else 6e9, 80e9)
    )
    little, enough = machine.gpus()
    assert (little.level, enough.level) == ('note', 'ok')
    assert 'Card 1, 60.0 of 80.0 GB free' in enough.text


def test_gsplat(machine, monkeypatch):
    found = {'gsplat': '1.4.0'}

    def version(name):
        if name not in found:
            raise machine.metadata.PackageNotFoundError(name)
        return found[name]

    def unsupported():
        raise ValueError('gsplat 1.4.0 is not supported')

    monkeypatch.setattr(machine.metadata, 'version', version)
    backend = machine.gsplat_backend
    monkeypatch.setattr(backend, 'installed_version', unsupported)
    for gpu, level in ((False, 'note'), (True, 'problem')):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda g=gpu: g)
        finding = machine.gsplat()
        assert finding.level == level and 'not supported' in finding.text
    found.clear()
    assert 'pip install' in machine.gsplat().text
    found['gsplat'] = '1.5.3'
    monkeypatch.setattr(backend, 'installed_version', lambda: '1.5.3')
    monkeypatch.setattr(shutil, 'which', lambda name: '/usr/bin/nvcc')
    assert machine.gsplat().level == 'ok'


def test_threads(machine, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '64')
    monkeypatch.setattr(machine, 'default_threads', lambda: 64)
    finding = machine.threads()
    assert finding.level == 'note' and 'OMP_NUM_THREADS=64' in finding.text
    monkeypatch.delenv('OMP_NUM_THREADS')
    monkeypatch.setattr(machine, 'default_threads', lambda: 1)
    assert machine.threads().level == 'ok'


@pytest.fixture
def few_configs(tool, tmp_path, monkeypatch):
    """A folder with some of the configs: all of them take a while."""
    folder = tmp_path / 'configs'
    for name in (
        'fbocc/fbocc-tiny_minitown',
        'voxelsplat/voxelsplat_fbocc-tiny_minitown',
        'gsrender/gsrender-1f_bevstereo-tiny_minitown',
    ):
        path = folder / f'{name}.py'
        path.parent.mkdir(parents=True)
        path.symlink_to(CONFIGS / f'{name}.py')
    (folder / '_base_').symlink_to(CONFIGS / '_base_')
    monkeypatch.setattr(tool, 'CONFIGS', folder)


def test_a_whole_data_set_is_enough_for_all(
    tool, few_configs, minitown_lidar2d, capsys
):
    assert tool.main(['data', str(minitown_lidar2d), '--frames', '2']) == 0
    out, table = capsys.readouterr().out.split('Configs, by what they read:')
    assert 'ok       LIDAR_TOP: 8 of 8 files' in out
    assert 'labels under points, SurroundOcc labels: ' in out
    assert 'problem' not in out
    assert table.split('\n\n')[1].splitlines() == [
        'yes',
        '    train: images, OpenOcc labels; score: images, OpenOcc labels',
        '    fbocc (1), voxelsplat (1), such as fbocc-tiny_minitown',
        'yes',
        '    train: images, 2D labels; score: images, Occ3D labels',
        '    gsrender (1), such as gsrender-1f_bevstereo-tiny_minitown',
    ]


def test_a_missing_label_stops_those_that_read_it(
    tool, few_configs, minitown_lidar2d, tmp_path, capsys
):
    root = tmp_path / 'town'
    shutil.copytree(minitown_lidar2d, root)
    next((root / 'openocc_v2').rglob('*.npz')).unlink()
    assert tool.main(['data', str(root), '--frames', '1']) == 1
    out, table = capsys.readouterr().out.split('Configs, by what they read:')
    assert 'problem  ' in out and ' OpenOcc labels: 3 of 4 files' in out
    first, *_, third = table.split('\n\n')[1].splitlines()[::3]
    assert first.startswith('no, there are not all OpenOcc labels of ')
    assert third == 'yes'


def test_a_root_that_is_not_there_is_one_line(tool, tmp_path):
    with pytest.raises(SystemExit, match='data root .* does not exist'):
        tool.main(['data', str(tmp_path / 'nowhere')])


def test_a_config_is_told_in_all(tool, capsys):
    path = CONFIGS / 'voxelsplat' / 'voxelsplat_fbocc-tiny_minitown.py'
    assert tool.main(['config', str(path)]) == 0
    out = capsys.readouterr().out
    whole, rest = out.split('Baseline: ')
    assert "type='VoxelSplatHead'" in whole and 'train_cfg' in whole
    assert rest.startswith('occupancy_configs/fbocc/fbocc-tiny_minitown.py')
    assert 'render_heads.VoxelSplatHead.num_samples: (none) -> 12000' in rest
    assert 'volume_encoder' in rest and '1,127,904 (1,127,904)' in rest
    assert (
        'train: images, OpenOcc labels; occsplat_infos_train.pkl in '
        'data/minitown/'
    ) in rest


def test_another_baseline_may_be_named(tool, capsys):
    folder = CONFIGS / 'fbocc'
    arguments = ['config', str(folder / 'fbocc-tiny_minitown.py')]
    assert tool.main(arguments) == 0
    assert 'Baseline: none; name one' in capsys.readouterr().out
    other = folder / 'fbocc-tiny_minitown-surroundocc.py'
    assert tool.main([*arguments, '--baseline', str(other)]) == 0
    out = capsys.readouterr().out
    assert "labels.label_spec: 'surroundocc' -> 'openocc'" in out


@pytest.mark.parametrize(
    'option, text',
    [
        ('model.occ_hed.x=1', 'occ_hed'),
        ('train_cfg.max_epoch=1', "did you mean 'max_epochs'"),
        ('val_evaluator.0.label_spec=occ3d', 'class ids differ'),
    ],
)
def test_a_mistake_in_a_config_is_one_line(tool, option, text):
    path = str(CONFIGS / 'fbocc' / 'fbocc-tiny_minitown.py')
    with pytest.raises(SystemExit) as stop:
        tool.main(['config', path, '--cfg-options', option])
    message = str(stop.value)
    assert message.startswith('error: ') and text in message
    assert '\n' not in message
