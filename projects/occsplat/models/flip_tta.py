"""Test-time augmentation: a network looks at mirrored scenes, too.

Shape letters: B batch, T frames, N cameras, H W images, K classes, X Y Z
voxels.

::

    imgs (B, T, N, 3, H, W), cameras, poses
      -> images mirrored or not, x and y of the reference frame mirrored
         or not                         8 times the same scene
      -> detector                       8 OccPredictions
      -> mirrored back, mean of the probabilities and of the flow
      -> the occupancy head's own rule  classes and flow
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, Sequence

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    OccDataSample,
    OccPrediction,
    VoxelGrid,
)
from occsplat.structures.checks import checked

from .detector import OccDetector


@dataclass(frozen=True)
class Flip:
    """One of the eight ways to look at a scene.

    Attributes:
        images: mirror all images, left and right.
        x, y: mirror that axis of the reference frame.
    """

    images: bool
    x: bool
    y: bool

    @property
    def matrix(self) -> np.ndarray:
        """Reference frame to mirrored one and back, float64 (4, 4)."""
        return np.diag([-1.0 if self.x else 1, -1.0 if self.y else 1, 1, 1])

    @property
    def axes(self) -> list[int]:
        """Those of a volume (..., X, Y, Z) that are mirrored."""
        return [
            axis for axis, mirrored in ((-3, self.x), (-2, self.y)) if mirrored
        ]

    def of_images(self, imgs: Tensor) -> Tensor:
        """Images (..., W) as this way shows them."""
        return imgs.flip(-1) if self.images else imgs

    def of_rig(self, rig: CameraRig) -> CameraRig:
        """The cameras that take those images in the mirrored frame."""
        img_aug = rig.img_aug
        if self.images:
            mirror = img_aug.new_tensor(
                [[-1.0, 0, rig.width], [0, 1, 0], [0, 0, 1]]
            )
            img_aug = mirror @ img_aug
        moved = rig.ref2cam @ rig.ref2cam.new_tensor(self.matrix)
        return replace(rig, ref2cam=moved, img_aug=img_aug)

    def of_sample(self, sample: OccDataSample) -> OccDataSample:
        """What a network reads of a sample, labels left out.

        Tokens are those of a sequence of its own: what a network
        remembers stands in the mirrored frame.
        """
        meta: dict[str, Any] = dict(sample.metainfo)
        meta['ref2global'] = meta['ref2global'] @ self.matrix
        for key in ('token', 'prev'):
            if meta.get(key):
                meta[key] = f'{meta[key]} {self}'
        seen = OccDataSample(metainfo=meta)
        seen.rig = self.of_rig(sample.rig)
        return seen

    def undo(self, prediction: OccPrediction) -> OccPrediction:
        """A prediction in the mirrored frame, told in the frame itself.

        Of logits, flow and, where the frame is not mirrored, offsets: the
        cells of these are every second voxel or so, from one end on, and
        stand between those that are counted from the other end.
        """
        flow, offsets = prediction.flow, prediction.offsets
        if flow is not None:
            signs = flow.new_tensor(self.matrix.diagonal()[:2])
            flow = flow.flip(self.axes) * signs.view(2, 1, 1, 1)
        return OccPrediction(
            prediction.logits.flip(self.axes),
            flow,
            offsets=None if self.axes else offsets,
        )


#: what can be mirrored
MIRRORS = ('images', 'x', 'y')


def all_flips(mirror: Sequence[str] = MIRRORS) -> list[Flip]:
    """All combinations of what may be mirrored; the scene itself is first."""
    choices = (
        (False, True) if name in mirror else (False,) for name in MIRRORS
    )
    return [Flip(*chosen) for chosen in product(*choices)]


@MODELS.register_module()
class FlipTTA(BaseModel):
    """Predict with the mean of up to eight looks at a scene.

    Images and volume are mirrored independently, as in the augmentation of
    BEVDet (2021), section 3. It suits networks that have learned from
    mirrored scenes: to others a mirrored volume is a town that drives on
    the other side of the road, and flow says so.

    With n things to mirror it takes 2^n times the detector's time; a
    detector with memory remembers so many sequences.

    Args:
        module (dict | OccDetector): the detector.
        mirror (sequence of str): some of 'images', 'x' and 'y', axes of
            the reference frame.

    Raises:
        ValueError: when ``mirror`` names nothing or something else, or a
            grid of the detector is not the same on both sides of the
            axis.
    """

    @checked
    def __init__(
        self,
        module: dict | OccDetector,
        mirror: Sequence[Literal['images', 'x', 'y']] = MIRRORS,
    ) -> None:
        if not mirror:
            raise ValueError(
                f'mirror is empty, expected some of {", ".join(MIRRORS)}'
            )
        built = MODELS.build(module) if isinstance(module, dict) else module
        if not isinstance(built, OccDetector):
            raise ValueError(
                'test-time augmentation mirrors volumes of an OccDetector, '
                f'got a {type(built).__name__}'
            )
        super().__init__(built.data_preprocessor)
        self.module = built
        self.flips = all_flips(mirror)
        _check_symmetric(built, mirror)
        if built.history is not None:
            built.history.turns *= len(self.flips)

    def forward(
        self,
        inputs: dict[str, Tensor],
        data_samples: list[OccDataSample],
        mode: str = 'tensor',
    ) -> list[OccDataSample] | OccPrediction:
        """As in mmengine: mode is 'predict' or 'tensor'.

        Raises:
            NonFiniteError: when a prediction is NaN or infinite.
            ValueError: for any other mode: nothing is learned here.
        """
        if mode not in ('predict', 'tensor'):
            raise ValueError(
                f"FlipTTA: mode must be 'predict' or 'tensor', got {mode!r}"
            )
        prediction = merge(
            [self._look(flip, inputs, data_samples) for flip in self.flips]
        )
        if mode == 'tensor':
            return prediction
        return self.module.add_prediction(prediction, data_samples)

    def _look(
        self,
        flip: Flip,
        inputs: dict[str, Tensor],
        data_samples: list[OccDataSample],
    ) -> OccPrediction:
        imgs = flip.of_images(inputs['imgs'])
        samples = [flip.of_sample(sample) for sample in data_samples]
        return flip.undo(self.module(dict(imgs=imgs), samples, 'tensor'))


def merge(predictions: list[OccPrediction]) -> OccPrediction:
    """The mean of what several looks say.

    Args:
        predictions: in one frame.

    Returns:
        OccPrediction: logits, the logarithm of the mean probability
        (B, K, X, Y, Z); flow, the mean (B, 2, X, Y, Z), and offsets, the
        mean of those that there are; None where no look has them.
    """
    logits = torch.stack([p.logits.float() for p in predictions])
    logits = logits.log_softmax(dim=2).logsumexp(dim=0)
    return OccPrediction(
        logits - math.log(len(predictions)),
        _mean([p.flow for p in predictions]),
        offsets=_mean([p.offsets for p in predictions]),
    )


def _mean(values: list[Tensor | None]) -> Tensor | None:
    there = [value for value in values if value is not None]
    return torch.stack(there).mean(dim=0) if there else None


def _check_symmetric(detector: OccDetector, mirror: Sequence[str]) -> None:
    """See that a mirrored volume is on the grid it was on."""
    for name, part in detector.named_modules():
        grid = getattr(part, 'grid', None)
        if not isinstance(grid, VoxelGrid):
            continue
        for axis, low, high in zip('xy', grid.min, grid.max):
            if axis in mirror and low != -high:
                raise ValueError(
                    f'test-time augmentation mirrors {axis}, but the grid of '
                    f'{name} goes from {low:g} to {high:g} m along it: '
                    f'expected it to reach as far to both sides of 0'
                )
