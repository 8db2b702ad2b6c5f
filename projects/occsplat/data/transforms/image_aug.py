"""Resize, crop, flip and rotate images, and record it in img_aug.

Shape letters: T frames, N cameras, H W image.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from PIL import Image

from occsplat.structures.checks import Count, NonNegative, Range, checked


@TRANSFORMS.register_module()
class ImageAug(BaseTransform):
    """Bring images to the network's size, at random in training.

    BEVDet (2021), section 3: resize so that the width fits (times a bit
    more or less), keep the bottom, crop at random from left to right,
    flip, rotate about the middle; each camera by itself, all T frames of
    a camera alike. Where the image does not reach, pixels are black. With
    only ``size`` given nothing is random: exact width, bottom crop,
    middle crop.

    Changes ``imgs`` and the ``img_aug``, width and height of ``rig``.
    Pixel coordinates are continuous there: resizing multiplies them,
    a flip is W - u.

    Args:
        size (sequence): of the network's images, (width, height).
        resize (sequence, optional): range of what is added to the resize
            factor, e.g. (-0.06, 0.11).
        rotate (float): largest rotation, degrees, either way.
        flip (bool): mirror left and right half of the time.
        resampling (str): 'area', the mean of what a pixel covers, or
            'pillow': Pillow's bicubic filter, which BEVDet's family resizes
            by; some grey levels apart.

    Raises:
        ValueError: when there are no images, or depth maps made for
            images of another geometry.
    """

    @checked
    def __init__(
        self,
        size: tuple[Count, Count],
        resize: Range | None = None,
        rotate: NonNegative = 0.0,
        flip: bool = False,
        resampling: Literal['area', 'pillow'] = 'area',
    ) -> None:
        self.width, self.height = size
        self.resize = resize
        self.rotate = rotate
        self.flip = flip
        self.resampling = resampling

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Warp images and fold the warp into the cameras."""
        if 'imgs' not in results:
            raise ValueError('ImageAug needs LoadMultiViewImages before it')
        if 'gt_depth' in results:
            raise ValueError(
                'ImageAug would leave gt_depth behind: put LidarDepth or '
                'LidarSemantics after it'
            )
        imgs, rig = results['imgs'], results['rig']
        img_aug = rig.img_aug.clone()
        for camera in range(rig.num_cameras):
            height, width = imgs[0][camera].shape[:2]
            new_size, warp = self._draw(width, height)
            for views in imgs:
                views[camera] = self._apply(views[camera], new_size, warp)
            resized = np.diag([new_size[0] / width, new_size[1] / height, 1.0])
            step = torch.from_numpy(warp @ resized)
            img_aug[:, camera] = step @ img_aug[:, camera]
        rig.img_aug = img_aug
        rig.width, rig.height = self.width, self.height
        return results

    def _draw(
        self, width: int, height: int
    ) -> tuple[tuple[int, int], np.ndarray]:
        """Size after resizing, and the 3x3 from there to the output."""
        factor = self.width / width
        if self.resize is not None:
            factor += np.random.uniform(*self.resize)
        new_size = (round(width * factor), round(height * factor))
        spare = new_size[0] - self.width
        if self.resize is None:
            left = spare // 2
        else:
            left = int(np.random.uniform(0, max(0, spare)))
        top = new_size[1] - self.height
        warp = _translation(-left, -top)
        if self.flip and np.random.rand() < 0.5:
            mirror = _translation(self.width, 0) @ np.diag([-1.0, 1, 1])
            warp = mirror @ warp
        if self.rotate:
            angle = np.random.uniform(-self.rotate, self.rotate)
            middle = self.width / 2, self.height / 2
            warp = (
                _translation(*middle)
                @ _rotation(math.radians(angle))
                @ _translation(-middle[0], -middle[1])
                @ warp
            )
        return new_size, warp

    def _apply(
        self, image: np.ndarray, new_size: tuple[int, int], warp: np.ndarray
    ) -> np.ndarray:
        resized = self._resized(image, new_size)
        # OpenCV counts from pixel centres, we from the image's corner
        matrix = _translation(-0.5, -0.5) @ warp @ _translation(0.5, 0.5)
        return cv2.warpAffine(
            resized,
            matrix[:2],
            (self.width, self.height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )

    def _resized(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if self.resampling == 'pillow':
            filtered = Image.fromarray(image).resize(
                size, Image.Resampling.BICUBIC
            )
            return np.asarray(filtered)
        # averaging over areas keeps a strong reduction free of aliases
        smaller = size[0] < image.shape[1]
        return cv2.resize(
            image,
            size,
            interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
        )


def _translation(u: float, v: float) -> np.ndarray:
    return np.array([[1.0, 0, u], [0, 1, v], [0, 0, 1]])


def _rotation(angle: float) -> np.ndarray:
    """About the origin, radians, from u towards v."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
