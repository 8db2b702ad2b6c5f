"""What a prediction costs: time, memory, operations, parameters.

As tools/test.py predicts: one key frame after the other, each with the past
of its sequence, from images in memory to classes and flow on the device.
"""

from __future__ import annotations

import copy
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import build_split, init_model, load_config

from .rows import SEED, in_new_process, peak_memory, print_header
from .training import relative_time, strip_config

#: of a detector, in the order of a prediction
PARTS = (
    'img_backbone',
    'img_neck',
    'lifter',
    'history',
    'volume_encoder',
    'offset_head',
    'occ_head',
)
#: what torch.compile makes one kernel of where it can: the image encoder
#: and the 3D network; the lifter's shapes differ from frame to frame
COMPILED = ('img_backbone', 'img_neck', 'volume_encoder', 'occ_head')
PERCENTILES = (50, 90, 99)
#: not counted, on top of those that fill the history
WARMUP_FRAMES = 3
#: different ones, which take turns
FRAMES = 4


class Setting(NamedTuple):
    """How predictions are made.

    Attributes:
        device: 'cpu' or 'cuda'.
        threads: of torch.
        frames: how many to time.
        amp: in 16 bits where autocast does so.
        compiled: ``COMPILED`` by torch.compile.
    """

    device: str
    threads: int
    frames: int
    amp: bool = False
    compiled: bool = False


class Cost(NamedTuple):
    """Of a part of a network, in one prediction.

    Attributes:
        gflops: billions of floating-point operations of convolutions and
            matrix products, where a product and its sum count two.
        parameters: millions.
    """

    gflops: float
    parameters: float


class NotCompiled(Exception):
    """torch.compile does not work here; says why in a few words."""


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """``PERCENTILES`` of latencies in ms, between values linearly."""
    found = np.percentile(seconds, PERCENTILES)
    return {
        f'p{rank} ms': 1e3 * float(value)
        for rank, value in zip(PERCENTILES, found)
    }


def prepare(
    config: str, options: dict[str, Any] | None, device: str
) -> tuple[nn.Module, Iterator[dict[str, Any]]]:
    """A config's network, and frames without end.

    The frames are the first of the test data in turn, each said to follow
    the one before, so that the history is full, as on the road.

    Raises:
        ConfigError: for a config that can't be run.
        DataError: when its test data are not there.
    """
    cfg = load_config(config, options)
    dataset = build_split(cfg, 'test')
    loaded = [dataset[i] for i in range(min(FRAMES, len(dataset)))]
    strip_config(cfg)
    torch.manual_seed(SEED)
    model = init_model(cfg, device=device)

    def frames() -> Iterator[dict[str, Any]]:
        for step in itertools.count():
            packed = copy.deepcopy(loaded[step % len(loaded)])
            sample = packed.get('data_samples')
            if sample is not None:
                sample.set_metainfo(dict(token=f'{step}', prev=f'{step - 1}'))
            yield pseudo_collate([packed])

    return model, frames()


def measure_inference(
    config: str, options: dict[str, Any] | None, setting: Setting
) -> list[float]:
    """Seconds of each timed prediction, and then the peak memory in MB.

    Memory is the GPU's on a GPU, else the process'.

    Raises:
        ConfigError, DataError: see ``prepare``.
        NotCompiled: when torch.compile was asked for and failed.
    """
    torch.set_num_threads(setting.threads)
    model, frames = prepare(config, options, setting.device)
    cuda = setting.device == 'cuda'
    dtype = torch.float16 if cuda else torch.bfloat16

    def seconds() -> float:
        batch = next(frames)
        start = now(cuda)
        with (
            torch.no_grad(),
            torch.autocast(setting.device, dtype, setting.amp),
        ):
            model.test_step(batch)
        return now(cuda) - start

    if setting.compiled:
        compile_parts(model, seconds)
    history = getattr(model, 'history', None)
    for _ in range(WARMUP_FRAMES + getattr(history, 'num_frames', 0)):
        seconds()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times = [seconds() for _ in range(setting.frames)]
    peak = torch.cuda.max_memory_allocated() if cuda else peak_memory()
    return [*times, peak / 1e6]


def now(cuda: bool) -> float:
    """Seconds, once the device has done what it was told."""
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def compile_parts(model: nn.Module, run: Any) -> None:
    """Compile ``COMPILED``, and see that a prediction works.

    Raises:
        NotCompiled: when it does not.
    """
    for name in COMPILED:
        part = getattr(model, name, None)
        if part is not None:
            part.compile()
    try:
        run()
    except Exception as error:
        # whatever compilers raise: the row says so, the others go on
        reason = ' '.join(str(error).split())
        raise NotCompiled(
            f'{type(error).__name__}: {reason:.60}'.replace('|', '/')
        ) from None


def count_costs(
    config: str, options: dict[str, Any] | None, device: str
) -> dict[str, Cost | None]:
    """What the parts of a network cost, and all of it.

    Returns:
        dict: by ``PARTS``, None for those that the network has not, and
        'all'.
    """
    model, frames = prepare(config, options, device)
    # the counter follows gradients of what enters a module, a parameter
    # included, and there are none
    model.requires_grad_(False)
    with torch.no_grad():
        model.test_step(next(frames))
        batch = next(frames)
        return part_costs(model, lambda: model.test_step(batch))


def part_costs(model: nn.Module, run: Any) -> dict[str, Cost | None]:
    """As ``count_costs``, of any module with parts of these names.

    An operation is a part's when it, or a module of it, is running: a
    frame to match with passes the backbone's first stage alone.
    """
    flops = dict.fromkeys(PARTS, 0)
    handles, running = [], []

    def enter(part: str) -> None:
        if not running:
            counter = FlopCounterMode(display=False)
            counter.__enter__()
            running.append(counter)
        running.append(part)

    def leave(part: str) -> None:
        running.pop()
        if len(running) == 1:
            counter = running.pop()
            counter.__exit__(None, None, None)
            flops[part] += counter.get_total_flops()

    costs: dict[str, Cost | None] = dict.fromkeys(PARTS)
    there = [p for p in PARTS if getattr(model, p, None) is not None]
    for part in there:
        for module in getattr(model, part).modules():
            handles += [
                module.register_forward_pre_hook(
                    lambda *_, part=part: enter(part)
                ),
                module.register_forward_hook(
                    lambda *_, part=part: leave(part)
                ),
            ]
    try:
        with FlopCounterMode(display=False) as total:
            run()
    finally:
        for handle in handles:
            handle.remove()
    for part in there:
        costs[part] = Cost(flops[part] / 1e9, millions(getattr(model, part)))
    predicting = (getattr(model, part) for part in there)
    parameters = sum(map(millions, predicting))
    costs['all'] = Cost(total.get_total_flops() / 1e9, parameters)
    return costs


def millions(module: nn.Module) -> float:
    """Parameters of a module."""
    return sum(p.numel() for p in module.parameters()) / 1e6


def print_costs_table(costs: dict[str, Cost | None]) -> None:
    """A row for each part."""
    print_header('| module |', ['GFLOPs', 'parameters M'])
    for part, cost in costs.items():
        cells = '- | -'
        if cost is not None:
            cells = f'{cost.gflops:.3f} | {cost.parameters:.3f}'
        print(f'| {part} | {cells} |', flush=True)


def print_inference_tables(
    configs: Sequence[str],
    options: dict[str, Any] | None,
    settings: dict[str, Setting],
    rounds: int,
) -> None:
    """Measure configs and print a table of time, and one of parts for each.

    Args:
        configs: the files.
        options: values by key path, as ``--cfg-options`` gives them.
        settings: by name; the first is what the others are compared with.
        rounds: how often, all rows in turn.

    Raises:
        ConfigError: for a config that can't be run.
        DataError: when its test data are not there.
    """
    for config in configs:
        load_config(config, options)  # mistakes before minutes of work
    rows = list(itertools.product(configs, settings))
    results: dict[tuple[str, str], list[list[float]]] = {r: [] for r in rows}
    failed: dict[tuple[str, str], str] = {}
    for number, row in itertools.product(range(1, rounds + 1), rows):
        if row in failed:
            continue
        config, name = row
        try:
            figures = in_new_process(
                measure_inference, config, options, settings[name]
            )
        except NotCompiled as error:
            failed[row] = str(error)
            continue
        results[row].append(figures)
        print(
            f'round {number} of {rounds}, {Path(config).stem}, {name}: '
            f'{1e3 * statistics.median(figures[:-1]):.0f} ms',
            file=sys.stderr,
            flush=True,
        )
    ranks = [f'p{rank} ms' for rank in PERCENTILES]
    first = next(iter(settings))
    print_header(
        '| config, setting |',
        ['FPS', *ranks, 'peak MB', f'time / {first} (range)'],
    )
    for row in rows:
        config, name = row
        print(f'| {Path(config).stem}, {name} | ', end='')
        if row in failed:
            print(f'{failed[row]} |' + ' - |' * (len(ranks) + 2), flush=True)
            continue
        print(cells(results[row], results[config, first]), flush=True)
    device = settings[first].device
    for config in configs:
        print(f'\n{Path(config).stem}\n')
        print_costs_table(in_new_process(count_costs, config, options, device))


def cells(rounds: Sequence[list[float]], first: Sequence[list[float]]) -> str:
    """Cells of a row.

    Args:
        rounds: what ``measure_inference`` gave in each round.
        first: that of the row to compare with.
    """
    times = [t for *seconds, _ in rounds for t in seconds]
    medians = [
        [{'total ms': 1e3 * statistics.median(r[:-1])} for r in figures]
        for figures in (rounds, first)
    ]
    figures = [f'{len(times) / sum(times):.2f}']
    figures += [f'{value:.1f}' for value in percentiles(times).values()]
    figures.append(f'{max(r[-1] for r in rounds):.0f}')
    figures.append(relative_time(*medians))
    return ' | '.join(figures) + ' |'
