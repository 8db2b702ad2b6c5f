"""Checkpoints of which there is always a whole one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from mmdet3d.registry import HOOKS
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from .checkpoint import read_checkpoint
from .errors import CheckpointError


@HOOKS.register_module()
class KeepingCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, for runs that can be killed at any time.

    mmengine removes the best checkpoint, or the oldest, before it writes
    the next: a kill in between leaves none. Here files are removed when the
    new one is complete, and never outside the folder of checkpoints,
    whatever a resumed checkpoint calls its best.

    A best checkpoint that a resumed run remembers, and that is not there
    or not whole, is forgotten together with its score, so that the next
    validation writes one.
    """

    def before_train(self, runner: Runner) -> None:
        """As in mmengine; what a resumed run remembers is looked at."""
        info = runner.message_hub.runtime_info
        kept = info.get('keep_ckpt_ids')
        if kept is not None and not (
            isinstance(kept, list) and all(isinstance(k, int) for k in kept)
        ):
            info.pop('keep_ckpt_ids')
        super().before_train(runner)
        self.file_backend = _RemovesLater(self.file_backend, self.out_dir)
        if self.save_best is None:
            return
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = self._look_at_best(runner, '')
        else:
            for name in self.key_indicators:
                best = self._look_at_best(runner, f'_{name}')
                self.best_ckpt_path_dict[name] = best

    def _look_at_best(self, runner: Runner, suffix: str) -> str | None:
        """The best checkpoint that a run remembers, if it is whole."""
        info = runner.message_hub.runtime_info
        remembered = info.pop(f'best_ckpt{suffix}', None)
        if remembered is None:
            return None
        # the folder may have moved since
        best = Path(self.out_dir) / Path(str(remembered)).name
        problem = [_problem(best) if is_main_process() else None]
        broadcast_object_list(problem)
        if problem[0] is None:
            runner.message_hub.update_info(f'best_ckpt{suffix}', str(best))
            return str(best)
        info.pop(f'best_score{suffix}', None)
        runner.logger.warning(
            f'the best checkpoint so far is lost ({problem[0]}): the next '
            'validation writes a new one'
        )
        return None

    def _save_checkpoint_with_step(self, *args: Any, **kwargs: Any) -> None:
        with self.file_backend.afterwards():
            super()._save_checkpoint_with_step(*args, **kwargs)

    def _save_best_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        if not hasattr(self, 'file_backend'):
            return  # a validation without training saves nothing
        with self.file_backend.afterwards():
            super()._save_best_checkpoint(*args, **kwargs)


class _RemovesLater:
    """A folder of mmengine's that remembers what it is told to remove.

    Args:
        backend: mmengine's.
        folder: outside of it nothing is removed.
    """

    def __init__(self, backend: Any, folder: str) -> None:
        self._backend = backend
        self._folder = Path(folder).resolve()
        self._waiting: list[tuple[Path, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def isdir(self, path: str) -> bool:
        """No checkpoint is a folder: none is removed."""
        return False

    def remove(self, path: str) -> None:
        """Remove a file when ``afterwards`` ends."""
        self._waiting.append((Path(path), os.stat(path).st_ino))

    @contextmanager
    def afterwards(self) -> Iterator[None]:
        """Remove at the end, unless something goes wrong before."""
        start = len(self._waiting)
        try:
            yield
        except BaseException:
            del self._waiting[start:]
            raise
        while len(self._waiting) > start:
            path, inode = self._waiting.pop()
            # written anew under its old name, it stays
            same = path.is_file() and path.stat().st_ino == inode
            if same and path.resolve().parent == self._folder:
                path.unlink()


def _problem(path: Path) -> str | None:
    """Why a best checkpoint is of no use, if it is not."""
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        return str(error)
    return None
