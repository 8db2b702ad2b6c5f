"""ResNet-50 as torchvision publishes it, trained on ImageNet.

Documented: names and shapes, by torchvision's public code, whose names
mmdet's ResNet shares; RGB images, with the means and deviations that
OccDataPreprocessor has. The classifier is left out.
"""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

from .parts import Dropped, Renamed, drop_prefixes

ADDRESS = 'https://download.pytorch.org/models/resnet50-0676ba61.pth'


def r50_imagenet(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The backbone, one tensor for one."""
    yield from drop_prefixes(state, ('fc.',), 'the classifier')
    for key, value in state.items():
        if not key.startswith('fc.'):
            yield Renamed(f'img_backbone.{key}', value, (key,))
