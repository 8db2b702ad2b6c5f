"""Epochs that can be left and taken up anywhere."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Iterator

from mmdet3d.registry import LOOPS
from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop

from .run_state import generator_state, set_generator_state


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's epochs, resumed in the middle and not from their start.

    Between epochs the loop holds on to the states of the random
    generators: neither validation, nor the making of a data loader's
    iterator, which draws a number, shifts what training draws. A resumed
    run starts its iterator once more than the run that it continues.

    Attributes:
        generators (dict | None): states that the next epoch starts from;
            None while an epoch is running, and before the first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.generators: dict[str, Any] | None = None
        self._epoch_start = 0  # iteration

    def resume_at(self, position: int) -> None:
        """Start the current epoch behind its first ``position`` batches."""
        self._epoch_start = self._iter - position

    def position(self, epoch: int, iteration: int) -> int:
        """Batches of an epoch that are done, as a checkpoint counts them.

        Args:
            epoch (int): finished epochs.
            iteration (int): finished iterations.
        """
        return iteration - self._epoch_start if epoch == self._epoch else 0

    def run_epoch(self) -> None:
        """Run what is left of the epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        first = self._iter - self._epoch_start
        batches = self._batches_from(first)
        if self.generators is not None:
            set_generator_state(self.generators)
            self.generators = None
        for idx, data_batch in enumerate(self._stoppable(batches), first):
            self.run_iter(idx, data_batch)
        self.generators = generator_state()
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self._epoch_start = self._iter

    def _batches_from(self, first: int) -> Iterator[Any]:
        sampler = self.dataloader.sampler
        if hasattr(sampler, 'start_at'):
            sampler.start_at(first)
            return iter(self.dataloader)
        # mmengine's samplers can't: load and throw away
        batches = iter(self.dataloader)
        for _ in range(first):
            next(batches)
        return batches

    def _stoppable(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Batches; who waits for one may be stopped by a signal.

        With several processes none of them may: the others could be a
        step ahead.
        """
        alone = get_world_size() == 1
        signals = getattr(self.runner, 'signals', None)
        while True:
            with signals.may_stop() if signals and alone else nullcontext():
                batch = next(batches, self)
            if batch is self:
                return
            yield batch
