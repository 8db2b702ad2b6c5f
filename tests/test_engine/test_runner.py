"""A kill while saving leaves the last whole checkpoint, and no other.

Guards: mmengine writes a checkpoint under its final name, so that a kill
leaves half a file where --resume looks.
"""

import os

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import checkpoint as mm_checkpoint
from torch import nn

from occsplat.engine import (
    CheckpointError,
    OccRunner,
    latest_checkpoint,
    read_checkpoint,
)


class Line(BaseModel):
    """Learns y = 2 x; remembers in which stage each iteration was."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.warmup = None
        self.stages = []

    def set_warmup(self, warmup):
        self.warmup = warmup

    def forward(self, x, mode='tensor'):
        x = torch.stack(x)
        self.stages.append(self.warmup)
        return dict(loss=(self.layer(x) - 2 * x).square().mean())


@pytest.fixture
def make_runner(tmp_path):
    count = iter(range(100))

    def make(epochs=2, hooks=(), model=None, **more):
        torch.manual_seed(0)
        settings = dict(
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            default_hooks=dict(
                logger=None,
                checkpoint=dict(type='CheckpointHook', interval=1),
            ),
        )
        data = [dict(x=torch.tensor([float(i)])) for i in range(3)]
        return OccRunner(
            model or Line(),
            work_dir=str(tmp_path),
            train_dataloader=dict(
                dataset=data,
                batch_size=1,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            custom_hooks=list(hooks),
            default_scope='mmdet3d',
            log_level='ERROR',
            experiment_name=f'{tmp_path.name}_{next(count)}',
            **{**settings, **more},
        )

    return make


def test_checkpoints_carry_their_final_names_only(make_runner, tmp_path):
    make_runner(epochs=2).train()
    names = sorted(path.name for path in tmp_path.glob('*.pth*'))
    assert names == ['epoch_1.pth', 'epoch_2.pth']
    assert latest_checkpoint(tmp_path).name == 'epoch_2.pth'
    assert read_checkpoint(tmp_path / 'epoch_2.pth')['meta']['epoch'] == 2


def test_a_crash_while_writing_keeps_the_old_file(
    make_runner, tmp_path, monkeypatch
):
    make_runner(epochs=1).train()
    whole = (tmp_path / 'epoch_1.pth').read_bytes()
    backend = mm_checkpoint.get_file_backend

    class Dies:
        """Writes half of the file, then the process is gone."""

        def put(self, content, path):
            with open(path, 'wb') as file:
                file.write(content[: len(content) // 2])
            raise KeyboardInterrupt

    monkeypatch.setattr(
        mm_checkpoint, 'get_file_backend', lambda *a, **k: Dies()
    )
    runner = make_runner(epochs=1)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    monkeypatch.setattr(mm_checkpoint, 'get_file_backend', backend)
    assert (tmp_path / 'epoch_1.pth').read_bytes() == whole
    assert latest_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'
    with pytest.raises(CheckpointError):  # the half that was written
        read_checkpoint(tmp_path / 'epoch_1.pth.part')


class MakeFolder:
    """Unpickled by an unsafe loader, makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_load_from_is_read_safely(make_runner, tmp_path):
    """Whatever mmengine and torch do by default."""
    path = tmp_path / 'weights.pth'
    torch.save(MakeFolder(tmp_path / 'made'), path)
    for content in (path.read_bytes(), b'no checkpoint'):
        path.write_bytes(content)
        runner = make_runner(load_from=str(path))
        with pytest.raises(CheckpointError, match='weights.pth'):
            runner.train()
    assert not (tmp_path / 'made').exists()
    with pytest.raises(CheckpointError, match='does not exist'):
        make_runner(load_from=str(tmp_path / 'none.pth')).train()


def load_lines(make_runner, path, monkeypatch, state, **more):
    """What a run says that starts from weights, and its first weight."""
    torch.save(state, path)
    said = []
    monkeypatch.setattr(
        'occsplat.engine.weight_fit.print_log',
        lambda text, **_: said.append(text),
    )
    runner = make_runner(load_from=str(path), **more)
    runner.call_hook('before_run')
    runner.load_or_resume()
    return said, runner


@pytest.mark.parametrize('prefix', ['', 'model.', 'module.', 'module.model.'])
@pytest.mark.parametrize('key', [None, 'state_dict', 'model'])
def test_load_from_takes_what_fits(
    make_runner, tmp_path, monkeypatch, prefix, key
):
    weights = {
        f'{prefix}layer.weight': torch.full((1, 1), 7.0),
        f'{prefix}fc.weight': torch.zeros(3),
    }
    average = dict(type='EMAHook', momentum=0.5)
    said, runner = load_lines(
        make_runner,
        tmp_path / 'w.pth',
        monkeypatch,
        {key: weights, 'epoch': 3} if key else weights,
        hooks=[average],
    )
    assert len(said) == 1
    assert 'w.pth: 1 of 2 tensors taken; 1 not in it (layer.bias)' in said[0]
    assert '1 of it not used (fc.weight)' in said[0]
    assert runner.model.layer.weight.item() == 7


def test_load_from_weights_of_another_model_is_an_error(
    make_runner, tmp_path, monkeypatch
):
    """Guards: a run started from scratch without a word."""
    state = {'conv1.weight': torch.zeros(3, 2)}
    with pytest.raises(CheckpointError, match='0 of 2 tensors') as error:
        load_lines(make_runner, tmp_path / 'w.pth', monkeypatch, state)
    assert 'conv1.weight (3, 2)' in str(error.value)


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_weights_that_are_no_numbers_are_told(
    make_runner, tmp_path, monkeypatch, bad
):
    state = {'layer.weight': torch.full((1, 1), bad)}
    said, _ = load_lines(make_runner, tmp_path / 'w.pth', monkeypatch, state)
    assert '1 of 1 tensors hold NaN or infinite numbers (layer.w' in said[0]


HOOK = dict(type='WarmupSwitchHook', switch_iter=4)


def test_warmup_ends_at_its_iteration(make_runner):
    runner = make_runner(epochs=2, hooks=[HOOK])
    runner.train()
    assert runner.model.stages == [True] * 4 + [False] * 2


def test_resume_is_in_the_stage_where_it_was_left(make_runner, tmp_path):
    make_runner(epochs=1, hooks=[HOOK]).train()
    resumed = make_runner(
        epochs=3,
        hooks=[HOOK],
        resume=True,
        load_from=str(tmp_path / 'epoch_1.pth'),
    )
    resumed.train()
    # iterations 3 to 8
    assert resumed.model.stages == [True] + [False] * 5


def test_no_warmup_is_told_to_the_model_too(make_runner):
    runner = make_runner(
        epochs=1, hooks=[dict(type='WarmupSwitchHook', switch_iter=0)]
    )
    runner.train()
    assert runner.model.stages == [False] * 3


def test_negative_warmup_is_refused(make_runner):
    with pytest.raises(ValueError, match='switch_iter must be .*at least 0'):
        make_runner(hooks=[dict(type='WarmupSwitchHook', switch_iter=-1)])


def test_average_rises_as_the_configs_say(make_runner):
    """d = 0.999 * (1 - exp(-n / 2000)) in the n-th update, n from 1."""
    hook = dict(
        type='EMAHook',
        ema_type='mmdet.ExpMomentumEMA',
        momentum=0.001,
        gamma=2000,
        update_buffers=True,
    )
    runner = make_runner(epochs=1, hooks=[hook])
    runner.call_hook('before_run')
    ema = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook')
    average = ema.ema_model
    weight = average.module.layer.weight.data
    source = runner.model.layer.weight.data
    for steps in (0, 1, 100, 2000, 20_000):
        average.steps.fill_(steps)
        weight.fill_(1.0)
        source.fill_(0.0)
        average.update_parameters(runner.model)
        n = torch.tensor(1.0 + steps)
        expected = 0.999 * (1 - torch.exp(-n / 2000))
        # the very first update copies
        expected = expected.item() if steps else 0.0
        assert weight.item() == pytest.approx(expected, abs=2e-6), steps
