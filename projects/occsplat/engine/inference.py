"""From a config and a checkpoint to predictions: the Python API.

::

    model = init_model('occupancy_configs/...py', 'epoch_20.pth')
    for sample in inference_occ(model, 'frame/info.json'):
        sample.pred_occ   # class ids, uint8 (X, Y, Z)
        sample.pred_flow  # m/s, (X, Y, Z, 2), where the model predicts it
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS

from occsplat.data.images import read_image
from occsplat.data.transforms import LABEL_TRANSFORMS
from occsplat.structures import CameraRig, OccDataSample

from .checkpoint import load_model_weights
from .errors import ConfigError, build_errors
from .launch import load_config


def init_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
) -> BaseModel:
    """A config's network, ready to predict.

    Args:
        config: file, or what ``load_config`` has made of one.
        checkpoint: weights; None leaves them as they are drawn.
        device: where it computes.
        cfg_options: values by key path. Those of a config that is loaded
            already have been set; what they say of the opacity threshold
            counts before what the checkpoint says.

    Returns:
        BaseModel: in evaluation mode, with the config as ``cfg``.

    Raises:
        ConfigError: when the config is none, or describes no network.
        CheckpointError, FileNotFoundError: when the checkpoint can't be
            read, or has not the network's weights.
    """
    options = dict(cfg_options or {})
    cfg = config
    if not isinstance(cfg, Config):
        cfg = load_config(cfg, options)
    with build_errors(cfg):
        model = MODELS.build(cfg.model)
    if checkpoint is not None:
        load_model_weights(model, checkpoint, options)
    model.cfg = cfg
    return model.to(device).eval()


def inference_occ(
    model: BaseModel, frames: str | Path | Iterable[dict[str, Any]]
) -> Iterator[OccDataSample]:
    """Predict frame by frame, in the order that they come in.

    A model with memory takes each frame for the next one of its scene, as
    far as tokens say so.

    Args:
        model: see ``init_model``.
        frames: an info file as mmdetection3d makes it for nuScenes, with
            the images beside it or in ``samples/<CHANNEL>/``; or packed
            samples, as a data set gives them.

    Yields:
        OccDataSample: with its prediction, on the CPU.

    Raises:
        ConfigError, FileNotFoundError, DataError: see ``build_frames``.
    """
    if isinstance(frames, (str, Path)):
        dataset = build_frames(model.cfg, Path(frames))
        frames = (dataset[i] for i in range(len(dataset)))
    for packed in frames:
        with torch.no_grad():
            yield model.test_step(pseudo_collate([packed]))[0].cpu()


def build_frames(cfg: Config, info: str | Path) -> Any:
    """The config's test data set over another info file, without labels.

    Raises:
        ConfigError: when the config has no test data.
        FileNotFoundError: when there is no such file.
        DataError: when it is no info file.
    """
    info = Path(info)
    if not info.is_file():
        raise FileNotFoundError(
            f'info file {info} does not exist: expected a .json or .pkl '
            'file as mmdetection3d makes it for nuScenes'
        )
    if cfg.get('test_dataloader') is None:
        raise ConfigError(f'config {cfg.filename} has no test_dataloader')
    dataset = copy.deepcopy(cfg.test_dataloader.dataset)
    dataset.data_root = str(info.resolve().parent)
    dataset.ann_file = str(info.resolve())
    dataset.pipeline = [
        step
        for step in dataset.pipeline
        if step['type'] not in LABEL_TRANSFORMS
    ]
    with build_errors(cfg):
        return DATASETS.build(dataset)


def build_split(cfg: Config, split: str) -> Any:
    """The data set of a split, without training's augmentation.

    Args:
        cfg: the config.
        split: 'train', 'val' or 'test'.

    Raises:
        ConfigError: when the config has no such data.
    """
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


def raw_views(
    record: Mapping[str, Any], sample: OccDataSample
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
