"""Work dirs: one training at a time, and nothing lost when they are full."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from occsplat.engine import (
    CheckpointError,
    ConfigError,
    OccRunner,
    check_file,
    locked,
    user_errors,
)
from occsplat.engine import work_dir as module
from occsplat.structures import DataError, check_writable

HERE = Path(__file__).resolve().parent
#: takes the lock, says so, and waits for its end; fork()s a child first,
#: as data loaders do, which outlives it
HOLDER = """
import os, sys, time
from occsplat.engine import locked
with locked(sys.argv[1]):
    if os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    print('locked', flush=True)
    sys.stdin.read()
"""


def test_the_lock_lives_as_long_as_its_process(tmp_path):
    projects = str(HERE.parents[1] / 'projects')
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': projects},
        text=True,
    )
    assert holder.stdout.readline() == 'locked\n'
    named = f'process {holder.pid} on .* trains in {tmp_path}'
    with pytest.raises(ConfigError, match=named):
        with locked(tmp_path):
            pass
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / '.lock').read_text()
    with locked(tmp_path):  # and again
        pass


def test_only_the_first_process_of_a_run_locks(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    with locked(tmp_path, 'pytorch'):
        assert not (tmp_path / '.lock').exists()
    with locked(tmp_path):  # started without a launcher
        assert (tmp_path / '.lock').exists()


def test_without_locks_there_is_a_warning(tmp_path, monkeypatch):
    def lockf(*args):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(module.fcntl, 'lockf', lockf)
    with pytest.warns(UserWarning, match='without locks'):
        with locked(tmp_path):
            pass


def test_what_a_killed_run_left_half_written_goes(tmp_path):
    (tmp_path / 'streams').mkdir()
    parts = [
        tmp_path / 'best_mIoU_epoch_2.pth.part',
        tmp_path / 'streams/.epoch_2.rank0.pth.7.part',
    ]
    for part in parts:
        part.touch()
    (tmp_path / 'epoch_1.pth').touch()
    with locked(tmp_path):
        assert not any(part.exists() for part in parts)
        assert (tmp_path / 'epoch_1.pth').exists()


def test_folders_that_cannot_be_written_to(tmp_path, monkeypatch):
    check_writable(tmp_path / 'a' / 'b')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'a').mkdir()
    (tmp_path / 'file').touch()
    with pytest.raises(DataError, match='file/c: Not a directory'):
        check_writable(tmp_path / 'file' / 'c')
    with pytest.raises(ConfigError, match='a is a folder, expected the name'):
        check_file(tmp_path / 'a')

    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, 'Read-only file system')

    monkeypatch.setattr(tempfile, 'TemporaryFile', read_only)
    with pytest.raises(DataError, match='Read-only file system'):
        check_file(tmp_path / 'scores.json')


def test_errors_of_the_system_are_one_line(tmp_path):
    with pytest.raises(SystemExit, match='error: .*gone: No such file or dir'):
        with user_errors():
            (tmp_path / 'gone').read_text()


def toy(tmp_path, name, **loader):
    cfg = Config.fromfile(HERE / 'resume_config.py')
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = f'{tmp_path.name}_{name}'
    cfg.custom_hooks[2].path = str(tmp_path / 'witness')
    cfg.train_cfg.max_epochs = 1
    cfg.train_dataloader.update(loader)
    return cfg


@pytest.mark.parametrize(
    'error',
    [
        OSError(errno.ENOSPC, 'No space left on device'),
        RuntimeError('PytorchStreamWriter failed writing file data/0'),
    ],
)
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, error):
    save, count = torch.save, []

    def full(content, file, *args, **kwargs):
        count.append(file)
        if len(count) > 2:  # streams and weights of iteration 4 were written
            Path(tmp_path / 'epoch_1.pth.part').touch()
            raise error
        save(content, file, *args, **kwargs)

    monkeypatch.setattr(torch, 'save', full)
    kind = type(error).__name__
    with pytest.raises(
        CheckpointError,
        match=r'epoch_1\.pth could not be written: .*(space|failed).*newest '
        r'whole one is \S+/resume_iter_4\.pth',
    ):
        OccRunner.from_cfg(toy(tmp_path, kind)).train()
    assert [p.name for p in tmp_path.glob('*.pth')] == ['resume_iter_4.pth']
    assert not list(tmp_path.rglob('*.part'))


def pasts(folder):
    """How many frames of a run found their past."""
    text = ' '.join(p.read_text() for p in folder.glob('witness.*'))
    return text.count(', 1)') + text.count(', 2)')


def test_a_larger_batch_finds_as_many_pasts(tmp_path):
    found = []
    for size in (1, 2):
        folder = tmp_path / str(size)
        folder.mkdir()
        loader = dict(batch_size=size, num_workers=0, persistent_workers=True)
        cfg = toy(folder, f'batch_{size}', **loader)
        cfg.custom_hooks[0].switch_iter = 0  # histories from the start
        OccRunner.from_cfg(cfg).train()
        found.append(pasts(folder))
    assert found[0] == 9  # of twelve frames in three drives
    assert found[1] >= 8  # one more cut


def test_a_sampler_with_a_batch_size_of_its_own_is_refused(tmp_path):
    cfg = toy(tmp_path, 'refused')
    cfg.train_dataloader.sampler.batch_size = 1
    with pytest.raises(ConfigError, match='batch_size=2, its sampler batch_'):
        OccRunner.from_cfg(cfg).train()
