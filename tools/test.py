"""Evaluate a checkpoint.

python tools/test.py CONFIG CHECKPOINT [--show-dir outputs/sheets]
python tools/test.py CONFIG CHECKPOINT --save-predictions outputs/predictions
python tools/test.py CONFIG CHECKPOINT --save-boxes outputs/boxes.json
python tools/test.py CONFIG CHECKPOINT --tta
python tools/test.py CONFIG CHECKPOINT --expect mIoU=39.1 --tolerance 0.3

Prints the tables and writes metrics.json (with --tta metrics_tta.json) to the
work dir: --work-dir, else the config's work_dir, else work_dirs/<name of the
config>.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from pathlib import Path
from typing import Mapping, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    ConfigError,
    OccRunner,
    check_file,
    leave_processes,
    load_config,
    load_model_weights,
    prepare_launcher,
    user_errors,
)
from occsplat.engine.cli import (
    add_launcher_options,
    set_work_dir,
)
from occsplat.evaluation import (
    read_challenge_info,
    write_metrics,
)
from occsplat.models import MIRRORS
from occsplat.structures import check_writable


def make_parser() -> argparse.ArgumentParser:
    """The flags that users of mm tools know."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='where metrics.json goes')
    parser.add_argument(
        '--show-dir', help='write a picture of every sample to this folder'
    )
    parser.add_argument(
        '--save-predictions',
        metavar='DIR',
        help='write the predicted volumes to this folder, which '
        'tools/evaluate.py scores without the model',
    )
    parser.add_argument(
        '--save-rays',
        metavar='FILE.gz',
        help="write what the challenge's rays see of them to this file",
    )
    parser.add_argument(
        '--challenge-info',
        metavar='FILE.json',
        help='method, team, authors ... of the file of --save-rays',
    )
    parser.add_argument(
        '--save-boxes',
        metavar='FILE.json',
        help='write the objects in them to this file, as boxes in '
        "nuScenes' format for detection results",
    )
    parser.add_argument(
        '--tta',
        nargs='*',
        choices=MIRRORS,
        help='test-time augmentation: the mean of what the network says of '
        'the scene and of mirrored ones; what is mirrored, independently '
        '(default: all three, eight looks)',
    )
    parser.add_argument(
        '--expect',
        metavar='METRIC=VALUE',
        type=expectation,
        nargs='+',
        default=[],
        help='figures to compare with, as papers print them: shares in per '
        'cent; the exit status is 1 when one is missed',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=0.3,
        help='how far off they may be (default: %(default)s)',
    )
    add_launcher_options(parser)
    return parser


#: metrics that papers print in per cent
SHARES = re.compile('IoU|Score|Recall|Precision')


def expectation(text: str) -> tuple[str, float]:
    """METRIC=VALUE of the command line."""
    name, _, value = text.partition('=')
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'expected METRIC=VALUE such as mIoU=39.1, got {text!r}'
        ) from None


def compare(
    metrics: Mapping[str, float],
    expected: Sequence[tuple[str, float]],
    tolerance: float,
) -> tuple[list[str], bool]:
    """Scores beside those that were expected.

    Args:
        metrics: what was found, shares from 0 to 1.
        expected: names and values, shares in per cent.
        tolerance: how far off a value may be.

    Returns:
        tuple: a line for each, and whether all were met.

    Raises:
        ConfigError: for a metric that the config does not compute.
    """
    lines, all_met = [], True
    for name, value in expected:
        if name not in metrics:
            known = ', '.join(sorted(k for k in metrics if '_' not in k))
            raise ConfigError(
                f'--expect {name}: the config computes no such metric, '
                f'expected one of {known}, or of a class'
            )
        found = metrics[name] * (100 if SHARES.search(name) else 1)
        # not a number is never met
        met = math.isclose(found, value, abs_tol=tolerance, rel_tol=0)
        all_met &= met
        lines.append(
            f'{name} {found:.2f}, expected {value:g} +- {tolerance:g}: '
            + ('met' if met else 'MISSED')
        )
    return lines, all_met


def label_spec(cfg: Config) -> str:
    """The labels of the test data."""
    loader = cfg.get('test_dataloader') or {}
    return loader.get('dataset', {}).get('label_spec', 'openocc')


def check_outputs(cfg: Config, args: argparse.Namespace) -> None:
    """See that what the command line asks for can be written.

    Raises:
        ConfigError: when a folder or file can't.
    """
    check_writable(cfg.work_dir)
    for folder in filter(None, (args.show_dir, args.save_predictions)):
        check_writable(folder)
    for path in filter(None, (args.save_rays, args.save_boxes)):
        check_file(path)


def save_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Let the run write what the command line asks for."""
    if args.challenge_info and not args.save_rays:
        raise ConfigError('--challenge-info goes into the file of --save-rays')
    evaluators = cfg.get('test_evaluator') or []
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    # labels may be pooled: predictions are where RayIoU finds them
    scored = [e for e in evaluators if e['type'] == 'RayIoUMetric']
    scored = scored[0] if scored else dict()
    where = dict(
        label_spec=scored.get('label_spec', label_spec(cfg)),
        grid=scored.get('grid'),
    )
    hooks = list(cfg.get('custom_hooks', []))
    if args.save_rays or args.save_predictions:
        hook = dict(
            type='SavePredictionsHook',
            **where,
            out_dir=args.save_predictions,
            ray_file=args.save_rays,
        )
        if args.challenge_info:
            hook['info'] = read_challenge_info(args.challenge_info)
        hooks.append(hook)
    if args.save_boxes:
        hooks.append(
            dict(
                type='SaveBoxesHook',
                **where,
                out_file=args.save_boxes,
            )
        )
    cfg.custom_hooks = hooks


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Evaluate as the command line says; returns the metrics."""
    args = make_parser().parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        set_work_dir(cfg, args.work_dir, args.config)
        cfg.resume, cfg.load_from = False, None
        if args.show_dir:
            sheets = dict(type='SampleSheetHook', out_dir=args.show_dir)
            hooks = cfg.get('default_hooks') or {}
            cfg.default_hooks = dict(hooks, sample_sheets=sheets)
        save_predictions(cfg, args)
        tta = args.tta is not None
        if tta:
            cfg.model = dict(
                type='FlipTTA', module=cfg.model, mirror=args.tta or MIRRORS
            )
        prepare_launcher(cfg, args.launcher)
        check_outputs(cfg, args)
        runner = OccRunner.from_cfg(cfg)
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        if tta:
            model = model.module
        load_model_weights(model, args.checkpoint, args.cfg_options)
        metrics = runner.test()
        if is_main_process():
            name = 'metrics_tta.json' if tta else 'metrics.json'
            path = Path(cfg.work_dir) / name
            about = dict(config=args.config, checkpoint=args.checkpoint)
            write_metrics(path, metrics, about)
            print(f'metrics are in {path}')
        leave_processes()
        lines, met = compare(metrics, args.expect, args.tolerance)
    print(*lines, sep='\n', end='\n' if lines else '')
    if not met:
        raise SystemExit(1)
    return metrics


if __name__ == '__main__':
    main()
