"""mmengine's Runner, for runs that can be killed at any time."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import DATA_SAMPLERS, RUNNERS
from mmengine.config import Config
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import (
    BaseLoop,
    CheckpointLoader,
    EpochBasedTrainLoop,
    Runner,
    ValLoop,
)
from torch import nn
from torch.utils.data import DataLoader

from occsplat.data import DataError

from .checkpoint import latest_checkpoint
from .checkpoint_hook import KeepingCheckpointHook
from .errors import CheckpointError, ConfigError, build_errors
from .opacity_threshold import sweep_thresholds
from .resume_check import prepare_resume
from .resume_point_hook import save_resume_point
from .run_state import check_same_checkpoint, load_run_state, save_run_state
from .signals import StepSignals, Stopped, handled
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
    bits as one that is left alone. One that is stopped by SIGTERM or Ctrl-C
    completes its step and leaves a resume point.

    Attributes:
        signals (StepSignals): those that came while training.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.signals = StepSignals()
        self._newest_iter = 0  # of a checkpoint that can be resumed
        super().__init__(*args, **kwargs)

    @classmethod
    def from_cfg(cls, cfg: Config) -> OccRunner:
        """As in mmengine.

        Raises:
            ConfigError: names the key of what can't be built, or says
                what is wrong with a setting.
        """
        with build_errors(cfg, settings=True):
            return super().from_cfg(cfg)

    def train(self) -> nn.Module:
        """As in mmengine.

        Raises:
            ConfigError: names the key of what can't be built.
            Stopped: after SIGTERM or Ctrl-C, once what is done is saved.
        """
        try:
            with handled(self._signalled), build_errors(self.cfg):
                return super().train()
        except Stopped as stop:
            self._leave(stop)
            raise

    def test(self) -> dict[str, float]:
        """As in mmengine.

        Raises:
            ConfigError: names the key of what can't be built.
        """
        with build_errors(self.cfg):
            return super().test()

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As in mmengine; between two steps is where a signal stops it."""
        if fn_name == 'before_train_iter':
            self._stop_between_steps()
        elif fn_name == 'before_val_iter' and self.signals.received:
            # processes validate different numbers of frames: none of them
            # can wait for the others
            alone = get_world_size() == 1
            raise Stopped(self.signals.received, whole=alone)
        super().call_hook(fn_name, **kwargs)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> DataLoader:
        """As in mmengine; the sampler's batch size is the loader's.

        Raises:
            ConfigError: when a config names two different ones.
        """
        if isinstance(dataloader, dict):
            dataloader = dict(dataloader)
            dataloader['sampler'] = _sampler_of(dataloader)
            if dataloader.get('num_workers') == 0:
                # so that one option is enough to load in this process
                dataloader.pop('persistent_workers', None)
                dataloader.pop('prefetch_factor', None)
        return Runner.build_dataloader(dataloader, *args, **kwargs)

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
        folder, part = Path(out_dir), f'{filename}.part'
        resumable = save_optimizer and isinstance(
            self.train_loop, ResumableTrainLoop
        )
        try:
            if resumable:
                meta['run_state'] = save_run_state(
                    self, out_dir, filename, meta
                )
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
                os.replace(folder / part, folder / filename)
        except BaseException as error:
            (folder / part).unlink(missing_ok=True)
            # torch's writer has no OSError for a disk that is full
            if not isinstance(error, (DataError, OSError, RuntimeError)):
                raise
            kept = latest_checkpoint(self.work_dir)
            raise CheckpointError(
                f'checkpoint {folder / filename} could not be written: '
                f'{error}. The newest whole one is {kept or "none"}: make '
                'room, then go on with --resume'
            ) from error
        if save_optimizer:
            self._newest_iter = meta['iter']

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
        self._newest_iter = self.iter
        if isinstance(self.train_loop, ResumableTrainLoop):
            load_run_state(self, filename, self._run_state)

    def _signalled(self, signum: int, frame: Any) -> None:
        """Stop at once before the first step, then between steps."""
        looping = isinstance(self._train_loop, BaseLoop) and self.iter > 0
        if not looping and os.getpid() == self.signals.pid:
            raise Stopped(signum)
        self.signals(signum, frame)

    def _stop_between_steps(self) -> None:
        """Raise Stopped if a signal came to this process or another."""
        received = self.signals.received
        if get_world_size() > 1:
            every = torch.tensor(received)
            all_reduce(every, 'max')
            received = int(every)
        if received:
            raise Stopped(received, whole=True)

    def _leave(self, stop: Stopped) -> None:
        """Save what is not saved yet, and say how to go on."""
        if stop.whole and self.iter > self._newest_iter:
            for hook in self._hooks:
                # while it validates the model has averaged weights
                if isinstance(hook, EMAHook) and not self.model.training:
                    hook.after_val_epoch(self)
            save_resume_point(self)
        if not is_main_process():
            stop.note = ''
            return
        kept = latest_checkpoint(self.work_dir)
        stop.note += f' after iteration {self.iter}'
        if kept:
            stop.note += f': go on from {kept} with --resume'


def _sampler_of(loader: dict[str, Any]) -> Any:
    """A loader's sampler, with its batch size if it takes one.

    Raises:
        ConfigError: when it has another one.
    """
    sampler, size = loader.get('sampler'), loader.get('batch_size', 1)
    if not isinstance(sampler, dict):
        return sampler
    kind = sampler.get('type')
    kind = DATA_SAMPLERS.get(kind) if isinstance(kind, str) else kind
    if kind is None or 'batch_size' not in inspect.signature(kind).parameters:
        return sampler
    if sampler.get('batch_size', size) != size:
        raise ConfigError(
            f'a data loader has batch_size={size}, its sampler '
            f'batch_size={sampler["batch_size"]}: streams would be mixed up. '
            "Leave out the sampler's, which follows the loader's"
        )
    return dict(sampler, batch_size=size)
