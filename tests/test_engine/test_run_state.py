"""What a resumed run takes up, and what it says when it can't."""

import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import checkpoint as mm_checkpoint

from occsplat.engine import (
    OccRunner,
    ResumePointHook,
    latest_checkpoint,
    load_config,
    read_checkpoint,
)
from occsplat.engine.run_state import generator_state, set_generator_state

CONFIG = Path(__file__).with_name('resume_config.py')


def draw():
    # an odd number of normals: numpy keeps the second of a pair
    return random.gauss(0, 1), np.random.randn(), torch.randn(3).tolist()


def test_generators_go_on_from_a_file(tmp_path):
    draw()
    torch.save(generator_state(), tmp_path / 'state.pth')
    expected = [draw() for _ in range(3)]
    set_generator_state(read_checkpoint(tmp_path / 'state.pth'))
    assert [draw() for _ in range(3)] == expected


@pytest.fixture
def make_runner(tmp_path):
    count = iter(range(100))

    def make(epochs, resume=None, **options):
        cfg = load_config(CONFIG)
        cfg.merge_from_dict(
            {
                'work_dir': str(tmp_path / 'run'),
                'train_cfg.max_epochs': epochs,
                'custom_hooks.2.path': str(tmp_path / 'witness'),
                'experiment_name': f'{tmp_path.name}_{next(count)}',
                **options,
            }
        )
        if resume:
            cfg.resume, cfg.load_from = True, str(resume)
        return OccRunner.from_cfg(cfg)

    return make


def log_of(work_dir):
    """Everything that was logged, without its line breaks."""
    text = ' '.join(p.read_text() for p in work_dir.glob('*/*.log'))
    return re.sub(r'\s+', ' ', text)


@pytest.mark.parametrize('loss', ['folder', 'foreign', 'note'])
def test_what_is_lost_starts_afresh(make_runner, tmp_path, loss):
    work_dir = tmp_path / 'run'
    make_runner(1).train()
    path, streams = work_dir / 'epoch_1.pth', work_dir / 'streams'
    if loss == 'folder':
        shutil.rmtree(streams)
        said = r'streams and random numbers start afresh: checkpoint .*rank0'
    elif loss == 'foreign':  # of another run in the same folder
        state = read_checkpoint(streams / 'epoch_1.rank0.pth')
        torch.save({**state, 'tag': 'x'}, streams / 'epoch_1.rank0.pth')
        said = r'start afresh: .*rank0\.pth belongs to another checkpoint'
    else:  # a checkpoint of mmengine's own Runner
        checkpoint = read_checkpoint(path)
        del checkpoint['meta']['run_state']
        torch.save(checkpoint, path)
        said = r'epoch 2 and all streams start afresh'
    runner = make_runner(2, resume=path)
    runner.train()
    assert (runner.epoch, runner.iter) == (2, 12)
    assert re.search(said, log_of(work_dir))


def test_streams_of_the_two_newest_checkpoints_are_kept(make_runner, tmp_path):
    make_runner(3).train()
    kept = sorted(p.name for p in (tmp_path / 'run/streams').iterdir())
    # resume_iter_16 was the newest when epoch_3 was written
    assert kept == ['epoch_3.rank0.pth', 'resume_iter_16.rank0.pth']
    assert not list((tmp_path / 'run').glob('resume_iter_*'))


def test_interrupted_resume_point_leaves_the_one_before(
    make_runner, tmp_path, monkeypatch
):
    backend = mm_checkpoint.get_file_backend

    class DiesAtTheSecond:
        """Half of a file is written, then the process is gone."""

        def put(self, content, path):
            if 'resume_iter_4' in str(path):
                Path(path).write_bytes(content[: len(content) // 2])
                raise KeyboardInterrupt
            backend(path).put(content, path)

    monkeypatch.setattr(
        mm_checkpoint, 'get_file_backend', lambda *a, **k: DiesAtTheSecond()
    )
    runner = make_runner(1, **{'default_hooks.resume_point.interval': 2})
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    work_dir = tmp_path / 'run'
    assert latest_checkpoint(work_dir) == work_dir / 'resume_iter_2.pth'
    assert Path((work_dir / 'last_checkpoint').read_text()).is_file()
    state = read_checkpoint(work_dir / 'streams/resume_iter_2.rank0.pth')
    note = read_checkpoint(work_dir / 'resume_iter_2.pth')['meta']['run_state']
    assert state['tag'] == note['tag'] and note['position'] == 2


def test_epochs_come_before_resume_points_without_a_pointer(tmp_path):
    (tmp_path / 'resume_iter_500.pth').touch()
    assert latest_checkpoint(tmp_path).name == 'resume_iter_500.pth'
    (tmp_path / 'epoch_1.pth').touch()
    assert latest_checkpoint(tmp_path).name == 'epoch_1.pth'


def test_interval_is_at_least_one():
    with pytest.raises(ValueError, match='interval must be .*1, got 0'):
        ResumePointHook(0)
