"""train.py and test.py, mostly in this process, on a toy config."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from occsplat.engine import read_weights, write_safetensors

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CONFIG = str(HERE / 'toy_config.py')


@pytest.fixture(scope='module')
def tools():
    """The modules train and test of tools/."""
    added = [str(ROOT / 'tools'), str(HERE)]
    sys.path[:0] = added
    stdlib_test = sys.modules.pop('test', None)
    import test as test_tool
    import train as train_tool

    yield train_tool, test_tool
    for path in added:
        sys.path.remove(path)
    sys.modules.pop('test')
    if stdlib_test is not None:
        sys.modules['test'] = stdlib_test


def name(tmp_path, step):
    """mmengine wants another experiment name for each run in a process."""
    return f'experiment_name={tmp_path.name}_{step}'


@pytest.fixture
def trained(tools, tmp_path):
    """The work dir of a run of two epochs."""
    work_dir = tmp_path / 'run'
    options = ['--cfg-options', name(tmp_path, 'trained')]
    tools[0].main([CONFIG, '--work-dir', str(work_dir), *options])
    return work_dir


def test_train_resume_and_test(tools, trained, tmp_path, capsys):
    train, test = tools
    first = torch.load(trained / 'epoch_2.pth', weights_only=False)
    assert first['meta']['iter'] == 4
    train.main(
        [CONFIG, '--work-dir', str(trained), '--resume', '--cfg-options']
        + ['train_cfg.max_epochs=3', name(tmp_path, 'resumed')]
    )
    third = torch.load(trained / 'epoch_3.pth', weights_only=False)
    assert third['meta']['iter'] == 6

    metrics = test.main(
        [CONFIG, str(trained / 'epoch_3.pth'), '--work-dir', str(trained)]
        + ['--cfg-options', name(tmp_path, 'tested')]
    )
    assert metrics['frames'] == 4
    written = json.loads((trained / 'metrics.json').read_text())
    assert written['checkpoint'].endswith('epoch_3.pth')
    assert written['metrics']['error'] == pytest.approx(metrics['error'])
    assert written['metrics']['undefined'] is None
    assert 'metrics.json' in capsys.readouterr().out
    assert not list(trained.glob('*.part'))
    # the checkpoint's weights were used, not random ones
    weight = third['state_dict']['layer.weight'].item()
    bias = third['state_dict']['layer.bias'].item()
    expected = sum(abs((weight - 2) * x + bias) for x in range(4)) / 4
    assert metrics['error'] == pytest.approx(expected, rel=1e-5)


def test_finished_run_is_not_trained_again(tools, trained, tmp_path):
    before = (trained / 'epoch_2.pth').read_bytes()
    tools[0].main(
        [CONFIG, '--work-dir', str(trained), '--resume', '--cfg-options']
        + [name(tmp_path, 'again')]
    )
    assert (trained / 'epoch_2.pth').read_bytes() == before


def test_resume_of_nothing_starts_afresh(tools, tmp_path, capsys):
    cfg = Config(dict(work_dir=str(tmp_path)))
    tools[0].set_resume(cfg, 'auto')
    assert 'starting afresh' in capsys.readouterr().out
    assert 'load_from' not in cfg and 'resume' not in cfg


def test_resume_needs_the_state_of_the_optimizer(tools, tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'weights.pth')
    with pytest.raises(SystemExit, match='no state of the optimizer'):
        tools[0].main([CONFIG, '--resume', str(tmp_path / 'weights.pth')])


def test_safetensors_are_a_checkpoint_like_others(tools, trained, tmp_path):
    train, test = tools
    checkpoint = trained / 'epoch_2.pth'
    weights = read_weights(checkpoint)['state_dict']
    path = tmp_path / 'a.safetensors'
    write_safetensors(path, weights, {})
    place = ['--work-dir', str(tmp_path / 'other'), '--cfg-options']
    with pytest.raises(SystemExit, match=r'a\.safetensors has weights alone'):
        train.main([CONFIG, '--resume', str(path)])
    of_it, of_both = (
        test.main([CONFIG, str(p), *place, name(tmp_path, p.suffix)])
        for p in (path, checkpoint)
    )
    assert of_it['error'] == of_both['error']
    # from there on; a step of nothing leaves the weights
    options = [f'load_from={path}', 'optim_wrapper.optimizer.lr=0.0']
    train.main([CONFIG, *place, *options, name(tmp_path, 'from')])
    after = read_weights(tmp_path / 'other' / 'epoch_2.pth')['state_dict']
    assert all(torch.equal(after[key], weights[key]) for key in weights)


class MakeFolder:
    """Unpickled by an unsafe loader, makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_option_runs_what_is_in_a_checkpoint(tools, tmp_path):
    path, ran = tmp_path / 'weights.pth', tmp_path / 'ran'
    torch.save(dict(state_dict={}, meta=MakeFolder(ran)), path)
    place = ['--work-dir', str(tmp_path / 'run'), '--cfg-options']
    place.append(name(tmp_path, 'unsafe'))
    url = f'file://{path}'
    for tool, arguments, message in (
        (tools[0], [*place, f'load_from={path}'], "mkdir at .'meta'"),
        (tools[0], [*place, f'load_from={url}'], 'cannot be fetched from'),
        (tools[0], ['--resume', str(path), *place], "mkdir at .'meta'"),
        (tools[1], [str(path), *place], "mkdir at .'meta'"),
    ):
        with pytest.raises(SystemExit, match=message) as caught:
            tool.main([CONFIG, *arguments])
        assert str(caught.value).startswith('error: checkpoint ')
        place[-1] += '_'
    assert not ran.exists()


def test_wrong_checkpoint_is_refused(tools, trained, tmp_path):
    with pytest.raises(SystemExit, match='2 of another shape'):
        tools[1].main(
            [CONFIG, str(trained / 'epoch_2.pth')]
            + ['--work-dir', str(tmp_path / 'other')]
            + ['--cfg-options', 'model.width=3', name(tmp_path, 'wrong')]
        )
    assert not (tmp_path / 'other' / 'metrics.json').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere.py'], 'nowhere.py does not exist'),
        ([CONFIG, '--cfg-options', 'model.widths=2'], "did you mean 'width'"),
        ([CONFIG, '--launcher', 'slurm'], 'needs a GPU'),
        ([CONFIG, '--launcher', 'pytorch'], r'dist_train\.sh'),
        ([CONFIG, '--amp'], '--amp needs a GPU'),
        ([CONFIG, '--resume', 'gone.pth'], 'gone.pth does not exist'),
    ],
)
def test_mistakes_end_in_one_message(
    tools, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for key in ('RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(key, raising=False)
    work_dir = ['--work-dir', str(tmp_path / 'run')]
    with pytest.raises(SystemExit, match=message) as caught:
        tools[0].main([arguments[0], *work_dir, *arguments[1:]])
    assert str(caught.value).startswith('error: ')
    assert not (tmp_path / 'run').exists()


def test_missing_data_names_the_command(tools, tmp_path):
    config = (
        ROOT / 'occupancy_configs/voxelsplat/voxelsplat_fbocc-tiny_minitown.py'
    )
    root = str(tmp_path / 'nothing')
    with pytest.raises(SystemExit, match=r'create_data\.py minitown'):
        tools[0].main(
            [str(config), '--work-dir', str(tmp_path / 'run')]
            + ['--cfg-options', f'train_dataloader.dataset.data_root={root}']
            + [name(tmp_path, 'data'), 'log_level=ERROR']
        )


@pytest.mark.parametrize(
    ('given', 'configured', 'expected'),
    [
        ('here', 'there', 'here'),
        (None, 'there', 'there'),
        (None, None, 'work_dirs/some_name'),
    ],
)
def test_work_dir(tools, given, configured, expected):
    cfg = Config(dict(work_dir=configured))
    tools[0].set_work_dir(cfg, given, 'configs/some_name.py')
    assert cfg.work_dir == expected


@pytest.mark.parametrize('flag', ['--local_rank', '--local-rank'])
def test_both_spellings_of_local_rank(tools, flag):
    assert tools[0].make_parser().parse_args(['c', flag, '3']).local_rank == 3
    arguments = ['c', 'k', flag + '=2']
    assert tools[1].make_parser().parse_args(arguments).local_rank == 2


def test_auto_scale_lr(tools):
    cfg = Config.fromfile(CONFIG, import_custom_modules=False)
    tools[0].set_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable
    with pytest.raises(ValueError, match='base_batch_size'):
        tools[0].set_auto_scale_lr(Config(dict()))


@pytest.mark.slow
def test_dist_train_and_test_on_the_cpu(tmp_path):
    """Through the shell scripts, from another folder, with a path that
    has a space in it.

    Trained by two processes and tested by one: that a run of one trains and
    several test alike is shown in tests/test_engine, without the seconds in
    which each process imports.
    """
    work_dir = tmp_path / 'a run'
    env = dict(
        os.environ,
        PYTHONPATH=str(HERE),
        CUDA_VISIBLE_DEVICES='',
        OMP_NUM_THREADS='1',
        VIRTUAL_ENV=sys.prefix,
    )
    env.pop('PORT', None)

    def run(*command):
        done = subprocess.run(
            ['bash', *map(str, command)],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    common = ('--work-dir', work_dir)
    train = ROOT / 'tools' / 'dist_train.sh'
    run(train, CONFIG, 2, *common)
    checkpoint = work_dir / 'epoch_2.pth'
    loaded = torch.load(checkpoint, weights_only=False)
    # 4 samples, 2 per step and process, 2 epochs
    assert loaded['meta']['iter'] == 2
    test = ROOT / 'tools' / 'dist_test.sh'
    run(test, CONFIG, checkpoint, 1, *common)
    written = json.loads((work_dir / 'metrics.json').read_text())
    assert written['metrics']['frames'] == 4
