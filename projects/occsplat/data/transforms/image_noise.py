"""Other colours, and squares that are covered.

Shape letters: T frames, N cameras, H W image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat.structures.checks import Fraction, checked


@TRANSFORMS.register_module()
class PhotometricDistortion(BaseTransform):
    """Change brightness, contrast, saturation and hue at random.

    mmdet's PhotoMetricDistortion (SSD, Liu et al., 2016), on each image by
    itself, with its usual ranges. What leaves 0..255 is cut off.

    Raises:
        ValueError: when there are no images.
    """

    def __init__(self) -> None:
        # imported here: mmdet's transforms bring its data sets along
        from mmdet.datasets.transforms import PhotoMetricDistortion

        self.distortion = PhotoMetricDistortion()

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Distort ``imgs``."""
        _require_images(results, type(self).__name__)
        for views in results['imgs']:
            views[:] = [self._distorted(image) for image in views]
        return results

    def _distorted(self, image: np.ndarray) -> np.ndarray:
        """RGB uint8 (H, W, 3) to the same; mmdet's images are BGR."""
        bgr = np.ascontiguousarray(image[..., ::-1], np.float32)
        out = self.distortion.transform(dict(img=bgr))['img']
        rounded = np.clip(np.rint(out), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(rounded[..., ::-1])


@TRANSFORMS.register_module()
class GridMask(BaseTransform):
    """Cover a grid of squares, the same in all images of a sample.

    GridMask (Chen et al., 2020). The squares' distance is drawn from 2
    pixels to the image's height, and so is where the first one stands.

    Args:
        probability (float): of covering anything.
        ratio (float): side of a square over the distance of squares.
        color (sequence of int): red, green and blue of what covers; the
            mean colour, which is 0 to the network, by default.

    Raises:
        ValueError: when there are no images.
    """

    @checked
    def __init__(
        self,
        probability: Fraction = 0.7,
        ratio: Fraction = 0.5,
        color: tuple[int, int, int] = (124, 116, 104),
    ) -> None:
        self.probability = probability
        self.ratio = ratio
        self.color = color

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Cover parts of ``imgs``."""
        _require_images(results, type(self).__name__)
        if np.random.rand() >= self.probability:
            return results
        height, width = results['imgs'][0][0].shape[:2]
        distance = np.random.randint(2, height)
        rows, columns = (
            self._stripes(length, distance) for length in (height, width)
        )
        covered = rows[:, None] & columns[None, :]
        for views in results['imgs']:
            views[:] = [
                np.where(covered[..., None], self.color, image).astype(
                    np.uint8
                )
                for image in views
            ]
        return results

    def _stripes(self, length: int, distance: int) -> np.ndarray:
        """Where squares stand along a side, bool (length,)."""
        first = np.random.randint(distance)
        place = (np.arange(length) - first) % distance
        return place < round(distance * self.ratio)


def _require_images(results: dict[str, Any], name: str) -> None:
    if 'imgs' not in results:
        raise ValueError(f'{name} needs LoadMultiViewImages before it')
