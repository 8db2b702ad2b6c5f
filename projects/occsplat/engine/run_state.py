"""What a run needs besides its weights to go on exactly where it was.

mmengine's checkpoint has the weights, their average, the optimizer, the
schedules and the iteration. The rest is kept here: the place in the epoch,
which all processes share, goes into the checkpoint's ``meta``; generators,
past volumes and half-gathered gradients, of which each process has its own,
go into one file per process beside it. Gathering those would be too much for
one machine's memory: FB-Occ R50 remembers 0.4 GB a stream.

    work_dir/epoch_3.pth
    work_dir/streams/epoch_3.rank0.pth, epoch_3.rank1.pth, ...
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    barrier,
    broadcast_object_list,
    get_dist_info,
)
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from occsplat.structures import whole_file

from .checkpoint import latest_checkpoint
from .errors import CheckpointError, ConfigError
from .weight_files import read_weight_file

_FOLDER = 'streams'


def generator_state() -> dict[str, Any]:
    """States of this process's random generators, as plain data."""
    kind, keys, *rest = np.random.get_state()
    state = dict(
        python=random.getstate(),
        numpy=(kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_generator_state(state: dict[str, Any]) -> None:
    """Set the generators to what ``generator_state`` returned."""
    random.setstate(state['python'])
    kind, keys, *rest = state['numpy']
    if not 0 <= rest[0] <= len(keys):  # numpy would read behind them
        raise ValueError(f'a state of numpy at {rest[0]} of {len(keys)} words')
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'])
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


def save_run_state(
    runner: Runner, out_dir: str, filename: str, meta: dict[str, Any]
) -> dict[str, Any]:
    """Write this process's state; to be called by all processes.

    States of earlier checkpoints go, but for that of the newest: until
    the new checkpoint is written it is the one to resume from.

    Args:
        runner (Runner): with a ResumableTrainLoop.
        out_dir (str): folder of the checkpoint.
        filename (str): of the checkpoint.
        meta (dict): its epoch and iter.

    Returns:
        dict: what the checkpoint's ``meta`` has to hold as 'run_state'.
    """
    loop = runner.train_loop
    rank, world_size = get_dist_info()
    note = dict(
        tag=f'{runner.timestamp}_{meta["iter"]}',
        world_size=world_size,
        epoch_length=len(loop.dataloader),
        position=loop.position(meta['epoch'], meta['iter']),
        sampler_seed=getattr(loop.dataloader.sampler, 'seed', None),
        optimizer=optimizer_name(runner),
        render_heads=render_head_names(runner),
    )
    state = dict(
        tag=note['tag'],
        generators=loop.generators or generator_state(),
        streams={
            name: module.stream_state()
            for name, module in _streaming_modules(runner.model)
        },
        # none but between two steps of gradient accumulation
        gradients={
            name: weight.grad.cpu()
            for name, weight in runner.model.named_parameters()
            if weight.grad is not None
        },
    )
    # from the process that writes it: others may see an older pointer on a
    # network file system
    newest = [latest_checkpoint(runner.work_dir) if rank == 0 else None]
    broadcast_object_list(newest)
    path = _state_path(Path(out_dir) / filename, rank)
    keep = {path.name, newest[0] and _state_path(newest[0], rank).name}
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f'*.rank{rank}.pth'):
        if old.name not in keep:
            old.unlink()
    with whole_file(path) as part:
        torch.save(state, part)
    barrier()  # no checkpoint before all its states are there
    return note


def load_run_state(
    runner: Runner, filename: str | Path, note: dict[str, Any] | None
) -> None:
    """Take up the place in the epoch, the generators and the streams.

    What is not there, or was left by another number of processes, starts
    afresh, and the log says so.

    Args:
        runner (Runner): with a ResumableTrainLoop; weights and iteration
            are resumed already.
        filename: the checkpoint.
        note: its 'run_state', if it has one.
    """
    loop, log = runner.train_loop, runner.logger
    rank, world_size = get_dist_info()
    loop.resume_at(0)
    if note is None:
        log.warning(
            f'{filename} holds no place in the epoch: weights and optimizer '
            f'are resumed, epoch {runner.epoch + 1} and all streams start '
            'afresh'
        )
        return
    if note['sampler_seed'] is not None:
        loop.dataloader.sampler.seed = note['sampler_seed']
    saved = note['world_size'], note['epoch_length']
    if saved != (world_size, len(loop.dataloader)):
        log.warning(
            f'{filename} was left by {saved[0]} processes with {saved[1]} '
            f'iterations an epoch, this run has {world_size} with '
            f'{len(loop.dataloader)}: weights and optimizer are resumed, '
            f'epoch {runner.epoch + 1} and all streams start afresh'
        )
        return
    loop.resume_at(note['position'])
    path, problem = _state_path(Path(filename), rank), None
    try:
        state = read_weight_file(path)
        if not isinstance(state, dict) or state.get('tag') != note['tag']:
            raise CheckpointError(f'{path} belongs to another checkpoint')
    except CheckpointError as error:
        problem = str(error)
    # the main process alone writes warnings
    problems = enumerate(all_gather_object(problem))
    lost = {other: text for other, text in problems if text}
    if lost:
        log.warning(
            'weights, optimizer and place in the epoch are resumed; in '
            f'{len(lost)} of {world_size} processes '
            f'(rank {", ".join(map(str, lost))}) streams and random numbers '
            f'start afresh: {next(iter(lost.values()))}'
        )
    if problem:
        return
    loop.generators = state['generators']
    for name, module in _streaming_modules(runner.model):
        module.load_stream_state(state['streams'].get(name, ()))
    for name, weight in runner.model.named_parameters():
        if name in state['gradients']:
            weight.grad = state['gradients'][name].to(weight.device)


def optimizer_name(runner: Runner) -> str | None:
    """The class of a run's optimizer, None where it has several."""
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    return optimizer and type(optimizer).__name__


def render_head_names(runner: Runner) -> list[str]:
    """The classes of a model's render heads, in order."""
    model = runner.model
    model = model.module if is_model_wrapper(model) else model
    heads = getattr(model, 'render_heads', ())
    return [type(head).__name__ for head in heads]


def check_same_checkpoint(checkpoint: str | Path | None) -> None:
    """See that all processes resume alike; to be called by all.

    Machines that do not share the work dir would find other checkpoints
    there, or none, and train apart without a word.

    Args:
        checkpoint: what this process resumes from, if anything.

    Raises:
        ConfigError: when names of checkpoints differ. Their folders may:
            a machine may have the work dir mounted elsewhere.
    """
    names = all_gather_object(checkpoint and Path(checkpoint).name)
    if len(set(names)) > 1:
        found = ', '.join(f'rank {i}: {name}' for i, name in enumerate(names))
        raise ConfigError(
            'all processes have to resume from the same checkpoint, found '
            f'{found}. Machines that train together need a shared work dir'
        )


def _state_path(checkpoint: Path, rank: int) -> Path:
    return checkpoint.parent / _FOLDER / f'{checkpoint.stem}.rank{rank}.pth'


def _streaming_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that remember frames, by name."""
    if is_model_wrapper(model):
        model = model.module
    for name, module in model.named_modules():
        if hasattr(module, 'stream_state'):
            yield name, module
