"""BEVDet-Occ with ResNet-50, 4D stereo, as published for Occ3D (36.0 mIoU).

Its volumes are (Z, Y, X), ours (X, Y, Z). FlashOCC's retraining of the same
network puts ``occ_head.`` before the last two parts.

Names and shapes were derived from the published code; see docs/model_zoo.md
for what was compared.
"""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

from .parts import Dropped, Renamed
from .released_depth_net import convert_depth_net, depth_net_names
from .steps import Tensors, bgr_to_rgb, linear_to_conv3d, zyx_to_xyz

ADDRESS = 'the model table of https://github.com/HuangJunJie2017/BEVDet'

_DEPTH_NET = 'img_view_transformer.depth_net.'
_ENCODER = 'volume_encoder.backbone.stages.'
_NAMES = {
    r'img_backbone\.': 'img_backbone.',
    r'img_neck\.lateral_convs\.': 'img_neck.lateral.',
    r'img_neck\.fpn_convs\.0\.': 'img_neck.output.',
    **depth_net_names(
        r'img_view_transformer\.depth_net\.', 'lifter.depth_net.'
    ),
    r'pre_process_net\.layers\.0\.0\.downsample\.': (
        'lifter.pre_process.shortcut.'
    ),
    r'pre_process_net\.layers\.0\.0\.': 'lifter.pre_process.',
    r'img_bev_encoder_backbone\.layers\.(\d)\.(\d)\.downsample\.': (
        rf'{_ENCODER}\1.\2.shortcut.'
    ),
    r'img_bev_encoder_backbone\.layers\.': _ENCODER,
    r'img_bev_encoder_neck\.conv\.conv\.': 'volume_encoder.neck.mix.',
    r'img_bev_encoder_neck\.conv\.bn\.': 'volume_encoder.neck.norm.',
    r'(occ_head\.)?final_conv\.conv\.': 'occ_head.final_conv.conv.',
    r'(occ_head\.)?predicter\.': 'occ_head.mlp.',
}


def bevdet_occ_r50(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The whole network."""
    tensors = Tensors(state)
    tensors.change('img_backbone.conv1.weight', bgr_to_rgb)
    convert_depth_net(tensors, _DEPTH_NET)
    for name in tensors.matching(r'.*\.weight'):
        if tensors.value(name).dim() == 5:
            tensors.change(name, zyx_to_xyz)
    for name in tensors.matching(r'(occ_head\.)?predicter\.\d\.weight'):
        tensors.change(name, linear_to_conv3d)
    yield from tensors.renamed(_NAMES)
