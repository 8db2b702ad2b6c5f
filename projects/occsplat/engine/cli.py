"""Command-line options that tools share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, Iterator, Sized

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from occsplat.visualization import write_png

from .config_file import add_cfg_options
from .inference import init_model
from .threads import limit_threads


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """What the tools that run in several processes take."""
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='what starts the processes',
    )
    # torchrun sets the environment; older launchers pass a flag
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help=argparse.SUPPRESS,
    )


def add_drawing_options(
    parser: argparse.ArgumentParser, checkpoint: bool = True
) -> None:
    """What the tools that run a network and draw take.

    Args:
        parser: of the tool.
        checkpoint: whether one has to be given.
    """
    parser.add_argument('config', help='config file')
    if checkpoint:
        parser.add_argument('checkpoint', help='checkpoint file')
    else:
        parser.add_argument('--checkpoint', help='draw what it predicts')
    parser.add_argument('--out', required=True, help='folder for pictures')
    add_device_options(parser)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """What the tools that run a network outside of the Runner take."""
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='cpu, cuda or cuda:N; default: a GPU if there is one',
    )
    add_cfg_options(parser)


def add_frames_option(
    parser: argparse.ArgumentParser,
    default: int,
    which: str = 'from the first on',
) -> None:
    """--frames, of the tools that draw some of a data set.

    Args:
        parser: of the tool.
        default: how many.
        which: of the data set's, for the help.
    """
    parser.add_argument(
        '--frames',
        type=_frame_count,
        default=default,
        help=f'how many, {which} (default: %(default)s)',
    )


def _frame_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be >= 1, got {text}')
    return int(text)


def draw_sheets(
    args: argparse.Namespace,
    dataset: Sized,
    draw: Callable[[int], tuple[str, np.ndarray]],
) -> Iterator[Path]:
    """A picture per key frame, the first ``--frames`` of a data set.

    Args:
        args: with ``frames`` and ``out``.
        dataset: the data set.
        draw: index of a key frame -> name of its scene, and its picture,
            RGB, uint8 (H, W, 3).

    Yields:
        Path: ``<out>/<scene>_<index>.png``, when it is written.
    """
    for index in range(min(args.frames, len(dataset))):
        scene, sheet = draw(index)
        yield write_png(Path(args.out) / f'{scene}_{index:03d}.png', sheet)


def load_model(cfg: Config, args: argparse.Namespace) -> BaseModel:
    """The network of a config and of ``add_device_options``' arguments."""
    limit_threads()
    return init_model(cfg, args.checkpoint, args.device, args.cfg_options)


def set_work_dir(cfg: Config, given: str | None, config: str) -> None:
    """--work-dir > cfg.work_dir > ``work_dirs/<name of the config>``."""
    if given is not None:
        cfg.work_dir = given
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(config).stem)
