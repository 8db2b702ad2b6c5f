"""mmengine's Runner, for runs that can be killed at any time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmdet3d.registry import RUNNERS
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import (
    BaseLoop,
    CheckpointLoader,
    EpochBasedTrainLoop,
    Runner,
    ValLoop,
)

from .checkpoint import latest_checkpoint
from .checkpoint_hook import KeepingCheckpointHook
from .opacity_threshold import sweep_thresholds
from .resume_check import prepare_resume
from .run_state import check_same_checkpoint, load_run_state, save_run_state
from .train_loop import ResumableTrainLoop
from .weight_fit import load_what_fits


@RUNNERS.register_module()
class OccRunner(Runner):
    """A Runner whose checkpoints are whole or absent, and resume exactly.

    mmengine writes a checkpoint under its final name. Here it is written
    beside it and renamed when it is complete, so that the newest file of a
    run can always be resumed from. Local folders only, like ``--resume``.

    Validation of a head that goes by an opacity threshold tries several,
    see ``sweep_thresholds``.

    Where a config says EpochBasedTrainLoop it gets a ResumableTrainLoop.
    Checkpoints that have the optimizer come with the state of the run, see
    ``save_run_state``: a run that is killed and resumed ends in the same
    bits as one that is left alone.
    """

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine; epochs can be resumed in the middle."""
        if isinstance(loop, dict):
            loop = dict(loop)
            named = loop.get('type') in (
                'EpochBasedTrainLoop',
                EpochBasedTrainLoop,
            )
            if named or loop.get('by_epoch'):
                loop.pop('by_epoch', None)
                loop['type'] = ResumableTrainLoop
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine; opacity thresholds are swept where there is one."""
        loop = super().build_val_loop(loop)
        model = self.model
        if is_model_wrapper(model):
            model = model.module
        wanted = [
            key
            for hook in self.hooks
            if isinstance(hook, CheckpointHook)
            for key in hook.save_best or ()
        ]
        if isinstance(loop, ValLoop):
            loop.evaluator = sweep_thresholds(loop.evaluator, model, wanted)
        return loop

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """As in mmengine, with the run's state, through a temporary name.

        To be called by all processes.
        """
        # what mmengine counts: the epoch or the iteration that ends now
        meta = {
            'epoch': self.epoch + by_epoch,
            'iter': self.iter + (not by_epoch),
            **(meta or {}),
        }
        if save_optimizer and isinstance(self.train_loop, ResumableTrainLoop):
            meta['run_state'] = save_run_state(self, out_dir, filename, meta)
        part = f'{filename}.part'
        super().save_checkpoint(
            out_dir,
            part,
            file_client_args,
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            meta=meta,
            by_epoch=by_epoch,
            backend_args=backend_args,
        )
        if is_main_process():
            folder = Path(out_dir)
            os.replace(folder / part, folder / filename)

    def load_or_resume(self) -> None:
        """As in mmengine, if all processes resume from the same file.

        Raises:
            ConfigError: when they do not.
        """
        found = self._load_from or latest_checkpoint(self.work_dir)
        check_same_checkpoint(found if self._resume else None)
        super().load_or_resume()

    def register_hook(
        self, hook: Hook | dict, priority: str | int | None = None
    ) -> None:
        """As in mmengine, with a CheckpointHook that removes files last."""
        if isinstance(hook, dict) and hook.get('type') in (
            'CheckpointHook',
            'mmengine.CheckpointHook',
            CheckpointHook,
        ):
            hook = dict(hook, type=KeepingCheckpointHook)
        super().register_hook(hook, priority)

    def load_checkpoint(
        self, filename: str, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Take what fits of a checkpoint, or all of it where a run goes on.

        Args:
            filename: see ``local_file``.
            args, kwargs: of mmengine's method, not heeded.

        Raises:
            CheckpointError: as ``read_weights``, when nothing fits, and as
                ``prepare_resume``.
        """
        # read_weights, and a line that tells from where
        checkpoint = CheckpointLoader.load_checkpoint(filename, logger=None)
        model = self.model
        model = model.module if is_model_wrapper(model) else model
        if self._resume:
            prepare_resume(self, checkpoint, filename)
        else:
            load_what_fits(model, checkpoint['state_dict'], filename)
            # hooks: an average of the weights starts from them
            checkpoint['state_dict'] = model.state_dict()
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        if self._resume:
            load_what_fits(model, checkpoint['state_dict'], filename)
        self._has_loaded = True
        self._run_state = checkpoint['meta'].get('run_state')
        return checkpoint

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """As in mmengine, then the run's state.

        Raises:
            CheckpointError: as ``load_checkpoint``.
        """
        self._resume = True
        super().resume(filename, *args, **kwargs)
        if isinstance(self.train_loop, ResumableTrainLoop):
            load_run_state(self, filename, self._run_state)
