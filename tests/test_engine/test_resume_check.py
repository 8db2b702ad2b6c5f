"""--resume goes on with what a checkpoint holds, says what it ignores, and
refuses what is not the run's."""

import os

import pytest
import torch
from test_runner import Line, make_runner  # noqa: F401
from torch import nn

from occsplat.engine import CheckpointError, latest_checkpoint

EMA = dict(type='EMAHook', momentum=0.5)
SGD = dict(type='SGD', lr=0.01, momentum=0.9)


@pytest.fixture
def saved(make_runner, tmp_path):  # noqa: F811
    """A run of one epoch with an average of its weights."""
    runner = make_runner(
        epochs=1,
        hooks=[EMA],
        optim_wrapper=dict(optimizer=SGD),
        param_scheduler=dict(type='LinearLR', begin=0, end=9, by_epoch=False),
    )
    runner.train()
    return tmp_path / 'epoch_1.pth'


@pytest.fixture
def resumed(make_runner, saved, monkeypatch):  # noqa: F811
    """A run that goes on from there, and what it warns of."""

    def resume(model=None, path=saved, hooks=(EMA,), **more):
        more.setdefault('optim_wrapper', dict(optimizer=SGD))
        more.setdefault(
            'param_scheduler',
            dict(type='LinearLR', begin=0, end=9, by_epoch=False),
        )
        runner = make_runner(
            epochs=2,
            hooks=hooks,
            resume=True,
            load_from=str(path),
            model=model,
            **more,
        )
        warned = []
        monkeypatch.setattr(runner.logger, 'warning', warned.append)
        runner.train()
        return runner, [text for text in warned if 'ignored' in text]

    return resume


def test_the_same_config_ignores_nothing(resumed):
    runner, warned = resumed()
    assert not warned and runner.iter == 6


def test_settings_that_the_checkpoint_overrides_are_one_line(resumed):
    runner, warned = resumed(
        optim_wrapper=dict(optimizer=dict(SGD, lr=0.5, weight_decay=0.1)),
        param_scheduler=dict(
            type='LinearLR', begin=0, end=9, by_epoch=False, start_factor=0.1
        ),
    )
    assert len(warned) == 1 and '\n' not in warned[0]
    assert 'lr 0.5 (checkpoint: 0.01)' in warned[0]
    assert 'weight_decay 0.1 (checkpoint: 0' in warned[0]
    assert 'start_factor 0.1 of LinearLR (param_scheduler[0]' in warned[0]
    assert 'load_from=' in warned[0]
    group = runner.optim_wrapper.param_groups[0]
    assert group['initial_lr'] == 0.01 and group['weight_decay'] == 0


def test_without_its_hook_the_average_is_left_out(resumed, saved):
    """Guards: the averaged weights were trained on instead of the raw."""
    seen = []

    class Look(Line):
        def forward(self, x, mode='tensor'):
            if not seen:
                seen.append(self.layer.weight.detach().clone())
            return super().forward(x, mode)

    content = torch.load(saved, weights_only=False)
    raw = content['ema_state_dict']['module.layer.weight']
    assert not torch.equal(raw, content['state_dict']['layer.weight'])
    _, warned = resumed(model=Look(), hooks=())
    assert torch.equal(seen[0], raw)
    assert 'the average of the weights' in warned[0]


class Wide(Line):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 2)


class Headed(Line):
    def __init__(self):
        super().__init__()
        self.render_heads = nn.ModuleList([nn.Linear(1, 1)])


REFUSED = {
    'width': (dict(model=Wide()), r'2 of another shape .*layer\.bias'),
    'head added': (dict(model=Headed()), r'2 missing \(render_heads'),
    'optimizer': (
        dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01))),
        'optimizer AdamW in the config, SGD in the checkpoint',
    ),
    'groups': (
        dict(
            optim_wrapper=dict(
                optimizer=SGD, paramwise_cfg=dict(bias_lr_mult=2)
            )
        ),
        'config has 3 groups of 2 weights, that of the checkpoint 1 groups',
    ),
    'no schedule': (
        dict(param_scheduler=[]),
        '0 param_scheduler in the config, 1 in the checkpoint',
    ),
    'another schedule': (
        dict(param_scheduler=dict(type='ExponentialLR', gamma=0.5)),
        r'ExponentialLR \(param_scheduler\[0\]\) in the config',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_not_the_runs_is_refused(resumed, case):
    more, text = REFUSED[case]
    with pytest.raises(CheckpointError, match=text) as error:
        resumed(**more)
    assert str(error.value).startswith('cannot resume: ')
    assert 'load_from=' in str(error.value)


def test_render_heads_cannot_be_dropped(make_runner, tmp_path):  # noqa: F811
    make_runner(epochs=1, model=Headed()).train()
    runner = make_runner(
        epochs=2, resume=True, load_from=str(tmp_path / 'epoch_1.pth')
    )
    with pytest.raises(CheckpointError, match=r'unexpected \(render_heads'):
        runner.train()


class Weightless(Line):
    def __init__(self):
        super().__init__()
        self.render_heads = nn.ModuleList([nn.Identity()])


@pytest.mark.parametrize('dropped', [True, False])
def test_render_heads_without_weights_are_missed(
    make_runner,  # noqa: F811
    tmp_path,
    monkeypatch,
    dropped,
):
    make_runner(epochs=1, model=Weightless()).train()
    runner = make_runner(
        epochs=2,
        resume=True,
        load_from=str(tmp_path / 'epoch_1.pth'),
        model=None if dropped else Weightless(),
    )
    warned = []
    monkeypatch.setattr(runner.logger, 'warning', warned.append)
    runner.train()
    found = [text for text in warned if 'render heads' in text]
    assert len(found) == dropped
    if dropped:
        assert 'with render heads Identity, the config has none' in found[0]


def edit(path, change):
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path.with_name('edited.pth'))
    return path.with_name('edited.pth')


def test_an_optimizer_without_a_name_is_known_by_its_settings(resumed, saved):
    path = edit(saved, lambda c: c['meta']['run_state'].pop('optimizer'))
    adam = dict(optimizer=dict(type='Adam', lr=0.01))
    with pytest.raises(CheckpointError, match='of the config has betas'):
        resumed(path=path, optim_wrapper=adam)


CHANGES = {
    'no hub': lambda c: c.pop('message_hub'),
    'half a hub': lambda c: c['message_hub'].pop('runtime_info'),
    'no iteration': lambda c: c['meta'].pop('iter'),
    'an epoch of text': lambda c: c['meta'].update(epoch='1'),
    'before the start': lambda c: c['meta'].update(iter=-1),
    'beyond the epoch': lambda c: c['meta']['run_state'].update(position=99),
    'half a state': lambda c: c['meta']['run_state'].pop('tag'),
    'optimizer of nothing': lambda c: c.update(optimizer=[]),
    'groups of nothing': lambda c: c['optimizer'].update(param_groups=[3]),
    'average of nothing': lambda c: c.update(ema_state_dict=3),
    'schedules of nothing': lambda c: c.update(param_schedulers=3),
}


@pytest.mark.parametrize('case', CHANGES)
def test_a_checkpoint_of_no_run_is_refused(resumed, saved, case):
    path = edit(saved, CHANGES[case])
    with pytest.raises(CheckpointError):
        resumed(path=path)


def test_no_text_of_a_checkpoint_is_run(resumed, saved, tmp_path):
    """Guards: mmengine runs meta['config'] as a config file."""
    program = f'import os; os.mkdir({str(tmp_path / "ran")!r})'
    path = edit(saved, lambda c: c['meta'].update(config=program))
    resumed(path=path)
    assert not (tmp_path / 'ran').exists()


# ------------------------------------------- checkpoints that are removed

BEST = dict(
    type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='score'
)
BEST['rule'] = 'greater'


class Killed(BaseException):
    """The process is gone."""


def hook_of(runner):
    runner.train_loop  # noqa: B018  built
    hook = next(h for h in runner.hooks if hasattr(h, 'save_best'))
    hook.before_train(runner)
    return hook


def names(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


@pytest.fixture
def scored(make_runner, tmp_path):  # noqa: F811
    """A run whose best checkpoint is of its first epoch."""

    def run(**more):
        runner = make_runner(
            epochs=1,
            default_hooks=dict(logger=None, checkpoint=dict(BEST)),
            **more,
        )
        return runner

    runner = run()
    runner.train()
    hook = hook_of(runner)
    hook._save_best_checkpoint(runner, dict(score=1.0))
    assert names(tmp_path) == ['best_score_epoch_1.pth', 'epoch_1.pth']
    return run, runner, hook


@pytest.mark.parametrize('calls', [1, 2])
def test_a_kill_leaves_a_whole_best_and_a_whole_last(
    scored, tmp_path, monkeypatch, calls
):
    """Guards: mmengine removes the old files before it writes the new."""
    _, runner, hook = scored
    left = [calls]
    replace = os.replace

    def dies(*args):
        left[0] -= 1
        if not left[0]:
            raise Killed
        replace(*args)

    monkeypatch.setattr('occsplat.engine.runner.os.replace', dies)
    runner.train_loop._epoch, runner.train_loop._iter = 2, 6
    with pytest.raises(Killed):
        hook._save_best_checkpoint(runner, dict(score=2.0))
    monkeypatch.undo()
    assert 'best_score_epoch_1.pth' in names(tmp_path)
    assert latest_checkpoint(tmp_path).name == 'epoch_1.pth'
    hook._save_best_checkpoint(runner, dict(score=3.0))
    assert 'best_score_epoch_2.pth' in names(tmp_path)
    assert 'epoch_2.pth' in names(tmp_path)


def test_files_go_when_the_next_is_there(scored, tmp_path):
    _, runner, hook = scored
    runner.train_loop._epoch, runner.train_loop._iter = 2, 6
    hook._save_best_checkpoint(runner, dict(score=2.0))
    assert names(tmp_path) == ['best_score_epoch_2.pth', 'epoch_2.pth']
    # the same name again
    hook._save_best_checkpoint(runner, dict(score=4.0))
    assert names(tmp_path) == ['best_score_epoch_2.pth', 'epoch_2.pth']


@pytest.mark.parametrize('state', ['absent', 'half', 'elsewhere'])
def test_a_lost_best_is_forgotten(scored, tmp_path, state):
    run, _, _ = scored
    best = tmp_path / 'best_score_epoch_1.pth'
    if state == 'absent':
        best.unlink()
    elif state == 'half':
        best.write_bytes(best.read_bytes()[:500])
    # a stranger's checkpoint may name any file
    victim = tmp_path / 'elsewhere' / 'best_score_epoch_1.pth'
    victim.parent.mkdir()
    victim.touch()

    def point(content):
        content['message_hub']['runtime_info']['best_ckpt'] = str(victim)

    path = tmp_path / 'epoch_1.pth'
    if state == 'elsewhere':
        path = edit(path, point)
    runner = run(resume=True, load_from=str(path))
    runner.train()
    hook = hook_of(runner)
    runner.train_loop._epoch = 2
    # worse than the one that is lost
    hook._save_best_checkpoint(runner, dict(score=0.5))
    kept = [name for name in names(tmp_path) if name.startswith('best')]
    lost = state != 'elsewhere'
    assert ('best_score_epoch_2.pth' in kept) == lost
    assert victim.exists()
