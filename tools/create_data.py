"""Create data sets and the info files that OccSplat trains from.

python tools/create_data.py minitown --root data/minitown
python tools/create_data.py nuscenes --root data/minitown --version v1.0-mini
python tools/create_data.py stats --root data/minitown
python tools/create_data.py occupancy --root data/mine --version v1.0-trainval
python tools/create_data.py subset --root data/nuscenes --percent 20
python tools/create_data.py visibility --root data/nuscenes
python tools/create_data.py lidar2d --root data/nuscenes --workers 16
python tools/create_data.py rays --root data/minitown --out outputs/truth.gz
"""

import argparse
import sys
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()


def add_minitown(commands: argparse._SubParsersAction) -> None:
    """The subcommand that makes the synthetic town."""
    parser = commands.add_parser(
        'minitown',
        help='make the synthetic town in nuScenes v1.0-mini format',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/minitown', help='where')
    parser.add_argument(
        '--scenes', type=whole(2, 10), default=10, help='2 to 10'
    )
    parser.add_argument(
        '--frames',
        type=whole(2, 20),
        default=20,
        help='key frames per scene, 2 to 20',
    )
    parser.add_argument(
        '--image-size',
        type=image_size,
        default=(800, 450),
        metavar='WIDTHxHEIGHT',
        help='pixels',
    )
    parser.add_argument(
        '--seed', type=whole(0, 2**32 - 1), default=0, help='of all chance'
    )
    add_workers(parser)
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
    parser.add_argument(
        '--skip-missing',
        action='store_true',
        help='leave scenes out of which images or point clouds are missing',
    )
    parser.set_defaults(run=run_nuscenes)


def run_nuscenes(args: argparse.Namespace) -> None:
    """Write info files next to the tables."""
    from occsplat.data.infos import create_infos

    create_infos(args.root, args.version, args.skip_missing)


def add_stats(commands: argparse._SubParsersAction) -> None:
    """The subcommand that counts labels."""
    parser = commands.add_parser(
        'stats',
        help='count the voxels of a label set by class and speed',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/nuscenes', help='dataroot')
    parser.add_argument(
        '--label-set',
        default='openocc',
        choices=('openocc', 'occ3d', 'surroundocc'),
        help='which',
    )
    add_workers(parser)
    parser.add_argument(
        '--split',
        default='train',
        choices=('train', 'val'),
        help='weights for training belong to train',
    )
    parser.set_defaults(run=run_stats)


def run_stats(args: argparse.Namespace) -> None:
    """Count the labels, show the table and keep it in the root."""
    from occsplat.data.layout import statistics_file
    from occsplat.data.statistics import count_labels, statistics_table
    from occsplat.structures import check_writable

    check_writable(args.root)
    statistics = count_labels(
        args.root, args.label_set, args.split, args.workers
    )
    path = Path(args.root) / statistics_file(args.label_set, args.split)
    statistics.save(path)
    print(statistics_table(statistics))
    print(f'{path}: {statistics.frames} key frames')


def add_subset(commands: argparse._SubParsersAction) -> None:
    """The subcommand that draws a part of the training split."""
    parser = commands.add_parser(
        'subset',
        help='write an info file of a fixed part of the training split',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/nuscenes', help='dataroot')
    parser.add_argument(
        '--percent', type=whole(1, 99), default=20, help='of its key frames'
    )
    parser.add_argument(
        '--seed', type=whole(0, 2**32 - 1), default=2025, help='of the draw'
    )
    parser.set_defaults(run=run_subset)


def run_subset(args: argparse.Namespace) -> None:
    """Draw it; the same files and seed give the same key frames."""
    from occsplat.data.subsets import create_subset

    path, count = create_subset(args.root, args.percent, args.seed)
    print(f'{path} names {count} key frames')


def add_visibility(commands: argparse._SubParsersAction) -> None:
    """The subcommand that makes visibility masks."""
    parser = commands.add_parser(
        'visibility',
        help='make masks of what the cameras see, for OpenOcc, which has none',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/nuscenes', help='dataroot')
    add_workers(parser)
    parser.add_argument(
        '--split',
        nargs='+',
        default=('train', 'val'),
        choices=('train', 'val'),
        help='one or more',
    )
    parser.set_defaults(run=run_visibility)


def run_visibility(args: argparse.Namespace) -> None:
    """Make masks; a second run finishes an interrupted first one."""
    from occsplat.data.layout import info_file
    from occsplat.data.visibility import create_visibility

    for split in args.split:
        written = create_visibility(args.root, split, args.workers)
        print(
            f'{split}: {written} masks written; '
            f'{Path(args.root) / info_file(split)} names them all'
        )


def add_lidar2d(commands: argparse._SubParsersAction) -> None:
    """The subcommand that makes 2D labels."""
    parser = commands.add_parser(
        'lidar2d',
        help='project LiDAR depths and classes into the cameras',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/nuscenes', help='dataroot')
    parser.add_argument(
        '--version',
        default='v1.0-trainval',
        choices=('v1.0-mini', 'v1.0-trainval'),
        help='which tables to read',
    )
    parser.add_argument(
        '--split',
        nargs='+',
        default=('train', 'val'),
        choices=('train', 'val'),
        help='one or more',
    )
    add_workers(parser)
    parser.add_argument(
        '--occlusion-filter',
        action='store_true',
        help='drop LiDAR returns that the camera cannot see',
    )
    parser.set_defaults(run=run_lidar2d)


def run_lidar2d(args: argparse.Namespace) -> None:
    """Make 2D labels; a second run finishes an interrupted first one."""
    from occsplat.data.layout import info_file
    from occsplat.data.lidar2d import create_lidar2d

    for split in args.split:
        counts = create_lidar2d(
            args.root,
            args.version,
            split,
            args.workers,
            args.occlusion_filter,
        )
        frames, pixels = counts['frames'], counts['pixels']
        print(
            f'{split}: {counts["written"]} files written; '
            f'{Path(args.root) / info_file(split)} names all {frames}, with '
            f'{pixels / frames:.0f} labelled pixels per frame'
        )
        if args.occlusion_filter:
            dropped = counts['dropped']
            print(
                f'{split}: the occlusion filter dropped {dropped} returns '
                f'of {pixels + dropped} ({dropped / (pixels + dropped):.1%})'
            )


def add_occupancy(commands: argparse._SubParsersAction) -> None:
    """The subcommand that makes voxel labels from LiDAR and boxes."""
    parser = commands.add_parser(
        'occupancy',
        help='make occupancy and flow labels, for a data set that has none',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/nuscenes', help='dataroot')
    parser.add_argument(
        '--version',
        default='v1.0-trainval',
        help='of the tables, from which nuScenes-lidarseg is read if there',
    )
    parser.add_argument(
        '--info',
        nargs='+',
        default=('occsplat_infos_train.pkl', 'occsplat_infos_val.pkl'),
        help='info files in the root',
    )
    parser.add_argument(
        '--out',
        help='folder for the labels (default: the root, whose info files '
        'then name them)',
    )
    add_workers(parser)
    parser.add_argument(
        '--score',
        action='store_true',
        help='of a root with Occ3D and OpenOcc labels: how near to them',
    )
    parser.set_defaults(run=run_occupancy)


def run_occupancy(args: argparse.Namespace) -> None:
    """Make labels, and score them where there are others."""
    from made_labels.score import score_labels
    from occsplat.data.occupancy_labels import create_occupancy
    from occsplat.engine import ConfigError

    if args.score and args.out is None:
        raise ConfigError(
            '--score compares with the labels of the root: '
            'write those that are made elsewhere, with --out'
        )
    for info in args.info:
        count = create_occupancy(
            args.root, args.version, info, args.out, args.workers
        )
        print(
            f'{info}: labels of {count} key frames are in '
            f'{args.out or args.root}'
        )
        if args.score:
            print(score_labels(args.root, info, args.out))


def add_rays(commands: argparse._SubParsersAction) -> None:
    """The subcommand that writes the labels as a ray file."""
    parser = commands.add_parser(
        'rays',
        help='write what the rays of RayIoU see of the labels (.gz)',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--root', default='data/nuscenes', help='dataroot')
    parser.add_argument('--split', default='val', choices=('train', 'val'))
    parser.add_argument(
        '--label-set',
        default='openocc',
        choices=('openocc', 'occ3d', 'surroundocc'),
    )
    parser.add_argument('--out', required=True, help='the file, .gz')
    parser.set_defaults(run=run_rays)


def run_rays(args: argparse.Namespace) -> None:
    """Cast the rays of each frame through its labels."""
    import torch
    from tqdm import tqdm

    from occsplat.data import NuScenesOccDataset
    from occsplat.data.layout import info_file
    from occsplat.evaluation import (
        RayFileWriter,
        cast_frame,
        lidar_rays,
        to_arrays,
    )
    from occsplat.structures import check_writable

    frames = NuScenesOccDataset(
        data_root=args.root,
        ann_file=info_file(args.split),
        label_spec=args.label_set,
        pipeline=[dict(type='LoadOccLabels', label_spec=args.label_set)],
        test_mode=True,
        cameras=None,  # labels need none
    )
    check_writable(Path(args.out).parent)
    spec, directions = frames.label_spec, lidar_rays()
    with RayFileWriter(args.out, dict(method='ground truth')) as out:
        for index in tqdm(range(len(frames)), disable=None):
            frame = frames[index]
            token = frame['token']
            rays = cast_frame(
                'gt',
                torch.from_numpy(frame['gt_occ']),
                torch.from_numpy(frame['ray_origins']),
                directions,
                spec,
                spec.grid,
                torch.from_numpy(frame['gt_flow']) if spec.has_flow else None,
            )
            out.add(token, to_arrays(rays, token))
    print(f'rays of {len(frames)} key frames are in {args.out}')


def add_workers(parser: argparse.ArgumentParser) -> None:
    """How many processes share the frames."""
    parser.add_argument(
        '--workers', type=whole(1, 256), default=2, help='processes'
    )


def image_size(text: str) -> tuple[int, int]:
    """Parse WIDTHxHEIGHT."""
    try:
        width, height = map(int, text.lower().split('x'))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'expected WIDTHxHEIGHT such as 800x450, got {text!r}'
        ) from error
    if not (16 <= width <= 1600 and 16 <= height <= 900):
        raise argparse.ArgumentTypeError(
            f'expected a size from 16x16 to 1600x900, got {text!r}'
        )
    return width, height


def whole(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers in a range."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f'expected a whole number from {low} to {high}, got {text!r}'
            )
        return value

    return parse


def main() -> None:
    """Parse the command line and run one subcommand."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    add_lidar2d(commands)
    add_minitown(commands)
    add_nuscenes(commands)
    add_occupancy(commands)
    add_rays(commands)
    add_stats(commands)
    add_subset(commands)
    add_visibility(commands)
    args = parser.parse_args()
    from occsplat.engine import check_file, user_errors
    from occsplat.structures import check_writable

    with user_errors():
        if args.run is run_rays:
            check_file(args.out)
        elif args.run is run_minitown or Path(args.root).is_dir():
            check_writable(args.root)
        args.run(args)


if __name__ == '__main__':
    main()
