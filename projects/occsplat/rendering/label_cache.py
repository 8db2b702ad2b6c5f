"""Rendered ground truth, kept on disk.

The images of the same labels from the same cameras are the same in every
epoch. They are found again by what they show: by the labels' content and
the cameras' matrices. A volume augmentation, a mask or cleaning gives other
labels, hence other images. Mirrored labels come back after some steps;
those of a random rotation never do, and fill the disk.

Shape letters: N cameras, X Y Z voxels, H W pixels, C channels.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from occsplat.structures import Cameras, same_shape, whole_file

from .output import RenderOutput

#: what says how the images of a folder were made
SETTINGS = 'settings.json'


class LabelCache:
    """A folder of rendered labels: ``<labels>/<camera>.npz``, by digests.

    A file holds what :class:`RenderOutput` holds of one camera, to the last
    bit: a loss is the same with and without the cache.

    Args:
        folder (str | Path): made when missing.
        settings (Mapping): everything else that the images depend on, such
            as label set, grid, scale, near and far; plain JSON values.

    Raises:
        ValueError: when the folder holds images of other settings.
    """

    def __init__(self, folder: str | Path, settings: Mapping) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / SETTINGS
        wanted = json.dumps(dict(settings), sort_keys=True)
        if not path.exists():
            with whole_file(path) as part:
                part.write_text(wanted, encoding='utf-8')
        found = path.read_text(encoding='utf-8')
        if found != wanted:
            raise ValueError(
                f'{path}: the images were made with {found}, expected '
                f'{wanted}: name another folder or delete this one'
            )

    def fetch(
        self,
        labels: Tensor,
        cameras: Cameras,
        render: Callable[[Cameras], RenderOutput],
    ) -> RenderOutput:
        """Images of labels; those that are missing are rendered and kept.

        Args:
            labels (Tensor): class ids as the loss sees them, after every
                augmentation and mask, integers of any shape.
            cameras (Cameras): N of them, in the labels' frame.
            render (Callable): makes the images of some of the cameras.

        Returns:
            RenderOutput: of the N cameras, on the labels' device, without
            a gradient.

        Raises:
            ValueError: when a file is damaged or does not fit, or when
                ``render`` returns another shape.
        """
        folder = self.folder / _digest(labels)
        shape = (cameras.height, cameras.width)
        size = f'{cameras.width}x{cameras.height}'
        kind = f'{cameras.camera_model} {size}'.encode()
        paths = [
            folder / f'{_digest(view, K, extra=kind)}.npz'
            for view, K in zip(cameras.viewmats, cameras.Ks)
        ]
        missing = [n for n, path in enumerate(paths) if not path.exists()]
        images: dict[int, RenderOutput] = {}
        if missing:
            made = render(cameras.chosen(missing))
            same_shape(
                'rendered labels', made.alpha.shape, (len(missing), *shape)
            )
            for i, n in enumerate(missing):
                images[n] = RenderOutput(
                    made.features[i].detach(),
                    made.depth[i].detach(),
                    made.alpha[i].detach(),
                )
                _save(paths[n], images[n])
        for n, path in enumerate(paths):
            if n not in images:
                images[n] = _load(path, shape, labels.device)
        return RenderOutput.stack([images[n] for n in range(len(paths))])


def _digest(*tensors: Tensor, extra: bytes = b'') -> str:
    """What stands for the content of tensors: their numbers and shapes."""
    found = hashlib.sha256(extra)
    for tensor in tensors:
        array = tensor.detach().cpu().numpy()
        # a narrow type says as much of class ids as a wide one
        kind = np.float32 if array.dtype.kind == 'f' else np.int32
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array, kind).tobytes())
    return found.hexdigest()[:32]


def _save(path: Path, image: RenderOutput) -> None:
    features = image.features.cpu().numpy()
    # a view shows few of the classes
    shown = np.flatnonzero(features.any(axis=(0, 1)))
    with whole_file(path) as part, open(part, 'wb') as file:
        np.savez_compressed(
            file,
            num_channels=np.int64(features.shape[-1]),
            shown=shown,
            features=features[..., shown],
            depth=image.depth.cpu().numpy(),
            alpha=image.alpha.cpu().numpy(),
        )


def _load(
    path: Path, shape: tuple[int, int], device: torch.device
) -> RenderOutput:
    try:
        with np.load(path, allow_pickle=False) as file:
            shown = file['shown']
            features = np.zeros(
                (*shape, int(file['num_channels'])), np.float32
            )
            found = {key: file[key] for key in ('features', 'depth', 'alpha')}
            expected = dict(
                features=(*shape, len(shown)), depth=shape, alpha=shape
            )
            for key, array in found.items():
                if array.shape != expected[key] or array.dtype != np.float32:
                    raise ValueError(
                        f'{key}: expected float32 {expected[key]}, got '
                        f'{array.dtype} {array.shape}'
                    )
            features[..., shown] = found['features']
    except (
        OSError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f'{path} is damaged ({error}): delete it, and it will be '
            'rendered again'
        ) from error
    arrays = features, found['depth'], found['alpha']
    return RenderOutput(*(torch.from_numpy(x).to(device) for x in arrays))
