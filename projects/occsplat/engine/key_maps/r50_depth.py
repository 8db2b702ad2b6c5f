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

The depth net is taken where all of it has the shape of ours: that of FB-Occ
R50. It knows a camera by 27 numbers, ours by 22 in other units, so its
norm and first layers are converted as ``released_depth_net`` describes.
"""

from __future__ import annotations

from typing import Iterator

from torch import Size, Tensor, nn

from .parts import Dropped, Renamed, drop_prefixes, rename_prefixes
from .released_depth_net import convert_depth_net, depth_net_names
from .steps import Tensors

#: what the published depth net's names begin with, one or the other
_PREFIXES = ('img_view_transformer.depth_net.', 'depth_net.')
#: where ours is
_OURS = 'lifter.depth_net.'

ADDRESS = (
    'https://github.com/zhiqi-li/storage/releases/download/v1.0/'
    'r50_256x705_depth_pretrain.pth'
)


def r50_depth(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """Backbone, neck and depth net; what sees the volume is dropped."""
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
    yield from _depth_net(state, module)
    yield from drop_prefixes(
        {k: v for k, v in state.items() if not k.startswith(_PREFIXES)},
        (
            'backward_projection.',
            'forward_projection.',
            'frpn.',
            'history_',
            'img_bev_encoder_',
            'img_view_transformer.',
            'occupancy_head.',
            'pts_bbox_head.',
        ),
        'view transformer and heads',
    )


def _depth_net(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """All of it, or nothing: half a depth net is none."""
    for prefix in _PREFIXES:
        part = {k: v for k, v in state.items() if k.startswith(prefix)}
        if not part:
            continue
        tensors = Tensors(part)
        convert_depth_net(tensors, prefix, to_train=True)
        names = depth_net_names(prefix.replace('.', r'\.'), _OURS)
        items = list(tensors.renamed(names))
        found = {item.name: item.value.shape for item in items}
        own = {name: x.shape for name, x in module.state_dict().items()}
        if found and _without_counters(found) == _without_counters(own):
            yield from items
        else:
            yield Dropped(tuple(part), 'depth net of another form than ours')


def _without_counters(shapes: dict[str, Size]) -> dict[str, Size]:
    """The depth net's shapes by name; a counter is no weight."""
    return {
        name: shape
        for name, shape in shapes.items()
        if name.startswith(_OURS) and not name.endswith('num_batches_tracked')
    }
