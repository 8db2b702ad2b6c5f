"""Find the opacity from which a voxel counts as occupied.

python tools/calibrate_threshold.py CONFIG CHECKPOINT
python tools/calibrate_threshold.py CONFIG CHECKPOINT --by mIoU --dry-run

A head that renders trained says how opaque a voxel is, and occupied is what
reaches a threshold. The network runs once over the last key frames of the
training split, as in a test, and every threshold is scored on what it says
of them; false metres and ghosts (DuplicateMetric) are counted for the best
one alone. It goes into the checkpoint, and test.py, visualize.py and infer.py
use it from there, unless --cfg-options model.occ_head.opacity_threshold=...
says otherwise.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch
from mmdet3d.registry import METRICS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from tqdm import tqdm

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    ConfigError,
    build_errors,
    build_split,
    load_config,
    threshold_head,
    threshold_meta,
    update_meta,
    user_errors,
)
from occsplat.engine.cli import add_device_options, load_model
from occsplat.evaluation import (
    CALIBRATION_THRESHOLDS,
    DuplicateMetric,
    OccIoUMetric,
    RayIoUMetric,
    ThresholdSweep,
    best_threshold,
    choices,
    pooled,
)
from occsplat.structures import check_writable, whole_file

#: metrics of the config's test_evaluator that are scored: those that a
#: threshold can be chosen by at every threshold, the other at the best one
SCORED = (RayIoUMetric, OccIoUMetric, DuplicateMetric)
#: shown of the last
DETAILS = ('FalseBehind', 'FalseBefore', 'Runs', 'GhostRate', 'Thickness')
#: part of the training split that is scored, at least so many key frames
_SHARE, _LEAST = 10, 20

Scores = Mapping[str, float]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    add_device_options(parser)
    parser.add_argument(
        '--thresholds',
        nargs='+',
        type=float,
        default=CALIBRATION_THRESHOLDS,
        metavar='TAU',
        help='default: ' + ' '.join(f'{t:g}' for t in CALIBRATION_THRESHOLDS),
    )
    parser.add_argument(
        '--by',
        default='RayIoU',
        metavar='METRIC',
        help='what the best threshold has most of: RayIoU (default), mIoU '
        'or another IoU of the table',
    )
    parser.add_argument(
        '--split',
        default='train',
        choices=('train', 'val'),
        help='default: train. Configs test on val: a threshold chosen there '
        'flatters their scores',
    )
    parser.add_argument(
        '--frames',
        type=int,
        help='how many key frames, the last of the split (default: a tenth '
        f'of the training split and at least {_LEAST}; all of val)',
    )
    parser.add_argument(
        '--out', help='folder for the table, thresholds.csv and .md'
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='leave the checkpoint as it is',
    )
    return parser


def check_arguments(args: argparse.Namespace) -> None:
    """Raise a ConfigError for arguments that make no sense."""
    wrong = [t for t in args.thresholds if not 0 < t < 1]
    if wrong:
        raise ConfigError(
            f'--thresholds must be between 0 and 1, got {wrong[0]:g}'
        )
    if args.frames is not None and args.frames < 1:
        raise ConfigError(f'--frames must be >= 1, got {args.frames}')
    if '://' in args.checkpoint and not args.dry_run:
        raise ConfigError(
            f'the threshold is written into the checkpoint: fetch '
            f'{args.checkpoint} and give its path, or use --dry-run'
        )


def frame_indices(total: int, split: str, frames: int | None) -> range:
    """The last key frames of a split."""
    if frames is None:
        frames = max(total // _SHARE, _LEAST) if split == 'train' else total
    return range(max(total - frames, 0), total)


def build_sweep(
    cfg: Config, thresholds: Sequence[float], by: str
) -> ThresholdSweep:
    """Those of the config's test metrics that are scored, new and empty.

    Raises:
        ConfigError: when there is none, or no threshold is chosen ``by``.
    """
    evaluators = cfg.get('test_evaluator') or []
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    scored = [kind.__name__ for kind in SCORED]
    with build_errors(cfg):
        metrics = [
            METRICS.build(
                dict(e, flow=False)
                if e['type'] == RayIoUMetric.__name__
                else e
            )
            for e in evaluators
            if e['type'] in scored
        ]
    if not metrics:
        raise ConfigError(
            f'test_evaluator: expected one of {", ".join(scored)}, '
            f'got {", ".join(e["type"] for e in evaluators) or "none"}'
        )
    allowed = choices(metrics)
    if by not in allowed:
        raise ConfigError(
            f'--by {by}: expected one of {", ".join(allowed) or "none"}, '
            'which the test_evaluator of the config has'
        )
    return ThresholdSweep(metrics, thresholds, by)


def run_sweep(
    sweep: ThresholdSweep, model: BaseModel, dataset: Any, indices: range
) -> dict[float, dict[str, float]]:
    """Score every threshold; the network sees each key frame once.

    Args:
        sweep: without a frame.
        model: its occupancy head has an opacity threshold.
        dataset: key frames in scene and time order.
        indices: of the key frames, in that order: some models remember.

    Returns:
        dict: metrics by threshold; ``DETAILS`` are nan but for the best.

    Raises:
        ConfigError: when the metric to choose by is not defined for any.
    """
    head = threshold_head(model)
    for index in tqdm(indices, desc='frames', disable=None):
        data = model.data_preprocessor(pseudo_collate([dataset[index]]))
        with torch.no_grad():
            prediction = model(**data, mode='tensor')
            opacity = head.opacity(prediction)[0]
        sample = data['data_samples'][0].cpu()
        sample.pred_opacity = opacity.to('cpu')
        sweep.process([sample])
    scores = sweep.scores()
    best = best_threshold(scores, sweep.by)
    if best is None:
        raise ConfigError(
            f'{sweep.by} is not defined for any threshold: the key frames '
            'have no labels that count'
        )
    sweep.settle(best)
    for metric in sweep.waiting:
        details = pooled(metric, DETAILS)
        for threshold, row in scores.items():
            here = threshold == best
            row.update(details if here else dict.fromkeys(details, math.nan))
    return scores


def markdown(scores: Mapping[float, Scores], best: float) -> str:
    """A row a threshold, the best one in bold type."""
    names = list(next(iter(scores.values())))
    lines = [['threshold', *names], ['--:' for _ in ('', *names)]]
    for threshold, row in scores.items():
        label = f'**{threshold:g}**' if threshold == best else f'{threshold:g}'
        cells = ['-' if math.isnan(row[k]) else f'{row[k]:.4f}' for k in names]
        lines.append([label, *cells])
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def write_tables(
    folder: Path, scores: Mapping[float, Scores], table: str, found: str
) -> None:
    """Write thresholds.csv and thresholds.md, each whole or not at all."""
    content = io.StringIO(newline='')
    names = list(next(iter(scores.values())))
    writer = csv.writer(content, lineterminator='\n')
    writer.writerow(['threshold', *names])
    for threshold, row in scores.items():
        cells = ('' if math.isnan(row[k]) else row[k] for k in names)
        writer.writerow([threshold, *cells])
    texts = {'.csv': content.getvalue(), '.md': f'{found}\n\n{table}'}
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, text in texts.items():
        path = folder / f'thresholds{suffix}'
        with whole_file(path) as part:
            part.write_text(text, encoding='utf-8')


def main(argv: Sequence[str] | None = None) -> float:
    """Calibrate as the command line says; returns the threshold."""
    args = make_parser().parse_args(argv)
    with user_errors():
        check_arguments(args)
        cfg = load_config(args.config, args.cfg_options)
        if args.out:
            check_writable(args.out)
        model = load_model(cfg, args)
        if not args.dry_run:  # the threshold goes into the checkpoint
            check_writable(Path(args.checkpoint).parent)
        before = threshold_head(model).opacity_threshold
        # the one in use is scored, too, to see what changes
        sweep = build_sweep(cfg, (*args.thresholds, before), args.by)
        thresholds = sweep.thresholds
        dataset = build_split(cfg, args.split)
        indices = frame_indices(len(dataset), args.split, args.frames)
        scores = run_sweep(sweep, model, dataset, indices)
        best = best_threshold(scores, args.by)
        found = (
            f'best {args.by} of {len(thresholds)} thresholds, '
            f'{scores[best][args.by]:.4f}, on the last {len(indices)} of '
            f'{len(dataset)} key frames of {args.split}'
        )
        table = markdown(scores, best)
        print(
            f'{table}\nopacity threshold {best:g}, {found}; so far '
            f'{before:g}, {scores[before][args.by]:.4f}'
        )
        if best in (thresholds[0], thresholds[-1]) and len(thresholds) > 1:
            print('it is at the end of the list: try --thresholds beyond it')
        if args.out:
            write_tables(
                Path(args.out), scores, table, f'{args.checkpoint}: {found}'
            )
            print(f'the table is in {args.out}')
        if not scores[best][args.by]:
            print(
                f'{args.by} is 0 at every threshold, which says nothing about '
                f'them: {args.checkpoint} is left as it is'
            )
        elif args.dry_run:
            print(f'{args.checkpoint} is left as it is')
        else:
            update_meta(args.checkpoint, threshold_meta(best, found))
            print(f'{args.checkpoint} has the threshold')
    return best


if __name__ == '__main__':
    main()
