"""Evaluate a checkpoint.

python tools/test.py CONFIG CHECKPOINT [--show-dir outputs/sheets]

Prints the tables and writes metrics.json to the work dir: --work-dir, else
the config's work_dir, else work_dirs/<name of the config>.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from mmengine.dist import is_main_process  # noqa: E402
from mmengine.model import is_model_wrapper  # noqa: E402

import occsplat  # noqa: E402,F401  before mmdet3d, which needs its shims
from occsplat.engine import (  # noqa: E402
    OccRunner,
    load_config,
    load_model_weights,
    prepare_launcher,
    user_errors,
)
from train import add_common, set_work_dir  # noqa: E402


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
    add_common(parser)
    return parser


def write_metrics(
    path: Path, metrics: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Write metrics as JSON, whole or not at all; nan becomes null."""
    clean = {
        key: None if math.isnan(value) else value
        for key, value in sorted(metrics.items())
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_text(
        json.dumps(dict(about, metrics=clean), indent=2) + '\n',
        encoding='utf-8',
    )
    os.replace(part, path)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Evaluate as the command line says; returns the metrics."""
    args = make_parser().parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        set_work_dir(cfg, args.work_dir, args.config)
        cfg.resume, cfg.load_from = False, None
        if args.show_dir:
            sheets = dict(
                type='SampleSheetHook',
                out_dir=args.show_dir,
                label_spec=cfg.get('label_spec', 'openocc'),
            )
            cfg.custom_hooks = [*cfg.get('custom_hooks', []), sheets]
        prepare_launcher(cfg, args.launcher)
        runner = OccRunner.from_cfg(cfg)
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        load_model_weights(model, args.checkpoint)
        metrics = runner.test()
        if is_main_process():
            path = Path(cfg.work_dir) / 'metrics.json'
            about = dict(config=args.config, checkpoint=args.checkpoint)
            write_metrics(path, metrics, about)
            print(f'metrics are in {path}')
    return metrics


if __name__ == '__main__':
    main()
