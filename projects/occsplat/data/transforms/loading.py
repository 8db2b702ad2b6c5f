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
        pose_of (str, optional): a camera at whose time the reference frame
            is taken to be, instead of the LiDAR's: up to 50 ms of driving
            beside the labels. BEVDet's family learned so.

    Raises:
        ValueError: when the first offset is not 0.
        DataError: when sizes differ, or an image is not of the size that
            its camera's matrix is for.
        FileNotFoundError, DataError: as ``read_image``.
    """

    #: see ``occsplat.data.inventory.files_read``
    reads = ('img_paths',)

    @checked
    def __init__(
        self, frames: Sequence[int] = (0,), pose_of: str | None = None
    ) -> None:
        if not frames or frames[0] != 0:
            raise ValueError(
                'frames must start with 0, the current key frame, got '
                f'{tuple(frames)}'
            )
        self.frames = tuple(frames)
        self.pose_of = pose_of

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add images and cameras."""
        records = [key_frame(results, offset) for offset in self.frames]
        imgs = [[read_image(p) for p in r['img_paths']] for r in records]
        width, height = _common_size(records, imgs)
        drift = np.eye(4)
        if self.pose_of is not None:
            drift = _drift(results, self.pose_of)
        ref2cam = [ref2cam_of(results, record) @ drift for record in records]
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


def _drift(record: dict[str, Any], camera: str) -> np.ndarray:
    """The car when a camera fired -> the car when the LiDAR did, (4, 4)."""
    if record['ref_frame'] != 'ego':
        raise ValueError(
            f'pose_of={camera!r} is for labels in the ego frame, these are '
            f'in the frame {record["ref_frame"]!r}'
        )
    if camera not in record['cameras']:
        raise ValueError(
            f'pose_of must be one of {tuple(record["cameras"])}, got '
            f'{camera!r}'
        )
    index = record['cameras'].index(camera)
    mount = record['cam2ego'][index]
    if mount is None:
        raise DataError(
            f'key frame {record["token"]!r}: pose_of={camera!r} needs '
            f"{camera}['cam2ego'] in its info entry. Make the info files "
            'anew with tools/create_data.py'
        )
    # ego when the camera fired -> camera -> ego when the LiDAR did
    return np.linalg.inv(mount @ record['ref2cam'][index])


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
