"""A training step on the CPU beside the same one on the GPU.

The same weights, frames and random draws give losses and gradients that
differ by round-off alone.
"""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import torch
from torch import Tensor, nn

from .gpu import Bench, PartError, prepare, table
from .rows import SEED

#: a config per method: small enough for the CPU beside the GPU
TINY = (
    'fbocc/fbocc-tiny_minitown.py',
    'voxelsplat/voxelsplat_fbocc-tiny_minitown.py',
    'voxelsplat/voxelsplat-adjacent_fbocc-tiny_minitown.py',
    'gaussrender/gaussrender_fbocc-tiny_minitown.py',
    'voxdet/voxdet_fbocc-tiny_minitown.py',
    'renderocc/renderocc-1f_bevstereo-tiny_minitown.py',
    'gsrender/gsrender-2f_bevstereo-tiny_minitown.py',
    'tpvformer/tpvformer-tiny_minitown.py',
    'gaussrender/gaussrender_surroundocc-tiny_minitown.py',
)
#: what round-off may do to a loss, and to all gradients as one vector;
#: relative. On one machine it is 1e-6 and 1e-4; a wrong formula is far above.
LOSS_OFF, GRADIENT_OFF = 1e-3, 2e-2
COLUMNS = ('config', 'loss', 'CPU', 'GPU', 'relative difference')


@contextmanager
def comparable() -> Iterator[None]:
    """Both devices draw the same numbers, and round as one.

    Chance on a GPU is its own: within, the CPU draws for both. Convolutions
    on a GPU have 10 bits of mantissa by default (TF32): within, all 23.
    """
    rand_like, multinomial = torch.rand_like, torch.multinomial
    tf32 = torch.backends.cudnn.allow_tf32

    def rand_like_here(like: Tensor) -> Tensor:
        return rand_like(like.cpu()).to(like.device)

    def multinomial_here(weights: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return multinomial(weights.cpu(), *args, **kwargs).to(weights.device)

    torch.rand_like, torch.multinomial = rand_like_here, multinomial_here
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.rand_like, torch.multinomial = rand_like, multinomial
        torch.backends.cudnn.allow_tf32 = tf32


def losses_on(
    device: str, model: nn.Module, batch: dict
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Every loss of a training step on a device, and its gradients there."""
    model = copy.deepcopy(model).to(device).train()
    torch.manual_seed(SEED)
    with comparable():
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        losses = model(**data, mode='loss')
        total, logged = model.parse_losses(losses)
        total.backward()
    gradients = {
        name: parameter.grad.detach().cpu().double()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {k: float(v.detach()) for k, v in logged.items()}, gradients


def compare_devices(bench: Bench, path: Path) -> list[list[Any]]:
    """Rows of the table of a step on the CPU beside one on the GPU.

    Raises:
        PartError: when a loss or the gradients differ by more than
            round-off, or one device has a loss that the other has not.
    """
    _, model, batches = prepare(bench, path)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    expected, wanted = losses_on('cpu', model, batches['train'])
    found, gradients = losses_on(bench.device, model, batches['train'])
    rows, wrong = [], sorted(expected.keys() ^ found.keys())
    for name in sorted(expected.keys() & found.keys()):
        error = abs(found[name] - expected[name])
        error /= max(abs(expected[name]), 1e-6)
        rows.append([path.stem, name, expected[name], found[name], error])
        if not error <= LOSS_OFF:
            wrong.append(name)
    wrong += sorted(wanted.keys() ^ gradients.keys())
    shared = sorted(wanted.keys() & gradients.keys())
    norms = {name: float(wanted[name].norm()) for name in shared}
    errors = {
        name: float((gradients[name] - wanted[name]).norm()) for name in shared
    }
    whole = math.hypot(*norms.values())
    error = math.hypot(*errors.values()) / max(whole, 1e-12)
    worst = max(shared, key=errors.__getitem__)
    there = math.hypot(*(float(x.norm()) for x in gradients.values()))
    rows.append([path.stem, f'gradients (most: {worst})', whole, there, error])
    if not error <= GRADIENT_OFF:
        wrong.append('gradients')
    if wrong:
        columns = table(COLUMNS, rows)
        raise PartError(f'differ: {", ".join(wrong)}\n\n{columns}')
    return rows
