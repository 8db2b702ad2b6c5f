"""Draw what a checkpoint predicts.

python tools/visualize.py CONFIG CHECKPOINT --out outputs/pictures

Writes a sheet for each frame: images; prediction and truth from the same
cameras, from above and from behind. With --gif also a film for each scene:
prediction and truth, seen by a camera that goes around the car while the
frames follow. Frames go through the model in time order, so that a model
with memory has one.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any, Iterable, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

from mmengine.model import BaseModel

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    build_split,
    inference_occ,
    load_config,
    raw_views,
    user_errors,
)
from occsplat.engine.cli import (
    add_drawing_options,
    add_frames_option,
    load_model,
)
from occsplat.structures import LabelSpec, check_writable
from occsplat.visualization import (
    FilmFrame,
    film_frame,
    sample_sheet,
    scene_film,
    write_gif,
    write_png,
)

#: pictures of a film per second: the 32 of eight key frames of nuScenes, half
#: a second apart, take the time that the car took
_FPS = 8.0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_drawing_options(parser)
    add_frames_option(parser, default=8)
    parser.add_argument(
        '--split', default='val', choices=('train', 'val', 'test')
    )
    parser.add_argument(
        '--gif', action='store_true', help='also a film for each scene'
    )
    return parser


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw as the command line says; returns the files."""
    args = make_parser().parse_args(argv)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_writable(args.out)
        model = load_model(cfg, args)
        dataset = build_split(cfg, args.split)
        return draw(model, dataset, Path(args.out), args.frames, args.gif)


def draw(
    model: BaseModel, dataset: Any, out: Path, frames: int, gif: bool
) -> list[Path]:
    """Predict and draw the first frames of a data set.

    Args:
        model: to predict with.
        dataset: key frames in scene and time order.
        out: folder.
        frames: how many, at most.
        gif: whether to make a film of each scene.

    Returns:
        list: the files: of each scene the sheets, then the film.
    """
    indices = range(min(frames, len(dataset)))
    paths: list[Path] = []
    names: set[str] = set()
    for token, scene in groupby(
        indices, lambda i: dataset.get_data_info(i)['scene_token']
    ):
        scene = list(scene)
        name = dataset.get_data_info(scene[0])['scene_name'] or token
        if name in names:  # another town's scene has the same
            name = f'{name}_{token}'
        names.add(name)
        paths += draw_scene(model, dataset, scene, name, out, gif)
    return paths


def draw_scene(
    model: BaseModel,
    dataset: Any,
    indices: Iterable[int],
    scene: str,
    out: Path,
    gif: bool,
) -> list[Path]:
    """``draw`` the key frames of one scene, in time order.

    ``scene`` is its name.
    """
    spec = LabelSpec.named(dataset.label_spec)
    paths: list[Path] = []
    film: list[FilmFrame] = []
    for number, index in enumerate(indices):
        start = time.perf_counter()
        (sample,) = inference_occ(model, [dataset[index]])
        record = dataset.get_data_info(index)
        images, rig = raw_views(record, sample)
        shown = sample, images, spec, rig, record['cameras']
        sheet = sample_sheet(*shown, title=f'{scene}, key frame {number}')
        paths.append(write_png(out / f'{scene}_{number:03d}.png', sheet))
        if number == 0:
            began = record['timestamp']
        if gif:
            title = f'{scene}, {record["timestamp"] - began:.1f} s'
            film.append(film_frame(*shown, title=title))
        seconds = time.perf_counter() - start
        print(f'{paths[-1]} ({seconds:.1f} s)')
    if gif:
        pictures = scene_film(film, spec)
        path = out / f'{scene}.gif'
        paths.append(write_gif(path, pictures, _FPS, exact=spec.palette))
        print(paths[-1])
    return paths


if __name__ == '__main__':
    main()
