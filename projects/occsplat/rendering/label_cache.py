"""Rendered ground truth, kept on disk.

Ground truth from fixed cameras does not change between epochs. Nor does
the volume augmentation change it: that turns the labels and the cameras
together.

Shape letters: N cameras, H W pixels.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor

#: what says how the images of a folder were made
SETTINGS = 'settings.json'


class LabelImages(NamedTuple):
    """Ground truth of N cameras.

    Attributes:
        classes (Tensor): ids, uint8 (N, H, W), see
            :meth:`~occsplat.rendering.RenderOutput.class_image`.
        depth (Tensor): metres, float16 (N, H, W).
    """

    classes: Tensor
    depth: Tensor


class LabelCache:
    """A folder of class and depth images: sample / camera_WxH.npz.

    Args:
        folder (str | Path): made when missing.
        settings (Mapping): everything the images depend on besides sample,
            camera and size, such as label set, grid, scale, near and far;
            plain JSON values.

    Raises:
        ValueError: when the folder holds images of other settings.
    """

    def __init__(self, folder: str | Path, settings: Mapping) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / SETTINGS
        wanted = json.dumps(dict(settings), sort_keys=True)
        if not path.exists():
            _write(path, lambda file: file.write(wanted.encode()))
        found = path.read_text(encoding='utf-8')
        if found != wanted:
            raise ValueError(
                f'{path}: the images were made with {found}, expected '
                f'{wanted}: name another folder or delete this one'
            )

    def fetch(
        self,
        sample: str,
        cameras: Sequence[str],
        width: int,
        height: int,
        render: Callable[[list[int]], LabelImages],
    ) -> LabelImages:
        """Images of a sample; those that are missing are rendered and kept.

        Args:
            sample (str): a name that is valid in a path, such as a token.
            cameras (Sequence[str]): N such names.
            width, height (int): of the images, in pixels.
            render (Callable): makes the images of the cameras at some
                indices.

        Returns:
            LabelImages: of the N cameras, on the CPU.

        Raises:
            ValueError: when a file is damaged or does not fit, or when
                ``render`` returns another shape.
        """
        paths = [
            self.folder / sample / f'{camera}_{width}x{height}.npz'
            for camera in cameras
        ]
        missing = [n for n, path in enumerate(paths) if not path.exists()]
        images: dict[int, LabelImages] = {}
        if missing:
            made = LabelImages(*(x.cpu() for x in render(missing)))
            made = LabelImages(made.classes, made.depth.half())
            for name, x, dtype in zip(
                made._fields, made, (torch.uint8, torch.float16)
            ):
                shape = (len(missing), height, width)
                if x.shape != shape or x.dtype != dtype:
                    raise ValueError(
                        f'rendered {name}: expected {dtype} {shape}, got '
                        f'{x.dtype} {tuple(x.shape)}'
                    )
            for n, *image in zip(missing, *made):
                images[n] = LabelImages(*image)
                _save(paths[n], images[n])
        for n, path in enumerate(paths):
            if n not in images:
                images[n] = _load(path, (height, width))
        ordered = (images[n] for n in range(len(paths)))
        return LabelImages(*map(torch.stack, zip(*ordered)))


def _save(path: Path, image: LabelImages) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: x.numpy() for name, x in image._asdict().items()}
    _write(path, lambda file: np.savez_compressed(file, **arrays))


def _load(path: Path, shape: tuple[int, int]) -> LabelImages:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in LabelImages._fields]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f'{path} is damaged ({error}): delete it, and it will be '
            'rendered again'
        ) from error
    for x, dtype in zip(arrays, (np.uint8, np.float16)):
        if x.shape != shape or x.dtype != dtype:
            raise ValueError(
                f'{path}: expected {np.dtype(dtype)} {shape}, got {x.dtype} '
                f'{x.shape}: delete it, and it will be rendered again'
            )
    return LabelImages(*map(torch.from_numpy, arrays))


def _write(path: Path, write: Callable) -> None:
    """Under a temporary name first: no reader sees half a file."""
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    with open(part, 'wb') as file:
        write(file)
    os.replace(part, path)
