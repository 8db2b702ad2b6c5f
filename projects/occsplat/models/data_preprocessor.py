"""From the loader's uint8 images to the network's input.

Shape letters: B batch, T frames, N cameras.
"""

from __future__ import annotations

from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseDataPreprocessor

from occsplat.structures.checks import Positive, checked


@MODELS.register_module()
class OccDataPreprocessor(BaseDataPreprocessor):
    """Stack, move and normalise multi-view images.

    Normalisation happens on the device, so that the loader ships one
    byte a value instead of four.

    Args:
        mean (sequence): of R, G, B in 0..255.
        std (sequence): of R, G, B in 0..255.
    """

    @checked
    def __init__(
        self,
        mean: tuple[float, float, float] = (123.675, 116.28, 103.53),
        std: tuple[Positive, Positive, Positive] = (58.395, 57.12, 57.375),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        shape = (1, 1, 1, 3, 1, 1)
        self.register_buffer('mean', torch.tensor(mean).view(shape), False)
        self.register_buffer('std', torch.tensor(std).view(shape), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Collated data in, model input out.

        Args:
            data (dict): ``inputs['imgs']``, a list of B uint8 RGB tensors
                (T, N, 3, H, W), and ``data_samples``, B OccDataSample.
            training (bool): unused, part of the interface.

        Returns:
            dict: ``inputs`` with ``imgs`` (B, T, N, 3, H, W) float32,
            and ``data_samples`` on the same device.
        """
        data = self.cast_data(data)
        imgs = torch.stack(list(data['inputs']['imgs'])).float()
        return dict(
            inputs=dict(imgs=self.normalise(imgs)),
            data_samples=data['data_samples'],
        )

    def normalise(self, imgs: torch.Tensor) -> torch.Tensor:
        """Pixels of 0..255, float32 (B, T, N, 3, H, W), to the input."""
        return (imgs - self.mean) / self.std
