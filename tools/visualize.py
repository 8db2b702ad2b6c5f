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
import copy
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any, Iterable, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment  # noqa: E402

check_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import DATASETS, MODELS  # noqa: E402

import occsplat  # noqa: E402,F401  before mmdet3d, which needs its shims
from occsplat.data.images import read_image  # noqa: E402
from occsplat.engine import (  # noqa: E402
    ConfigError,
    add_cfg_options,
    build_errors,
    limit_threads,
    load_config,
    load_model_weights,
    user_errors,
)
from occsplat.structures import (  # noqa: E402
    CameraRig,
    LabelSpec,
    OccDataSample,
    check_writable,
)
from occsplat.visualization import (  # noqa: E402
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
    add_common(parser)
    parser.add_argument(
        '--frames', type=int, default=8, help='how many, from the first on'
    )
    parser.add_argument(
        '--split', default='val', choices=('train', 'val', 'test')
    )
    parser.add_argument(
        '--gif', action='store_true', help='also a film for each scene'
    )
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every tool that runs a checkpoint and draws takes."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', required=True, help='folder for pictures')
    add_run_options(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What every tool that runs a model outside mmengine's Runner takes."""
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='cpu, cuda or cuda:N; default: a GPU if there is one',
    )
    add_cfg_options(parser)


def load_model(cfg: Config, args: argparse.Namespace) -> BaseModel:
    """The config's network with a checkpoint's weights, to predict with."""
    limit_threads()
    with build_errors(cfg):
        model = MODELS.build(cfg.model)
    load_model_weights(model, args.checkpoint, args.cfg_options)
    return model.to(args.device).eval()


def predict(model: BaseModel, packed: dict[str, Any]) -> OccDataSample:
    """One packed sample with its prediction, on the CPU."""
    with torch.no_grad():
        return model.test_step(pseudo_collate([packed]))[0].cpu()


def raw_views(
    record: dict[str, Any], sample: OccDataSample
) -> tuple[list[np.ndarray], CameraRig]:
    """The key frame's images as they are on disk, and their cameras.

    Args:
        record: of the data set, names the files.
        sample: its cameras, whose image augmentation is left out.

    Returns:
        tuple: N RGB images, uint8 (H, W, 3), and a rig (N,).
    """
    images = [read_image(path) for path in record['img_paths']]
    height, width = images[0].shape[:2]
    cameras = sample.rig[0]
    rig = CameraRig.from_matrices(cameras.ref2cam, cameras.K, width, height)
    return images, rig


def build_split(cfg: Config, split: str) -> Any:
    """The data set of a split, without training's augmentation."""
    name = f'{split}_dataloader'
    if cfg.get(name) is None or cfg.get('val_dataloader') is None:
        raise ConfigError(f'config {cfg.filename} has no {name}')
    if split == 'train':
        dataset = copy.deepcopy(cfg.val_dataloader.dataset)
        trained = cfg.train_dataloader.dataset
        dataset.data_root = trained.data_root
        dataset.ann_file = trained.ann_file
    else:
        dataset = cfg[name].dataset
    with build_errors(cfg):
        return DATASETS.build(dataset)


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw as the command line says; returns the files."""
    args = make_parser().parse_args(argv)
    if args.frames < 1:
        raise SystemExit(f'error: --frames must be >= 1, got {args.frames}')
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
        sample = predict(model, dataset[index])
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
