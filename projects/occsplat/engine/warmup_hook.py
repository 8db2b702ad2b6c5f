"""When history and flow join the training."""

from __future__ import annotations

from typing import Any

from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from occsplat.structures.checks import Natural, checked


@HOOKS.register_module()
class WarmupSwitchHook(Hook):
    """Keep the detector in its warm-up stage for the first iterations.

    FB-Occ trains its first epochs without the past (two epochs in its
    released recipe), and flow waits for the occupancy to take shape. The
    stage follows from the iteration alone, so a resumed run is in the
    stage where it was left.

    Args:
        switch_iter (int): iterations of warm-up; 0 for none.

    Raises:
        ValueError: for a negative number.
    """

    @checked
    def __init__(self, switch_iter: Natural) -> None:
        self.switch_iter = switch_iter
        self._current: bool | None = None

    def before_train(self, runner: Runner) -> None:
        """Set the stage, whatever the model was left in."""
        self._current = None
        self._update(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Leave the warm-up when its time has come."""
        self._update(runner)

    def _update(self, runner: Runner) -> None:
        warmup = runner.iter < self.switch_iter
        if warmup == self._current:
            return
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        model.set_warmup(warmup)
        self._current = warmup
        runner.logger.info(
            f'Iteration {runner.iter}: '
            + (
                f'warm-up until iteration {self.switch_iter}'
                if warmup
                else 'no warm-up (any more)'
            )
        )
