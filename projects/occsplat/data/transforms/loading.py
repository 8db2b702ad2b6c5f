"""Images and their cameras.

Shape letters: T frames, N cameras, H W image.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from occsplat.data.errors import DataError
from occsplat.structures import CameraRig

from .key_frames import key_frame, ref2cam_of


@TRANSFORMS.register_module()
class LoadMultiViewImages(BaseTransform):
    """Read the cameras' images, of this and perhaps other key frames.

    Adds ``imgs``, T lists of N RGB images, uint8 (H, W, 3); ``rig``, a
    float64 CameraRig (T, N) of raw images; and ``raw_size`` (W, H).

    Args:
        frames (sequence): offsets in key frames, 0 first; (0, -1) adds
            the one before. Past the end of a scene the current frame
            stands in.

    Raises:
        ValueError: when the first offset is not 0, a file is not a whole
            image, or sizes differ.
        FileNotFoundError: when an image is missing.
    """

    def __init__(self, frames: Sequence[int] = (0,)) -> None:
        if not frames or frames[0] != 0:
            raise ValueError(
                'frames must start with 0, the current key frame, got '
                f'{tuple(frames)}'
            )
        self.frames = tuple(frames)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add images and cameras."""
        records = [key_frame(results, offset) for offset in self.frames]
        imgs = [[_read(p) for p in r['img_paths']] for r in records]
        sizes = {img.shape[1::-1] for frame in imgs for img in frame}
        if len(sizes) != 1:
            raise ValueError(
                f'key frame {results["token"]}: expected images of one '
                f'size, got (width, height) {sorted(sizes)} among '
                f'{results["img_paths"]}'
            )
        width, height = sizes.pop()
        ref2cam = [ref2cam_of(results, record) for record in records]
        cam2img = [record['cam2img'] for record in records]
        results['imgs'] = imgs
        results['raw_size'] = (width, height)
        results['rig'] = CameraRig.from_matrices(
            torch.from_numpy(np.stack(ref2cam)),
            torch.from_numpy(np.stack(cam2img)),
            width,
            height,
        )
        return results


def _read(path: str) -> np.ndarray:
    """RGB uint8 (H, W, 3)."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert('RGB'))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'image {path} is missing: expected it where the info file '
            'says. Unpack the camera archives below the data root, or run '
            'tools/create_data.py again if files have moved'
        ) from error
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(
            f'image {path} cannot be read ({error}): expected a whole JPEG '
            'or PNG file. Unpack or copy it again'
        ) from error
