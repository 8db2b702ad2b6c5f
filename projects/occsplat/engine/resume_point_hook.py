"""Something to resume from within a long epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet3d.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from occsplat.structures import whole_file
from occsplat.structures.checks import Count, checked


@HOOKS.register_module()
class ResumePointHook(Hook):
    """Keep one checkpoint of the last few iterations, for ``--resume``.

    ``resume_iter_<N>.pth`` goes when the next one is whole, and at the end
    of training. A second CheckpointHook would not do: two of them share
    their list of files in the message hub, and delete the wrong ones after
    a resume.

    Args:
        interval (int): iterations between two.

    Raises:
        ValueError: for an interval below 1.
    """

    # behind all that change something after an iteration
    priority = 'VERY_LOW'

    @checked
    def __init__(self, interval: Count) -> None:
        self.interval = interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Write one, point to it, remove the one before."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        # the loop counts this iteration once its hooks are through
        save_resume_point(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Remove the last one, unless nothing newer was saved."""
        folder = Path(runner.work_dir)
        pointer = folder / 'last_checkpoint'
        if is_main_process() and pointer.is_file():
            newest = Path(pointer.read_text(encoding='utf-8').strip())
            _remove(folder, keep=newest.name)


def save_resume_point(runner: Runner, done: int | None = None) -> None:
    """Write a resume point, point to it, remove the one before.

    To be called by all processes.

    Args:
        runner (Runner): of the run.
        done (int, optional): iterations that are done, by default those
            that the runner has counted.
    """
    folder = Path(runner.work_dir)
    done = runner.iter if done is None else done
    name = f'resume_iter_{done}.pth'
    meta = dict(epoch=runner.epoch, iter=done)
    runner.save_checkpoint(str(folder), name, meta=meta, by_epoch=False)
    if is_main_process():
        with whole_file(folder / 'last_checkpoint') as part:
            part.write_text(str(folder / name), encoding='utf-8')
        _remove(folder, keep=name)


def _remove(folder: Path, keep: str) -> None:
    for path in folder.glob('resume_iter_*.pth'):
        if path.name != keep:
            path.unlink()
