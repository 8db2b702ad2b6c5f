"""Which loss pulls how hard on a network's predictions.

python tools/loss_gradients.py CONFIG
python tools/loss_gradients.py CONFIG CHECKPOINT --frames 16

Weights of losses are told beside one another: a render loss that was found
beside one loss in 3D is another one beside a loss that pulls half as hard.
For each term the table has its value, times its weight; the length of its
gradient by the class logits, the same over that of all losses in 3D
(loss_occ_...) together; and the cosine between the two, which is 1 where both
want the same and -1 where they want opposites. All are means over frames of
the training split, each by itself. Without a checkpoint the weights are those
that a training begins with.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch
from mmdet3d.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from torch import Tensor
from tqdm import tqdm

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    ConfigError,
    build_errors,
    load_config,
    user_errors,
)
from occsplat.engine.cli import add_device_options, load_model

#: what the losses in 3D are called
VOXEL_LOSSES = 'loss_occ'
TOGETHER = 'all losses in 3D'
#: columns, and how they are written
COLUMNS = {
    'value': '.3f',
    'gradient': '.2e',
    'over 3D': '.2f',
    'cosine': '+.2f',
}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file')
    parser.add_argument(
        '--frames', type=int, default=8, help='spread over the split'
    )
    parser.add_argument('--seed', type=int, default=0, help='of what is drawn')
    add_device_options(parser)
    return parser


def measure(model: BaseModel, data: dict) -> dict[str, dict[str, float]]:
    """Columns of each term, for one batch.

    Args:
        model: in training mode, with an ``occ_head``.
        data: as a data loader gives it.
    """
    logits: list[Tensor] = []
    hook = model.occ_head.register_forward_hook(
        lambda module, inputs, output: logits.append(output.logits)
    )
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    hook.remove()
    values = {name: value for name, value in losses.items() if 'loss' in name}
    found = {
        name: torch.autograd.grad(
            value, logits[0], retain_graph=True, allow_unused=True
        )[0]
        for name, value in values.items()
        if value.requires_grad
    }
    # a term that does not reach the logits, such as one of depths, is none
    gradients = {
        name: g.flatten() for name, g in found.items() if g is not None
    }
    voxel = [name for name in gradients if name.startswith(VOXEL_LOSSES)]
    if not voxel:
        raise ConfigError(
            f'no {VOXEL_LOSSES}... reaches the logits: there is nothing to '
            f'compare with. Losses: {", ".join(values) or "none"}'
        )
    values[TOGETHER] = sum(values[name] for name in voxel)
    gradients[TOGETHER] = sum(gradients[name] for name in voxel)
    together = gradients[TOGETHER]
    return {
        name: {
            'value': float(values[name].detach()),
            'gradient': float(gradient.norm()),
            'over 3D': float(gradient.norm() / together.norm()),
            'cosine': float(
                torch.cosine_similarity(gradient, together, dim=0)
            ),
        }
        for name, gradient in gradients.items()
    }


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Measure as the command line says; prints and returns the means."""
    args = make_parser().parse_args(argv)
    with user_errors():
        if args.frames < 1:
            raise ConfigError(
                f'--frames must be at least 1, got {args.frames}'
            )
        torch.manual_seed(args.seed)
        cfg = load_config(args.config, args.cfg_options)
        model = load_model(cfg, args).train()
        # past the warm-up, in which some losses wait
        model.set_warmup(False)
        with build_errors(cfg):
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
        step = max(len(dataset) // args.frames, 1)
        frames = range(0, len(dataset), step)[: args.frames]
        sums: dict[str, dict[str, float]] = {}
        for index in tqdm(frames, desc='frames', leave=False):
            for name, row in measure(
                model, pseudo_collate([dataset[index]])
            ).items():
                total = sums.setdefault(name, defaultdict(float))
                for column, value in row.items():
                    total[column] += value / len(frames)
    print('| loss | ' + ' | '.join(COLUMNS) + ' |')
    print('|---' + '|--:' * len(COLUMNS) + '|')
    for name, row in sums.items():
        cells = [format(row[column], form) for column, form in COLUMNS.items()]
        print(f'| {name} | ' + ' | '.join(cells) + ' |')
    return sums


if __name__ == '__main__':
    main()
