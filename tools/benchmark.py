"""Measure time and memory.

python tools/benchmark.py rasterize                  # every table
python tools/benchmark.py rasterize --tables volume  # one of them
python tools/benchmark.py rasterize --repeats 9 --threads 4
python tools/benchmark.py run_lengths
python tools/benchmark.py train BASELINE_CONFIG METHOD_CONFIG
python tools/benchmark.py inference CONFIG --amp --compile

Each row runs in a process of its own, after a warm-up that compiles.
Compare rows of one run: machines differ, and differ from hour to hour.
"train" and "inference" run rows in turn, several rounds, for that reason.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path
from typing import Any, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch

from benchmarks.inference import (
    WARMUP_FRAMES,
    Setting,
    print_inference_tables,
)
from benchmarks.rasterizing import TABLES
from benchmarks.rows import SEED, print_table
from benchmarks.run_lengths import print_run_lengths_table
from benchmarks.training import (
    WARMUP_STEPS,
    print_training_table,
)
from occsplat.engine import (
    add_cfg_options,
    default_threads,
    user_errors,
)


def make_parser() -> argparse.ArgumentParser:
    """A subcommand for each part of the package."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    command = commands.add_parser('rasterize', help='the renderer')
    command.add_argument(
        '--tables',
        nargs='+',
        choices=TABLES,
        default=list(TABLES),
        help='default: all',
    )
    command.add_argument(
        '--repeats', type=positive, default=5, help='whose median counts'
    )
    add_threads(command)
    command.set_defaults(run=run_rasterize)

    command = commands.add_parser(
        'run_lengths', help='how far runs of labels reach'
    )
    command.add_argument(
        '--repeats', type=positive, default=9, help='whose median counts'
    )
    command.set_defaults(run=run_run_lengths)

    command = commands.add_parser('train', help='training steps of configs')
    command.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='config files, the first is what the others are compared with',
    )
    command.add_argument(
        '--steps', type=positive, default=12, help='in a round (default: 12)'
    )
    command.add_argument(
        '--rounds',
        type=positive,
        default=3,
        help='of all configs in turn (default: 3)',
    )
    command.add_argument(
        '--beside-busy',
        action='store_true',
        help='and once more beside a process that keeps one core busy',
    )
    add_threads(command)
    add_cfg_options(command)
    command.set_defaults(run=run_train)
    add_inference(commands)
    return parser


def add_inference(commands: Any) -> None:
    """The subcommand of predictions."""
    command = commands.add_parser('inference', help='predictions of configs')
    command.add_argument(
        'configs', nargs='+', metavar='CONFIG', help='config files'
    )
    command.add_argument(
        '--frames', type=positive, default=20, help='in a round (default: 20)'
    )
    command.add_argument(
        '--rounds',
        type=positive,
        default=3,
        help='of all rows in turn (default: 3)',
    )
    command.add_argument(
        '--device',
        choices=('cpu', 'cuda'),
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='default: a GPU if there is one',
    )
    command.add_argument(
        '--amp',
        action='store_true',
        help='and a row in 16 bits: float16 on a GPU, else bfloat16',
    )
    command.add_argument(
        '--compile',
        action='store_true',
        help='and a row with the image encoder and the 3D network compiled',
    )
    add_threads(command)
    add_cfg_options(command)
    command.set_defaults(run=run_inference)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """--threads, for every subcommand."""
    parser.add_argument(
        '--threads',
        type=positive,
        default=default_threads(),
        help='default: as many as the other tools use',
    )


def positive(text: str) -> int:
    """An integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {number}')
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for."""
    args = make_parser().parse_args(arguments)
    with user_errors():
        args.run(args)


def machine(threads: int) -> str:
    """What the figures depend on."""
    device = ''
    if torch.cuda.is_available():
        device = f'{torch.cuda.get_device_name()}, '
    return (
        f'{platform.machine()}, {device}{threads} threads, Python '
        f'{platform.python_version()}, torch {torch.__version__}'
    )


def run_rasterize(args: argparse.Namespace) -> None:
    """Tables of the renderer, on the CPU."""
    print(f'{machine(args.threads)}, seed {SEED}, median of {args.repeats}')
    for name in args.tables:
        table = TABLES[name]
        print(f'\n{table.__doc__.splitlines()[0]}\n', flush=True)
        print_table(table(args.threads), args.repeats)


def run_run_lengths(args: argparse.Namespace) -> None:
    """A table of labels and strides, on one core."""
    print(
        f'{machine(1)}, a MiniTown frame, seed {SEED}, processor time, '
        f'median of {args.repeats}\n',
        flush=True,
    )
    print_run_lengths_table(args.repeats)


def run_train(args: argparse.Namespace) -> None:
    """A table of training steps."""
    print(
        f'{machine(args.threads)}, median of {args.rounds} rounds of '
        f'{args.steps} steps, each after {WARMUP_STEPS} steps; past the '
        'stage of WarmupSwitchHook\n',
        flush=True,
    )
    print_training_table(
        args.configs,
        args.cfg_options,
        args.threads,
        args.steps,
        args.rounds,
        args.beside_busy,
    )


def run_inference(args: argparse.Namespace) -> None:
    """Tables of predictions."""
    print(
        f'{machine(args.threads)}, on {args.device}, {args.rounds} rounds of '
        f'{args.frames} frames, each after {WARMUP_FRAMES} and as many as '
        'the history holds; one sample at a time\n',
        flush=True,
    )
    plain = Setting(args.device, args.threads, args.frames)
    settings = {'fp32': plain}
    if args.amp:
        settings['amp'] = plain._replace(amp=True)
    if args.compile:
        settings['torch.compile'] = plain._replace(compiled=True)
    print_inference_tables(
        args.configs, args.cfg_options, settings, args.rounds
    )


if __name__ == '__main__':
    main()
