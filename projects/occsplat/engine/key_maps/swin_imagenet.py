"""Swin-B as its authors publish it, trained on ImageNet-22K.

Documented: the address, in the authors' model zoo; names and shapes, by
their public code. mmdet's ``swin_converter`` knows mmdet's names for them,
and that the four patches which are merged into one stand in another order
there.

The classifier with its norm, and attention masks for the images of its
training, are left out: masks follow from the size of an image.
"""

from __future__ import annotations

from typing import Iterator

from mmdet.models.backbones.swin import swin_converter
from torch import Tensor, nn

from .parts import Dropped, Renamed, drop_prefixes

ADDRESS = (
    'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
    'swin_base_patch4_window12_384_22k.pth'
)


def swin_imagenet(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The backbone."""
    yield from drop_prefixes(state, ('head.', 'norm.'), 'the classifier')
    masks = tuple(key for key in state if key.endswith('.attn_mask'))
    if masks:
        yield Dropped(masks, 'attention masks of another image size')
    for key, value in state.items():
        if key in masks or not key.startswith(('layers.', 'patch_embed.')):
            continue
        ((name, converted),) = swin_converter({key: value}).items()
        yield Renamed(f'img_{name}', converted, (key,))
