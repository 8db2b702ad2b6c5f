"""Draw what a network is fed with.

python tools/browse_dataset.py CONFIG --out outputs/browse

Runs the pipeline of a split as a training does, with its random draws, and
writes a sheet for some frames of the data set, evenly spaced: the images as
the network gets them, with labels, LiDAR depths, 2D labels and the cameras of
the render losses drawn in through the sample's own cameras; all of it from
above; and index.html, which shows the sheets side by side. No network runs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import numpy as np
from mmengine.registry import DATASETS

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.data import SampleIndex
from occsplat.engine import (
    ConfigError,
    add_cfg_options,
    build_errors,
    limit_threads,
    load_config,
    user_errors,
)
from occsplat.engine.cli import add_frames_option
from occsplat.structures import LabelSpec, check_writable
from occsplat.visualization import input_sheet, write_gallery, write_png


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--out', required=True, help='folder for pictures')
    parser.add_argument('--split', default='train', choices=('train', 'val'))
    add_frames_option(parser, default=8, which='evenly spaced')
    parser.add_argument('--seed', type=_seed, default=0, help='of all chance')
    add_cfg_options(parser)
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'must be >= 0, got {text}')
    return int(text)


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw as the command line says; returns the files."""
    args = make_parser().parse_args(argv)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        loader = cfg.get(f'{args.split}_dataloader')
        if loader is None:
            raise ConfigError(
                f'config {args.config} has no {args.split}_dataloader'
            )
        check_writable(args.out)
        limit_threads()
        with build_errors(cfg):
            dataset = DATASETS.build(loader.dataset)
        paths = []
        for index in _spread(len(dataset), args.frames):
            paths.append(draw(dataset, index, args.seed, Path(args.out)))
            print(paths[-1], flush=True)
        page = write_gallery(
            args.out,
            [path.name for path in paths],
            title=f'{Path(args.config).stem}, {args.split}',
            text=f'What the network is fed with; seed {args.seed}.',
        )
        print(page)
        return [*paths, page]


def _spread(count: int, wanted: int) -> list[int]:
    """Indices from the first to the last one, evenly spaced."""
    picks = np.linspace(0, count - 1, min(count, wanted))
    return np.round(picks).astype(int).tolist()


def draw(dataset: Any, index: int, seed: int, out: Path) -> Path:
    """Write the sheet of a frame.

    Args:
        dataset: of packed samples.
        index: of the frame.
        seed: of what its transforms draw; each frame draws anew.
        out: folder.

    Returns:
        Path: <out>/<scene>_<index>.png.
    """
    packed = dataset[SampleIndex(index, (seed, index))]
    record = dataset.get_data_info(index)
    scene = record['scene_name'] or record['scene_token']
    sheet = input_sheet(
        packed['inputs']['imgs'],
        packed['data_samples'],
        LabelSpec.named(dataset.label_spec),
        record['cameras'],
        title=f'{scene}, frame {index}, seed {seed}',
    )
    return write_png(out / f'{scene}_{index:05d}.png', sheet)


if __name__ == '__main__':
    main()
