"""ResNet-101 with deformable convolutions, from FCOS3D on nuScenes.

What TPVFormer, SurroundOcc and GaussRender start from. Documented, by the
public code that loads it: the file's name, that ``img_backbone.`` holds
mmdet's names and ``img_neck.`` an FPN of 256 channels with five outputs.
Inferred: that files of mmdet3d itself say ``backbone.`` and ``neck.``, and
that all else is the detection head.

Images were blue, green, red; ours are red, green, blue. Of the neck is taken
what fits: TPVFormer's has its form, SurroundOcc's twice the channels.
"""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

from .parts import Dropped, Renamed, rename_prefixes, take_fitting
from .steps import bgr_to_rgb

ADDRESS = (
    'https://github.com/zhiqi-li/storage/releases/download/v1.0/'
    'r101_dcn_fcos3d_pretrain.pth'
)


def fcos3d_r101(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The backbone, and of the neck what fits."""
    prefixes = {
        'img_backbone.': 'img_backbone.',
        'backbone.': 'img_backbone.',
        'img_neck.': 'img_neck.',
        'neck.': 'img_neck.',
    }
    neck = []
    for item in rename_prefixes(state, prefixes):
        if item.name.startswith('img_neck.'):
            neck.append(item)
        elif item.name == 'img_backbone.conv1.weight':
            yield item._replace(value=bgr_to_rgb(item.value))
        else:
            yield item
    yield from take_fitting(neck, module, 'a neck of another form')
    head = tuple(key for key in state if not key.startswith(tuple(prefixes)))
    if head:
        yield Dropped(head, 'the detection head')
