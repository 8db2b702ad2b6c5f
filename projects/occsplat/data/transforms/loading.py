"""Images and their cameras.

Shape letters: T frames, N cameras, H W image.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat.data.calibration import check_image_size
from occsplat.data.errors import DataError
from occsplat.data.images import read_image
from occsplat.structures import CameraRig
from occsplat.structures.checks import checked

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
        ValueError: when the first offset is not 0.
        DataError: when sizes differ, or an image is not of the size that
            its camera's matrix is for.
        FileNotFoundError, DataError: as ``read_image``.
    """

    @checked
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
        imgs = [[read_image(p) for p in r['img_paths']] for r in records]
        width, height = _common_size(records, imgs)
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


def _common_size(
    records: Sequence[dict[str, Any]], imgs: Sequence[list[np.ndarray]]
) -> tuple[int, int]:
    """Width and height of all images, which fit their cameras."""
    found: dict[tuple[int, int], str] = {}
    for record, views in zip(records, imgs):
        for camera, image in enumerate(views):
            size = image.shape[1::-1]
            path = record['img_paths'][camera]
            found.setdefault(size, f'{record["cameras"][camera]} ({path})')
    if len(found) != 1:
        examples = ', '.join(
            f'{width}x{height} of {camera}'
            for (width, height), camera in found.items()
        )
        raise DataError(
            f'key frame {records[0]["token"]!r}: expected images of one '
            f'size, got (width, height) {sorted(found)}: {examples}. Resize '
            'or crop them, and cam2img with them, or leave cameras out with '
            'cameras=[...] in the dataset'
        )
    size = next(iter(found))
    for record in records:
        for camera in range(len(record['cameras'])):
            check_image_size(record, camera, size)
    return size
