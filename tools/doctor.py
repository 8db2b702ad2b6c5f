"""Look for what stops a training, or makes it learn nothing, before it.

python tools/doctor.py env
python tools/doctor.py data data/minitown
python tools/doctor.py config CONFIG [--baseline CONFIG]

env: packages, GPU, threads, disk and shared memory of this machine. data:
which files of a data set are there, whether images, points, boxes and labels
of random key frames fit each other, and which configs they are enough for.
config: what it says in all, what it changes of its baseline, how large its
network is, and which files it reads. The exit status of env and data is 1
after a problem, that of config after an error in it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Iterable, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

CONFIGS = Path(__file__).resolve().parents[1] / 'occupancy_configs'


def make_parser() -> argparse.ArgumentParser:
    """A subcommand for each part of a training."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    command = commands.add_parser('env', help='this machine')
    command.set_defaults(run=run_env)
    command = commands.add_parser('data', help='a data set')
    command.add_argument('root', help='data root')
    command.add_argument(
        '--version',
        help='which tables to read (default: those of the info files)',
    )
    command.add_argument(
        '--frames',
        type=_count,
        default=32,
        help='key frames to look into (default: %(default)s)',
    )
    command.add_argument('--seed', type=int, default=0, help='of their draw')
    command.set_defaults(run=run_data)
    command = commands.add_parser('config', help='a config')
    command.add_argument('config', help='config file')
    command.add_argument(
        '--baseline',
        help='config to compare with (default: the one that it adds to)',
    )
    from occsplat.engine import add_cfg_options

    add_cfg_options(command)
    command.set_defaults(run=run_config)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be >= 1, got {text}')
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    args = make_parser().parse_args(argv)
    from occsplat.engine import limit_threads, user_errors

    limit_threads()
    with user_errors():
        return args.run(args)


def run_env(args: argparse.Namespace) -> int:
    """Look at this machine."""
    from doctors.environment import check_machine

    return _print(check_machine(Path.cwd()))


def run_data(args: argparse.Namespace) -> int:
    """Count files, look into key frames, and say which configs can run."""
    import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
    from doctors.uses import config_table
    from occsplat.data.health import check_frames
    from occsplat.data.inventory import take_inventory

    inventory = take_inventory(args.root, args.version)
    status = _print(inventory.findings)
    if inventory.infos:
        findings = check_frames(
            args.root, inventory.infos, args.frames, args.seed
        )
        status = max(status, _print(findings))
    print('\nConfigs, by what they read:\n')
    print(config_table(CONFIGS, inventory.whole))
    return status


def run_config(args: argparse.Namespace) -> int:
    """Print what a config is."""
    from doctors.configs import describe
    from occsplat.engine import load_config

    cfg = load_config(args.config, args.cfg_options)
    describe(cfg, args.config, args.baseline, print)
    return 0


def _print(findings: Iterable) -> int:
    """Print findings; 1 if one is a problem."""
    status = 0
    for finding in findings:
        print(finding, flush=True)
        status = max(status, int(finding.level == 'problem'))
    return status


if __name__ == '__main__':
    sys.exit(main())
