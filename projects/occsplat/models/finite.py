"""Numbers that are not finite: said at once, with the module they come from.

A NaN spreads: every module behind the one that made it gives NaN as well,
and what ends in an error is some index far away. An ordinary step pays one
look at the prediction and the losses. A step that fails runs once more,
this time with an eye on every module.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from occsplat.structures import NonFiniteError, OccDataSample, OccPrediction

#: what has a prediction's numbers; the rest is made of these
PREDICTED = ('logits', 'flow', 'offsets', 'density', 'gaussians')


def require_finite(
    prediction: OccPrediction, losses: Mapping[str, Any] | None = None
) -> None:
    """Stop where a prediction or a loss is NaN or infinite.

    Args:
        prediction (OccPrediction): of a batch.
        losses (mapping, optional): tensors, or lists of them, by name.

    Raises:
        NonFiniteError: with the names of what is not finite, and the
            values of all losses.
    """
    require_finite_values(
        {
            f'prediction.{name}': getattr(prediction, name)
            for name in PREDICTED
        },
        losses,
    )


def require_finite_values(
    values: Mapping[str, Any], losses: Mapping[str, Any] | None = None
) -> None:
    """As ``require_finite``, for what a network predicts beside volumes.

    Args:
        values (mapping): tensors, or what has them, by the name that the
            error calls them.
        losses (mapping, optional): tensors, or lists of them, by name.

    Raises:
        NonFiniteError: with the names of what is not finite, and the
            values of all losses.
    """
    losses = losses or {}
    named = {
        name: list(_tensors(value))
        for name, value in {**values, **losses}.items()
    }
    every = [tensor for tensors in named.values() for tensor in tensors]
    # one wait for the device, whatever there is to look at
    if torch.stack([t.detach().isfinite().all() for t in every]).all():
        return
    wrong = [name for name, tensors in named.items() if _broken(tensors)]
    text = f'{", ".join(wrong)}: not finite'
    if losses:
        values = [f'{name}={_value(loss)}' for name, loss in losses.items()]
        text += f'. Losses: {", ".join(values)}'
    raise NonFiniteError(text)


def run_finite(
    model: nn.Module,
    step: Callable[[dict[str, Tensor], list[OccDataSample]], Any],
    inputs: dict[str, Tensor],
    samples: list[OccDataSample],
) -> Any:
    """Run a step, and where it breaks over a number say where that is from.

    Args:
        model (nn.Module): whose modules are looked at.
        step (callable): of ``inputs`` and ``samples``; calls
            ``require_finite``.
        inputs (dict): of the model.
        samples (list of OccDataSample): those of the batch.

    Returns:
        What ``step`` returns.

    Raises:
        NonFiniteError: when ``require_finite`` does, or when the step ends
            in some other error and a module's output is not finite. Names
            the frames, the losses and the first module, in the order of
            execution, whose output is not.
    """
    generators = _generators(model)
    try:
        return step(inputs, samples)
    except torch.cuda.OutOfMemoryError:
        raise
    except NonFiniteError as error:
        # what the step held on to makes room for the second one
        traceback.clear_frames(error.__traceback__)
        found = first_non_finite(model, step, inputs, samples, generators)
        raise NonFiniteError(_report(samples, str(error), found)) from None
    except Exception as error:
        found = first_non_finite(model, step, inputs, samples, generators)
        if found is None:
            raise
        text = f'{type(error).__name__}: {error}'
        raise NonFiniteError(_report(samples, text, found)) from error


def first_non_finite(
    model: nn.Module,
    step: Callable[[dict[str, Tensor], list[OccDataSample]], Any],
    inputs: dict[str, Tensor],
    samples: list[OccDataSample],
    generators: Mapping[torch.device, Tensor],
) -> str | None:
    """Run a step again up to the first module with NaN or infinity.

    The model is of no more use afterwards: statistics and past volumes
    have seen the step twice.

    Args:
        model, step, inputs, samples: see ``run_finite``.
        generators (mapping): states of the random generators that the
            step started from, by device.

    Returns:
        The module, its output, its input and its weights, in words; None
        where all outputs are finite.
    """
    _set_generators(generators)
    names = {module: name for name, module in model.named_modules() if name}

    def look(
        module: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> None:
        tensors = list(_tensors(output))
        if _broken(tensors):
            raise _Found(
                f'{names[module]} ({type(module).__name__}): '
                f'{_share(tensors)} of its output are not finite; '
                f'{_origin(module, (args, kwargs))}'
            )

    handles = [
        module.register_forward_hook(look, with_kwargs=True)
        for module in names
    ]
    for module in model.modules():
        # another process may not be in need of a second step
        if isinstance(module, nn.SyncBatchNorm):
            module.eval()
    try:
        with torch.no_grad():
            step(inputs, samples)
    except _Found as found:
        return str(found)
    except Exception:
        # the error that the second step is there to explain
        return None
    finally:
        for handle in handles:
            handle.remove()
    return None


class _Found(Exception):
    """The first module whose output is not finite."""


def _report(
    samples: Sequence[OccDataSample], error: str, found: str | None
) -> str:
    tokens = ', '.join(str(s.metainfo.get('token')) for s in samples)
    if found is None:
        where = (
            'The outputs of all modules are finite when the step is run '
            'again: the number comes from a loss, or from past frames'
        )
    else:
        where = f'The first module with such an output is {found}'
    return (
        f'frames {tokens}: {error}. {where}. Usual causes are a learning '
        'rate that is too high, --amp, and damaged weights or inputs'
    )


def _origin(module: nn.Module, arguments: Any) -> str:
    """Whether a module's input or its own numbers are to blame."""
    own = dict(module.named_parameters(recurse=False))
    own.update(module.named_buffers(recurse=False))
    said = [
        f'{name} is not ({_share([value])})'
        for name, value in own.items()
        if _broken(list(_tensors(value)))
    ]
    before = list(_tensors(arguments))
    if _broken(before):
        said.insert(0, f'its input is not ({_share(before)})')
    return ', '.join(said) or 'its input and its own weights are finite'


def _share(tensors: Sequence[Tensor]) -> str:
    bad = sum(int((~tensor.isfinite()).sum()) for tensor in tensors)
    return f'{bad} of {sum(tensor.numel() for tensor in tensors)} numbers'


def _broken(tensors: Sequence[Tensor]) -> bool:
    return not all(tensor.isfinite().all() for tensor in tensors)


def _value(loss: Any) -> str:
    return '+'.join(f'{float(t.detach().mean()):.4g}' for t in _tensors(loss))


def _tensors(value: Any) -> Iterator[Tensor]:
    """All floating-point tensors in what modules take and return."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif dataclasses.is_dataclass(value):
        yield from _tensors(vars(value))


def _generators(model: nn.Module) -> dict[torch.device, Tensor]:
    """States of the generators that a model draws from."""
    states = {torch.device('cpu'): torch.get_rng_state()}
    device = next(model.parameters()).device
    if device.type == 'cuda':
        states[device] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(states: Mapping[torch.device, Tensor]) -> None:
    for device, state in states.items():
        if device.type == 'cuda':
            torch.cuda.set_rng_state(state, device)
        else:
            torch.set_rng_state(state)
