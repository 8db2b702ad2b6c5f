"""Evaluate saved predictions, without the model.

python tools/evaluate.py CONFIG outputs/predictions --csv frames.csv
python tools/evaluate.py CONFIG outputs/rays.gz
python tools/evaluate.py CONFIG outputs/rays.gz --truth outputs/truth.gz

A folder holds <scene>/<token>/preds.npz, as tools/test.py
--save-predictions writes them, and is scored by all metrics of the config's
test_evaluator. A ray file (.gz) is scored by its RayIoUMetric, against the
labels of the config's test data or another ray file. Prints the tables and
writes metrics_saved.json to the work dir, found as tools/test.py finds it,
whose metrics.json stays.
"""

from __future__ import annotations

import argparse
import copy
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch
from mmdet3d.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from torch.utils.data import DataLoader
from tqdm import tqdm

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.data import DataError
from occsplat.data.transforms import LABEL_TRANSFORMS
from occsplat.engine import (
    ConfigError,
    add_cfg_options,
    build_errors,
    check_file,
    limit_threads,
    load_config,
    user_errors,
)
from occsplat.engine.cli import set_work_dir
from occsplat.evaluation import (
    VOLUME_FILE,
    FrameRays,
    RayIoUMetric,
    cast_frame,
    check_tokens,
    read_ray_file,
    read_volumes,
    write_frame_table,
    write_metrics,
)
from occsplat.evaluation.count_metric import CountMetric
from occsplat.structures import (
    OccDataSample,
    check_writable,
)

_META = ('token', 'scene_name', 'ray_origins')
_LABELS = ('gt_occ', 'gt_flow', 'gt_visible', 'gt_boxes', 'gt_box_labels')


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'predictions', help='folder of predicted volumes, or a ray file (.gz)'
    )
    parser.add_argument(
        '--truth',
        metavar='FILE.gz',
        help='ray file to score a ray file against; default: the labels',
    )
    parser.add_argument('--work-dir', help='where metrics_saved.json goes')
    parser.add_argument(
        '--csv', metavar='FILE', help='write the metrics of each frame'
    )
    add_cfg_options(parser)
    return parser


def build_metrics(cfg: Config) -> list[CountMetric]:
    """The config's test metrics, new and empty.

    Raises:
        ConfigError: when there is none, or one that is not of OccSplat.
    """
    evaluators = cfg.get('test_evaluator') or []
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    with build_errors(cfg):
        metrics = [METRICS.build(evaluator) for evaluator in evaluators]
    others = [m for m in metrics if not isinstance(m, CountMetric)]
    if others or not metrics:
        names = [type(metric).__name__ for metric in others]
        raise ConfigError(
            'test_evaluator: expected metrics of OccSplat, got '
            f'{", ".join(names) or "none"}'
        )
    return metrics


def build_dataset(cfg: Config, images: bool) -> Any:
    """The config's test data.

    Args:
        cfg: the config.
        images: whether to read images, which cameras depend on (their
            size, and how they are resized). Otherwise the pipeline is cut
            down to the labels, and images need not be there.
    """
    if cfg.get('test_dataloader') is None:
        raise ConfigError(f'config {cfg.filename} has no test_dataloader')
    dataset = copy.deepcopy(cfg.test_dataloader.dataset)
    if not images:
        dataset.pipeline = [
            step
            for step in dataset.pipeline
            if step['type'] in LABEL_TRANSFORMS
        ]
    with build_errors(cfg):
        return DATASETS.build(dataset)


def load_samples(cfg: Config, dataset: Any) -> Iterator[OccDataSample]:
    """Every key frame's labels, read by the config's number of workers."""
    return tqdm(
        DataLoader(
            dataset,
            batch_size=None,
            num_workers=cfg.test_dataloader.get('num_workers', 0),
            collate_fn=labels_of,
        ),
        desc='frames',
        disable=None,
    )


def labels_of(item: dict[str, Any]) -> OccDataSample:
    """The sample of what a pipeline returns, packed or not."""
    if 'data_samples' in item:
        return item['data_samples']
    sample = OccDataSample(metainfo={key: item[key] for key in _META})
    for key in _LABELS:
        if key in item:
            setattr(sample, key, torch.as_tensor(item[key]))
    return sample


def scenes_of(dataset: Any) -> dict[str, str]:
    """Name of the scene by token, in the data set's order."""
    infos = map(dataset.get_data_info, range(len(dataset)))
    return {info['token']: info['scene_name'] for info in infos}


def count_volumes(
    cfg: Config, folder: Path, metrics: Sequence[CountMetric]
) -> dict[str, str]:
    """Count the frames of a folder.

    Returns:
        dict: name of the scene by token.

    Raises:
        DataError: when a file is missing, unknown or wrong.
    """
    found = {p.parent.name: p for p in folder.glob(f'**/{VOLUME_FILE}')}
    images = any('rig' in metric.required for metric in metrics)
    dataset = build_dataset(cfg, images)
    scenes = scenes_of(dataset)
    check_tokens(set(found), set(scenes), folder)
    for sample in load_samples(cfg, dataset):
        path, volumes = found[sample.token], {}
        for metric in metrics:
            key = metric.spec.name, metric.grid
            if key not in volumes:
                volumes[key] = read_volumes(path, metric.spec, metric.grid)
            sample.pred_occ, flow, offsets = volumes[key]
            if flow is not None:
                sample.pred_flow = flow
            if offsets is not None:
                sample.pred_offsets = offsets
            with named(path):
                metric.process(None, [sample])
    return scenes


def count_rays(
    cfg: Config,
    path: Path,
    truth: str | None,
    metrics: Sequence[RayIoUMetric],
) -> dict[str, str]:
    """Count the frames of a ray file.

    Returns:
        dict: name of the scene by token, '' where a ray file is the truth.

    Raises:
        DataError: when a frame is missing, unknown or wrong.
    """
    pred = read_ray_file(path)

    def count(token: str, metric: RayIoUMetric, rays: FrameRays) -> None:
        with named(f'{path}, token {token!r}'):
            metric.add_rays(token, pred.rays(token), rays)

    if truth is not None:
        labels = read_ray_file(truth)
        scenes = dict.fromkeys(sorted(labels.results), '')
        check_tokens(set(pred.results), set(scenes), path)
        for token in tqdm(scenes, desc='frames', disable=None):
            for metric in metrics:
                count(token, metric, labels.rays(token))
        return scenes
    dataset = build_dataset(cfg, images=False)
    scenes = scenes_of(dataset)
    check_tokens(set(pred.results), set(scenes), path)
    for sample in load_samples(cfg, dataset):
        for metric in metrics:
            rays = cast_frame(
                'gt',
                sample.gt_occ,
                torch.as_tensor(sample.ray_origins),
                metric.directions,
                metric.spec,
                metric.grid,
                sample.get('gt_flow'),
            )
            count(sample.token, metric, rays)
    return scenes


@contextmanager
def named(source: str | Path) -> Iterator[None]:
    """Say in a metric's error which prediction it is about."""
    try:
        yield
    except ValueError as error:
        raise DataError(f'{source}: {error}') from error


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Evaluate as the command line says; returns the metrics."""
    args = make_parser().parse_args(argv)
    limit_threads()
    path = Path(args.predictions)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        set_work_dir(cfg, args.work_dir, args.config)
        check_writable(cfg.work_dir)
        if args.csv:
            check_file(args.csv)
        metrics = build_metrics(cfg)
        if path.is_dir():
            if args.truth:
                raise ConfigError(
                    f'--truth is for ray files, and {path} is a folder of '
                    'volumes, which are scored against the labels'
                )
            scenes = count_volumes(cfg, path, metrics)
        elif path.suffix == '.gz':
            metrics = [m for m in metrics if isinstance(m, RayIoUMetric)]
            if not metrics:
                raise ConfigError(
                    'a ray file is scored by RayIoUMetric, and '
                    'test_evaluator has none'
                )
            scenes = count_rays(cfg, path, args.truth, metrics)
        else:
            raise FileNotFoundError(
                f'{path}: expected a folder of predicted volumes or a ray '
                'file (.gz), as tools/test.py --save-predictions and '
                '--save-rays write them'
            )
        if args.csv:
            write_frame_table(Path(args.csv), metrics, scenes)
            print(f'metrics of each frame are in {args.csv}')
        scores = Evaluator(metrics).evaluate(len(scenes))
        out = Path(cfg.work_dir) / 'metrics_saved.json'
        about = dict(config=args.config, predictions=args.predictions)
        write_metrics(out, scores, about)
        print(f'metrics are in {out}')
    return scores


if __name__ == '__main__':
    main()
