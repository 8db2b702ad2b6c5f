"""Something to resume from within a long epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmdet3d.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner


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

    def __init__(self, interval: int) -> None:
        if interval < 1:
            raise ValueError(
                f'ResumePointHook: interval must be 1 or more, got {interval}'
            )
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
        folder = Path(runner.work_dir)
        name = f'resume_iter_{runner.iter + 1}.pth'
        runner.save_checkpoint(str(folder), name, by_epoch=False)
        if is_main_process():
            part = folder / 'last_checkpoint.part'
            part.write_text(str(folder / name), encoding='utf-8')
            os.replace(part, folder / 'last_checkpoint')
            _remove(folder, keep=name)

    def after_train(self, runner: Runner) -> None:
        """Remove the last one, unless nothing newer was saved."""
        folder = Path(runner.work_dir)
        pointer = folder / 'last_checkpoint'
        if is_main_process() and pointer.is_file():
            newest = Path(pointer.read_text(encoding='utf-8').strip())
            _remove(folder, keep=newest.name)


def _remove(folder: Path, keep: str) -> None:
    for path in folder.glob('resume_iter_*.pth'):
        if path.name != keep:
            path.unlink()
