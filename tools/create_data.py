"""Create data sets and the info files that OccSplat trains from.

python tools/create_data.py minitown --root data/minitown
python tools/create_data.py nuscenes --root data/minitown --version v1.0-mini
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))


def add_minitown(commands: argparse._SubParsersAction) -> None:
    """The subcommand that makes the synthetic town."""
    parser = commands.add_parser(
        'minitown',
        help='make the synthetic town in nuScenes v1.0-mini format',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/minitown', help='where')
    parser.add_argument('--scenes', type=int, default=10, help='2 to 10')
    parser.add_argument(
        '--frames', type=int, default=16, help='key frames a scene, 2 to 20'
    )
    parser.add_argument(
        '--image-size',
        type=image_size,
        default=(800, 450),
        metavar='WIDTHxHEIGHT',
        help='pixels',
    )
    parser.add_argument('--seed', type=int, default=0, help='of all chance')
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.set_defaults(run=run_minitown)


def run_minitown(args: argparse.Namespace) -> None:
    """Make the town; a second run finishes an interrupted first one."""
    from occsplat.minitown import create_minitown

    root = create_minitown(
        args.root,
        args.scenes,
        args.frames,
        args.image_size,
        args.seed,
        args.workers,
    )
    print(f'MiniTown is in {root}')


def add_nuscenes(commands: argparse._SubParsersAction) -> None:
    """The subcommand that writes info files."""
    parser = commands.add_parser(
        'nuscenes',
        help='write info files for nuScenes or for a MiniTown',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/nuscenes', help='dataroot')
    parser.add_argument(
        '--version',
        default='v1.0-trainval',
        choices=('v1.0-mini', 'v1.0-trainval', 'v1.0-test'),
        help='which tables to read',
    )
    parser.set_defaults(run=run_nuscenes)


def run_nuscenes(args: argparse.Namespace) -> None:
    """Write info files next to the tables."""
    from occsplat.data.infos import create_infos

    create_infos(args.root, args.version)


def image_size(text: str) -> tuple[int, int]:
    """Parse WIDTHxHEIGHT."""
    try:
        width, height = text.lower().split('x')
        return int(width), int(height)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'expected WIDTHxHEIGHT such as 800x450, got {text!r}'
        ) from error


def main() -> None:
    """Parse the command line and run one subcommand."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    add_minitown(commands)
    add_nuscenes(commands)
    args = parser.parse_args()
    args.run(args)


if __name__ == '__main__':
    main()
