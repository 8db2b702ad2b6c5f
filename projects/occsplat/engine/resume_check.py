"""What of a checkpoint can be resumed by a config, and what is ignored.

mmengine resumes what it can and says little of the rest: a learning rate of
the command line is overwritten by the checkpoint's, and an optimizer is
given the state of another one, or of other weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from .errors import CheckpointError
from .run_state import optimizer_name, render_head_names
from .weight_fit import check_fit

_META = dict(epoch=int, iter=int)
_RUN_STATE = dict(
    tag=str, world_size=int, epoch_length=int, position=int, sampler_seed=None
)
_HUB = dict(log_scalars=dict, runtime_info=dict, resumed_keys=dict)
#: how a step is computed, not what it is
_IMPLEMENTATION = {
    *('params', 'param_names', 'foreach', 'fused', 'capturable'),
    *('differentiable', 'initial_lr', 'initial_momentum'),
}
#: how far a schedule has come; what it starts from is the optimizer's
_PROGRESS = {
    *('last_step', '_global_step', '_last_value', 'verbose'),
    *('base_values', '_step_count'),
}


def prepare_resume(
    runner: Runner, checkpoint: dict[str, Any], name: str | Path
) -> None:
    """See that a run can go on from a checkpoint; warn of what is ignored.

    Args:
        runner (Runner): with its optimizer and schedules.
        checkpoint (dict): as ``read_weights`` gives it; an average of the
            weights that no hook wants is taken out of it.
        name: of the checkpoint.

    Raises:
        CheckpointError: when weights, optimizer or schedules are others
            than the config's, or the checkpoint is not one of a run.
    """
    _check_parts(checkpoint, name)
    ignored = list(_drop_average(runner, checkpoint))
    model = runner.model
    model = model.module if is_model_wrapper(model) else model
    try:
        check_fit(model.state_dict(), checkpoint['state_dict'], name)
        if isinstance(runner.optim_wrapper, OptimWrapper):
            ignored += _optimizer_changes(runner, checkpoint)
        if isinstance(runner.param_schedulers, list):
            saved = checkpoint.get('param_schedulers', [])
            ignored += _schedule_changes(runner.param_schedulers, saved)
    except CheckpointError as error:
        raise CheckpointError(
            f'cannot resume: {str(error).removesuffix(".")}. To train anew '
            f'from its weights: --cfg-options load_from={name}'
        ) from None
    _compare_render_heads(runner, checkpoint, name)
    if ignored:
        runner.logger.warning(
            f'resuming {name}; ignored, as the checkpoint decides: '
            f'{"; ".join(ignored)}. To train anew from its weights: '
            f'--cfg-options load_from={name}'
        )


def _compare_render_heads(
    runner: Runner, checkpoint: dict[str, Any], name: str | Path
) -> None:
    """Heads without weights leave no trace but the note of their run."""
    state = checkpoint['meta'].get('run_state') or {}
    saved, own = state.get('render_heads'), render_head_names(runner)
    if isinstance(saved, list) and saved != own:
        listed = [
            ', '.join(map(str, heads)) or 'none' for heads in (saved, own)
        ]
        runner.logger.warning(
            f'resuming {name}: its run was trained with render heads '
            f'{listed[0]}, the config has {listed[1]}; from here on the '
            "config's losses count"
        )


def _check_parts(checkpoint: dict[str, Any], name: str | Path) -> None:
    """See that a checkpoint has what mmengine resumes from."""
    parts = [('meta', checkpoint['meta'], _META)]
    parts.append(('message_hub', checkpoint.get('message_hub'), _HUB))
    if checkpoint['meta'].get('run_state') is not None:
        state = checkpoint['meta']['run_state']
        parts.append(("meta['run_state']", state, _RUN_STATE))
    for part, found, expected in parts:
        for key, kind in expected.items():
            whole = isinstance(found, dict) and key in found
            if not whole or (kind and not isinstance(found[key], kind)):
                raise CheckpointError(
                    f'checkpoint {name} cannot be resumed: expected {key!r} '
                    f'in its {part}, as a run of OccSplat writes it. To '
                    f'start from its weights: --cfg-options load_from={name}'
                )
    counts = [checkpoint['meta'][key] for key in _META]
    state = checkpoint['meta'].get('run_state')
    if state is not None:
        counts += [
            state['position'],
            state['epoch_length'] - state['position'],
        ]
    if min(counts) < 0:
        raise CheckpointError(
            f'checkpoint {name} cannot be resumed: its epoch, iteration or '
            'place in the epoch is out of range'
        )
    # mmengine runs this text as a program
    checkpoint['meta'].pop('config', None)


def _drop_average(runner: Runner, checkpoint: dict[str, Any]) -> Iterator[str]:
    """Without EMAHook, go on with the weights and not with their average."""
    average = checkpoint.get('ema_state_dict')
    if average is None:
        return
    if not isinstance(average, dict):
        raise CheckpointError('ema_state_dict of the checkpoint is no dict')
    if any(isinstance(hook, EMAHook) for hook in runner.hooks):
        return
    del checkpoint['ema_state_dict']
    # mmengine stores the two in each other's place
    for key, value in average.items():
        name = str(key).removeprefix('module.')
        if name in checkpoint['state_dict'] and isinstance(value, Tensor):
            checkpoint['state_dict'][name] = value
    yield 'the average of the weights, as the config has no EMAHook'


def _optimizer_changes(
    runner: Runner, checkpoint: Mapping[str, Any]
) -> Iterator[str]:
    """Settings of the config that the checkpoint's replace.

    Raises:
        CheckpointError: when the state is that of another optimizer.
    """
    kind = optimizer_name(runner)
    state = checkpoint.get('optimizer')
    groups = state.get('param_groups') if isinstance(state, dict) else None
    if not isinstance(groups, list) or not isinstance(
        state.get('state'), dict
    ):
        raise CheckpointError('the checkpoint has no state of an optimizer')
    saved_kind = (checkpoint['meta'].get('run_state') or {}).get('optimizer')
    if saved_kind not in (None, kind):
        raise CheckpointError(
            f'optimizer {kind} in the config, {saved_kind} in the checkpoint'
        )
    own = runner.optim_wrapper.param_groups
    if [len(g['params']) for g in own] != [_count(g) for g in groups]:
        raise CheckpointError(
            f'the optimizer of the config has {_sizes(own)}, that of the '
            f'checkpoint {_sizes(groups)}: paramwise_cfg, frozen stages or '
            'the optimizer are others'
        )
    changed: dict[str, str] = {}
    for new, old in zip(own, groups):
        missing = {k for k, v in new.items() if _is_setting(k, v)} - set(old)
        if missing:
            raise CheckpointError(
                f'optimizer {kind} of the config has {sorted(missing)[0]}, '
                'that of the checkpoint has none: it is another one'
            )
        # a schedule of betas or momentum moves them
        moved = {'betas', 'momentum'} if 'initial_momentum' in new else set()
        for key in new.keys() & old.keys() - _IMPLEMENTATION - moved:
            first = 'initial_lr' if key == 'lr' else key
            was, now = old.get(first, old[key]), new.get(first, new[key])
            if was != now:
                changed.setdefault(key, f'{key} {now} (checkpoint: {was})')
    yield from (changed[key] for key in sorted(changed))
    if 'loss_scaler' in state and not hasattr(
        runner.optim_wrapper, 'loss_scaler'
    ):
        yield 'the loss scale of mixed precision, which is off'


def _is_setting(key: str, value: Any) -> bool:
    """Whether an entry of a group makes an optimizer what it is."""
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return key not in _IMPLEMENTATION and isinstance(value, float)


def _count(group: Any) -> int | None:
    params = group.get('params') if isinstance(group, dict) else None
    return len(params) if isinstance(params, list) else None


def _sizes(groups: Sequence[Any]) -> str:
    weights = sum(_count(group) or 0 for group in groups)
    return f'{len(groups)} groups of {weights} weights'


def _schedule_changes(schedules: Sequence[Any], states: Any) -> Iterator[str]:
    """Settings of schedules that the checkpoint's replace.

    Raises:
        CheckpointError: when the state is that of other schedules.
    """
    own = [schedule.state_dict() for schedule in schedules]
    if not isinstance(states, list) or len(own) != len(states):
        raise CheckpointError(
            f'{len(own)} param_scheduler in the config, '
            f'{len(states) if isinstance(states, list) else "none"} in the '
            'checkpoint'
        )
    for index, (schedule, new, old) in enumerate(zip(schedules, own, states)):
        name = f'{type(schedule).__name__} (param_scheduler[{index}])'
        if not isinstance(old, dict) or new.keys() != old.keys():
            raise CheckpointError(
                f'{name} in the config, another schedule in the checkpoint'
            )
        for key in sorted(new.keys() - _PROGRESS):
            if new[key] != old[key]:
                yield f'{key} {new[key]} of {name} (checkpoint: {old[key]})'
