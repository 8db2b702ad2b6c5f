"""Time and memory of training steps, as tools/train.py runs them."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import ConfigError, OccRunner, load_config

from .rows import in_new_process, medians, peak_memory, print_header

#: not counted: compilation, caches, the first workers of the loader
WARMUP_STEPS = 3
PHASES = ('data', 'forward', 'backward', 'optimizer')

Figures = dict[str, float]


class EnoughSteps(Exception):
    """Ends a training run from inside a hook."""


class StepClock(Hook):
    """Times the phases of training steps, then ends the run.

    ==========  ======================================================
    data        waiting for the batch, what its workers do meanwhile
                is not seen
    forward     copying the batch to the device, network, losses
    backward    the gradients
    optimizer   clipping, step, and what hooks do after a step (moving
                averages, schedules)
    ==========  ======================================================

    Args:
        steps (int): how many to time.
        warmup (int): how many to leave out before.
    """

    # after all other hooks: what they do belongs to the phases
    priority = 'LOWEST'

    def __init__(self, steps: int, warmup: int) -> None:
        self.steps, self.warmup = steps, warmup
        self.times: dict[str, list[float]] = {phase: [] for phase in PHASES}
        self._mark = 0.0

    def before_train(self, runner: Runner) -> None:
        """Tell the forward pass from the backward pass."""
        wrapper = runner.optim_wrapper
        backward = wrapper.backward

        def timed(*args: Any, **kwargs: Any) -> None:
            self._end('forward')
            backward(*args, **kwargs)
            self._end('backward')

        wrapper.backward = timed
        self._mark = self._now()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """The batch is there."""
        self._end('data')

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """The step is done; was it the last?"""
        self._end('optimizer')
        if runner.iter + 1 == self.warmup:
            for seconds in self.times.values():
                seconds.clear()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
        if runner.iter + 1 == self.warmup + self.steps:
            raise EnoughSteps

    def _end(self, phase: str) -> None:
        now = self._now()
        self.times[phase].append(now - self._mark)
        self._mark = now

    @staticmethod
    def _now() -> float:
        """Seconds, once the device has done what it was told."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def measure_training(
    config: str, options: dict[str, Any] | None, threads: int, steps: int
) -> Figures:
    """Train for some steps in a temporary work dir.

    Args:
        config: the config file.
        options: values by key path, as ``--cfg-options`` gives them.
        threads: of torch.
        steps: how many to time, after ``WARMUP_STEPS``.

    Returns:
        dict: medians over the steps in ms, the process' peak memory in MB
            (without the loader's workers), and the GPU's where there is
            one.

    Raises:
        ConfigError: when the config trains for fewer steps.
    """
    torch.set_num_threads(threads)
    cfg = load_config(config, options)
    strip_config(cfg)
    clock = StepClock(steps, WARMUP_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        runner = OccRunner.from_cfg(cfg)
        runner.register_hook(clock)
        try:
            runner.train()
        except EnoughSteps:
            pass
        else:
            raise ConfigError(
                f'{config} trains for {runner.iter} steps, expected at least '
                f'{WARMUP_STEPS} of warm-up and {steps} to measure'
            )
    figures = medians(clock.times)
    figures['peak MB'] = peak_memory() / 1e6
    if torch.cuda.is_available():
        figures['GPU MB'] = torch.cuda.max_memory_allocated() / 1e6
    return figures


def strip_config(cfg: Config) -> None:
    """Leave out what is no part of a step, in place.

    Validation, checkpoints and the log; public weights to start from; and
    the warm-up stage without history and flow: most of a training run is
    past it.
    """
    _drop_weights(cfg.model)
    for part in ('val', 'test'):
        for key in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{part}_{key}'] = None
    cfg.default_hooks = dict(cfg.get('default_hooks', {}), checkpoint=None)
    for hook in cfg.get('custom_hooks') or ():
        if hook['type'] == 'WarmupSwitchHook':
            hook['switch_iter'] = 0
    cfg.log_level = 'ERROR'


def _drop_weights(part: Any) -> None:
    """Leave out every ``init_cfg`` that names a file, however deep."""
    if isinstance(part, dict):
        if 'checkpoint' in (part.get('init_cfg') or {}):
            del part['init_cfg']
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for value in part:
            _drop_weights(value)


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that computes all the while, on one core."""
    neighbour = subprocess.Popen([sys.executable, '-c', 'while True: pass'])
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()


def run_rounds(
    names: Sequence[str], rounds: int, run: Callable[[str], Figures]
) -> list[list[Figures]]:
    """Figures by row and round, rows in turn within a round.

    So a slow hour of the machine meets all of them alike.
    """
    figures: list[list[Figures]] = [[] for _ in names]
    for number in range(1, rounds + 1):
        for name, results in zip(names, figures):
            results.append(run(name))
            print(
                f'round {number} of {rounds}, {name}: '
                f'{results[-1]["total ms"]:.0f} ms per step',
                file=sys.stderr,
                flush=True,
            )
    return figures


def print_training_table(
    configs: Sequence[str],
    options: dict[str, Any] | None,
    threads: int,
    steps: int,
    rounds: int,
    beside_busy: bool = False,
) -> None:
    """Measure configs and print a row for each; the first is the baseline.

    Args:
        configs, options, threads, steps: see ``measure_training``.
        rounds: how often, all rows in turn.
        beside_busy: adds a row for each config beside ``busy_core``.

    Raises:
        ConfigError: for a config that can't be run.
        DataError: when its training data are not there.
    """
    for config in configs:
        load_config(config, options)  # mistakes before minutes of work

    rows = {Path(config).stem: (config, nullcontext) for config in configs}
    if beside_busy:
        rows |= {
            f'{name}, beside a busy process': (config, busy_core)
            for name, (config, _) in rows.items()
        }

    def run(name: str) -> Figures:
        config, neighbour = rows[name]
        with neighbour():
            return in_new_process(
                measure_training, config, options, threads, steps
            )

    figures = run_rounds(list(rows), rounds, run)
    columns = list(figures[0][0])
    print_header('| config |', [*columns, 'time / first config (range)'])
    for name, results in zip(rows, figures):
        cells = [
            f'{statistics.median(r[c] for r in results):.0f}' for c in columns
        ]
        cells.append(relative_time(results, figures[0]))
        print(f'| {name} | {" | ".join(cells)} |', flush=True)


def relative_time(
    results: Sequence[Figures], baseline: Sequence[Figures]
) -> str:
    """Median and range of the ratios that the rounds gave."""
    ratios = [
        mine['total ms'] / theirs['total ms']
        for mine, theirs in zip(results, baseline)
    ]
    return (
        f'{statistics.median(ratios):.2f} '
        f'({min(ratios):.2f} to {max(ratios):.2f})'
    )
