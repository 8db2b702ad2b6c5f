"""FB-Occ's ResNet-50, pretrained with a depth loss on nuScenes.

Documented: the file's address, that VoxelSplat and FB-Occ start from it
(non-strictly, so that whatever fits is taken), the input of 256 x 704
pixels, and a two-level FPN of 1024 and 2048 to 256 channels.
Inferred, from the naming that BEVDet and its descendants share:
``img_backbone.`` holds torchvision's ResNet names, ``img_neck.`` two
``lateral_convs`` and one ``fpn_convs``, and the view transformer lies
under ``img_view_transformer.``, ``depth_net.`` or
``forward_projection.``. A file that is laid out otherwise can't be
mistaken for this one: wrong shapes and files without a match are
refused, and everything that is left over is listed.

The code family that it comes from reads images as RGB and then swaps the
channels, so that the network sees BGR (normalised with the means of RGB, a
third of a standard deviation off). OccSplat's images are RGB: the input
channels of the first layer are turned around.

The depth net is left out even where its convolutions have the shapes of
ours: their channels are gated by a vector of 27 numbers of the camera in
pixels, where ours has 22 in other units.
"""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

from .parts import Dropped, Renamed, drop_prefixes, rename_prefixes

ADDRESS = (
    'https://github.com/zhiqi-li/storage/releases/download/v1.0/'
    'r50_256x705_depth_pretrain.pth'
)


def r50_depth(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """Backbone and neck; the parts that see the volume are dropped."""
    for item in rename_prefixes(
        state,
        {
            'img_backbone.': 'img_backbone.',
            'img_neck.lateral_convs.': 'img_neck.lateral.',
            'img_neck.fpn_convs.0.': 'img_neck.output.',
        },
    ):
        if item.name == 'img_backbone.conv1.weight':
            # blue, green, red to red, green, blue
            item = item._replace(value=item.value.flip(1))
        yield item
    yield from drop_prefixes(
        state,
        (
            'backward_projection.',
            'depth_net.',
            'forward_projection.',
            'frpn.',
            'history_',
            'img_bev_encoder_',
            'img_view_transformer.',
            'occupancy_head.',
            'pts_bbox_head.',
        ),
        'depth net, view transformer and heads',
    )
