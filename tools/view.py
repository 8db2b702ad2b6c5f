"""Write a page that shows a scene from all sides.

python tools/view.py CONFIG CHECKPOINT --out outputs/view.html
python tools/view.py CONFIG --out outputs/labels.html
python tools/view.py CONFIG CHECKPOINT --info frame/info.json --out FILE
python tools/view.py CONFIG CHECKPOINT --serve

One HTML file that needs nothing else, not even a network: prediction,
truth and their difference as voxels that a mouse or a finger turns, flow
arrows, boxes, LiDAR points, and the cameras with their images and what
they would see of the volumes. Without a checkpoint it shows the labels;
frames of your own (--info, as for tools/infer.py) show the prediction.
With --serve a browser shows frame after frame while the network predicts
them (needs viser).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

from mmengine.model import BaseModel

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.data.transforms import LoadLidarPoints
from occsplat.engine import (
    ConfigError,
    build_frames,
    build_split,
    inference_occ,
    load_config,
    raw_views,
    user_errors,
)
from occsplat.engine.cli import (
    add_device_options,
    add_frames_option,
    load_model,
)
from occsplat.structures import LabelSpec, OccDataSample, check_writable
from occsplat.visualization import Boxes
from occsplat.visualization.viewer import (
    LiveViewer,
    ViewerFrame,
    viewer_frame,
    write_viewer,
)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file; none: labels alone'
    )
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument('--out', help='HTML file')
    form.add_argument(
        '--serve',
        action='store_true',
        help='show it now, and predict frames as they are asked for',
    )
    data = parser.add_mutually_exclusive_group()
    data.add_argument('--info', help='info file of frames without labels')
    data.add_argument(
        '--split', default='val', choices=('train', 'val', 'test')
    )
    parser.add_argument(
        '--scene', help='name of a scene; default: frames of the first ones'
    )
    add_frames_option(parser, default=8)
    add_device_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> Path | None:
    """Write the page as the command line says; returns the file."""
    args = make_parser().parse_args(argv)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        if args.out:
            check_writable(Path(args.out).parent)
        if args.info:
            dataset = build_frames(cfg, args.info)
        else:
            dataset = build_split(cfg, args.split)
        indices = scene_frames(dataset, args.scene)[: args.frames]
        model = load_model(cfg, args) if args.checkpoint else None
        frames = view_frames(model, dataset, indices)
        spec = LabelSpec.named(dataset.label_spec)
        if args.serve:
            viewer = LiveViewer(frames, spec)
            print(f'open {viewer.address} in a browser; Ctrl-C ends')
            viewer.run()
            return None
        path = write_viewer(args.out, frames, spec)
        print(f'{path} ({path.stat().st_size / 1e6:.1f} MB)')
        return path


def scene_frames(dataset: Any, scene: str | None) -> list[int]:
    """Indices of a scene's key frames, of all without one.

    Raises:
        ConfigError: when there is no such scene.
    """
    names = [
        dataset.get_data_info(i)['scene_name'] for i in range(len(dataset))
    ]
    found = [i for i, name in enumerate(names) if scene in (None, name)]
    if not found:
        raise ConfigError(
            f'--scene: expected one of {", ".join(sorted(set(names)))}, got '
            f'{scene}'
        )
    return found


def view_frames(
    model: BaseModel | None, dataset: Any, indices: Sequence[int]
) -> Iterator[ViewerFrame]:
    """Predict and draw key frames in time order.

    Args:
        model: to predict with; None leaves the labels.
        dataset: key frames in scene and time order.
        indices: of the frames.

    Yields:
        ViewerFrame: of each.

    Raises:
        ConfigError: when there is neither a model nor a label.
    """
    spec = LabelSpec.named(dataset.label_spec)
    began: dict[str, float] = {}
    for number, index in enumerate(indices, start=1):
        start = time.perf_counter()
        packed = dataset[index]
        sample = packed['data_samples']
        if model is not None:
            (sample,) = inference_occ(model, [packed])
        elif 'gt_occ' not in sample:
            raise ConfigError(
                'there are no labels to show: give a checkpoint, or add '
                "dict(type='LoadOccLabels') to the data set's pipeline"
            )
        record = dataset.get_data_info(index)
        first = began.setdefault(record['scene_token'], record['timestamp'])
        seconds = record['timestamp'] - first
        name = record['scene_name'] or record['token']
        frame = frame_of(sample, record, spec, f'{name}, {seconds:.1f} s')
        seconds = time.perf_counter() - start
        print(f'[{number}/{len(indices)}] {name} ({seconds:.1f} s)')
        yield frame


def frame_of(
    sample: OccDataSample, record: dict[str, Any], spec: LabelSpec, title: str
) -> ViewerFrame:
    """A sample with what the sensors and the annotation say.

    Args:
        sample: with its prediction or its labels.
        record: of the data set.
        spec: the label set.
        title: a line of text.
    """
    images, rig = raw_views(record, sample)
    # what no beam has hit is no more than a guess of the annotators
    hit = record['box_points'] > 0
    boxes = Boxes.from_names(
        record['boxes'][hit],
        record['box_velocities'][hit],
        [name for name, seen in zip(record['box_names'], hit) if seen],
        record['lidar2ref'],
        spec,
    )
    points = LoadLidarPoints().transform(dict(record))['points']
    return viewer_frame(
        sample, images, spec, rig, points, boxes, record['cameras'], title
    )


if __name__ == '__main__':
    main()
