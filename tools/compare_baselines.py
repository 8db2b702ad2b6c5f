"""Does a trained model beat predictors that look at no image?

python tools/compare_baselines.py CONFIG CHECKPOINT

Scores four predictors on the validation set with the config's own metrics:
the checkpoint, the same network before training, "all free", and an endless
road (one layer of driveable surface at the ego vehicle's height). Writes
the table as comparison.md to the work dir. The exit status is 1 unless the
checkpoint has the highest RayIoU.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch
from mmdet3d.registry import METRICS, MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.runner import set_random_seed
from terminaltables import AsciiTable
from torch import Tensor, nn
from tqdm import tqdm

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    ConfigError,
    OccRunner,
    add_cfg_options,
    build_errors,
    limit_threads,
    load_config,
    load_model_weights,
    user_errors,
)
from occsplat.engine.cli import set_work_dir
from occsplat.evaluation import RayIoUMetric
from occsplat.structures import (
    OccDataSample,
    check_writable,
)
from occsplat.structures.files import whole_file

COLUMNS = (
    'RayIoU@1',
    'RayIoU@2',
    'RayIoU@4',
    'RayIoU',
    'mAVE',
    'mAVE_TP',
    'mIoU',
)
TRAINED, UNTRAINED = 'trained', 'untrained'
FREE, ROAD = 'all free', 'endless road'

# takes a collated batch, returns samples with predictions filled in
Predictor = Callable[[dict[str, Any]], Sequence[OccDataSample]]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='where comparison.md goes')
    add_cfg_options(parser)
    return parser


def build_metrics(cfg: Config) -> list[Any]:
    """The config's validation metrics, new and empty.

    Raises:
        ConfigError: when RayIoU is not among them.
    """
    evaluators = cfg.val_evaluator
    if not isinstance(evaluators, (list, tuple)):
        evaluators = [evaluators]
    with build_errors(cfg):
        metrics = [METRICS.build(evaluator) for evaluator in evaluators]
    if not any(isinstance(metric, RayIoUMetric) for metric in metrics):
        raise ConfigError('val_evaluator has no RayIoUMetric to compare by')
    return metrics


def constant_predictor(volume: Tensor) -> Predictor:
    """Predicts the same volume (X, Y, Z) for every frame, at rest."""

    def predict(data: dict[str, Any]) -> Sequence[OccDataSample]:
        for sample in data['data_samples']:
            sample.pred_occ = volume
            sample.pred_flow = torch.zeros(*volume.shape, 2)
        return data['data_samples']

    return predict


def trivial_predictors(metric: RayIoUMetric) -> dict[str, Predictor]:
    """All free, and an endless road on the layer that holds z = 0."""
    free = torch.full(metric.grid.shape, metric.spec.free, dtype=torch.uint8)
    road = free.clone()
    origin, inside = metric.grid.locate(torch.zeros(3))
    if not inside:
        raise ConfigError(
            f"the ego vehicle is not inside the metric's grid {metric.grid}"
        )
    driveable = metric.spec.classes.index('driveable_surface')
    road[..., int(origin[2])] = driveable
    return {
        FREE: constant_predictor(free),
        ROAD: constant_predictor(road),
    }


def build_model(cfg: Config) -> nn.Module:
    """The config's network with its seeded initial weights."""
    set_random_seed(cfg.get('randomness', {}).get('seed') or 0)
    with build_errors(cfg):
        model = MODELS.build(cfg.model)
    model.init_weights()
    return model.to(get_device()).eval()


def compare(
    cfg: Config, checkpoint: str, options: Mapping[str, Any] | None
) -> dict[str, dict[str, float]]:
    """Scores by predictor; every frame is loaded once."""
    trained, untrained = build_model(cfg), build_model(cfg)
    load_model_weights(trained, checkpoint, options)
    loader = OccRunner.build_dataloader(cfg.val_dataloader, seed=0)
    metrics = {name: build_metrics(cfg) for name in (TRAINED, UNTRAINED)}
    rays = next(m for m in metrics[TRAINED] if isinstance(m, RayIoUMetric))
    predictors: dict[str, Predictor] = {
        TRAINED: trained.val_step,
        UNTRAINED: untrained.val_step,
        **trivial_predictors(rays),
    }
    for name in predictors:
        metrics.setdefault(name, build_metrics(cfg))
    with torch.no_grad():
        for data in tqdm(loader, desc='batches', disable=None):
            for name, predict in predictors.items():
                # scored at once: the next predictor overwrites the samples
                samples = predict(data)
                for metric in metrics[name]:
                    metric.process(data, samples)
    scores: dict[str, dict[str, float]] = {}
    for name, scorers in metrics.items():
        scores[name] = {}
        for metric in scorers:
            scores[name].update(metric.score())
    return scores


def table_rows(scores: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """A header and one row a predictor, columns without a score left out."""
    shown = [c for c in COLUMNS if any(c in row for row in scores.values())]

    def cell(value: float) -> str:
        return '-' if math.isnan(value) else f'{value:.4f}'

    rows = [['predictor', *shown]]
    for name, row in scores.items():
        rows.append([name, *(cell(row.get(c, math.nan)) for c in shown)])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The rows as a markdown table."""
    rule = ['---', *('--:' for _ in rows[0][1:])]
    lines = [rows[0], rule, *rows[1:]]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def verdict(scores: Mapping[str, Mapping[str, float]]) -> tuple[bool, str]:
    """Whether the trained model has the highest RayIoU, and the line."""
    own = scores[TRAINED]['RayIoU']
    others = {
        name: row['RayIoU'] for name, row in scores.items() if name != TRAINED
    }
    ahead = {name: s for name, s in others.items() if not own > s}
    if ahead:
        listed = ', '.join(f'{name} {s:.4f}' for name, s in ahead.items())
        return False, (
            f'The trained model does NOT beat all three on RayIoU: '
            f'{own:.4f}, but {listed}'
        )
    best = max(others.values())
    return True, (
        f'The trained model beats all three on RayIoU: {own:.4f}, the best '
        f'of them has {best:.4f}'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; returns the exit status."""
    args = make_parser().parse_args(argv)
    limit_threads()
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        set_work_dir(cfg, args.work_dir, args.config)
        check_writable(cfg.work_dir)
        # every score() logs its own table: one for all of them is enough
        MMLogger.get_current_instance().setLevel(logging.WARNING)
        scores = compare(cfg, args.checkpoint, args.cfg_options)
    rows = table_rows(scores)
    print(AsciiTable(rows).table)
    path = Path(cfg.work_dir) / 'comparison.md'
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(markdown(rows), encoding='utf-8')
    print(f'The table is in {path}')
    wins, line = verdict(scores)
    print(line)
    return 0 if wins else 1


if __name__ == '__main__':
    sys.exit(main())
