"""Draw what a checkpoint predicts.

python tools/visualize.py CONFIG CHECKPOINT --out outputs/pictures

Writes a sheet for each frame: images; prediction and truth from the same
cameras, from above and from behind. Frames go through the model in time
order, so that a model with memory has one. Also films for each scene:

--gif  prediction and truth, seen by a camera that goes around the car while
       the frames follow, and what the cameras that look ahead see of the
       prediction
--mp4  the same volumes, all cameras, and both from above
--fly  prediction and truth, seen by a camera that follows the car
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
    drive_film,
    drive_fps,
    drive_frame,
    film_frame,
    flight_film,
    flight_frame,
    import_ffmpeg,
    sample_sheet,
    scene_film,
    write_gif,
    write_mp4,
    write_png,
)
from occsplat.visualization.flight import FLIGHT_FPS

#: films by option, and what they are
FILMS = {
    'gif': 'also a small film of each scene',
    'mp4': 'also one with all cameras, as long as the drive',
    'fly': 'also a flight along the drive, as MP4',
}
#: pictures of a GIF per second: the 32 of eight key frames of nuScenes, half
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
    for kind, words in FILMS.items():
        parser.add_argument(f'--{kind}', action='store_true', help=words)
    return parser


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw as the command line says; returns the files."""
    args = make_parser().parse_args(argv)
    films = [kind for kind in FILMS if getattr(args, kind)]
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_writable(args.out)
        if {'mp4', 'fly'} & set(films):
            import_ffmpeg()  # or say so before the work
        model = load_model(cfg, args)
        dataset = build_split(cfg, args.split)
        return draw(model, dataset, Path(args.out), args.frames, films)


def draw(
    model: BaseModel,
    dataset: Any,
    out: Path,
    frames: int,
    films: Sequence[str],
) -> list[Path]:
    """Predict and draw the first frames of a data set.

    Args:
        model: to predict with.
        dataset: key frames in scene and time order.
        out: folder.
        frames: how many, at most.
        films: which of ``FILMS`` to make of each scene.

    Returns:
        list: the files: of each scene the sheets, then the films.
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
        paths += draw_scene(model, dataset, scene, name, out, films)
    return paths


def draw_scene(
    model: BaseModel,
    dataset: Any,
    indices: Iterable[int],
    scene: str,
    out: Path,
    films: Sequence[str],
) -> list[Path]:
    """``draw`` the key frames of one scene, in time order.

    ``scene`` is its name.
    """
    spec = LabelSpec.named(dataset.label_spec)
    paths: list[Path] = []
    shots: dict[str, list] = {kind: [] for kind in films}
    times: list[float] = []
    for number, index in enumerate(indices):
        start = time.perf_counter()
        (sample,) = inference_occ(model, [dataset[index]])
        record = dataset.get_data_info(index)
        images, rig = raw_views(record, sample)
        shown = sample, images, spec, rig, record['cameras']
        sheet = sample_sheet(*shown, title=f'{scene}, key frame {number}')
        paths.append(write_png(out / f'{scene}_{number:03d}.png', sheet))
        times.append(record['timestamp'])
        title = f'{scene}, {times[-1] - times[0]:.1f} s'
        if 'gif' in shots:
            shots['gif'].append(film_frame(*shown, title=title))
        if 'mp4' in shots:
            shots['mp4'].append(drive_frame(*shown, title=title))
        if 'fly' in shots:
            shots['fly'].append(flight_frame(sample))
        seconds = time.perf_counter() - start
        print(f'{paths[-1]} ({seconds:.1f} s)')
    for kind, frames in shots.items():
        start = time.perf_counter()
        paths.append(write_film(kind, frames, times, spec, out / scene))
        seconds = time.perf_counter() - start
        print(f'{paths[-1]} ({seconds:.1f} s)')
    return paths


def write_film(
    kind: str, frames: list, times: list[float], spec: LabelSpec, stem: Path
) -> Path:
    """One of ``FILMS`` of a scene.

    Args:
        kind: which.
        frames: what it shows of each key frame.
        times: of the key frames in seconds.
        spec: the label set.
        stem: the file without what tells kinds apart.

    Returns:
        Path: the file.
    """
    if kind == 'gif':
        pictures = list(scene_film(frames, spec))
        path = stem.with_name(f'{stem.name}.gif')
        return write_gif(path, pictures, _FPS, exact=spec.palette)
    if kind == 'mp4':
        path = stem.with_name(f'{stem.name}.mp4')
        return write_mp4(path, drive_film(frames, spec), drive_fps(times))
    path = stem.with_name(f'{stem.name}_fly.mp4')
    return write_mp4(path, flight_film(frames, spec, stem.name), FLIGHT_FPS)


if __name__ == '__main__':
    main()
