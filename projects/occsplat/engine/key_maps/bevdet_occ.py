"""BEVDet-Occ with 4D stereo (R50 and Swin-B), and RenderOcc on Swin-B.

As published for Occ3D: 36.0 and 42.0 mIoU, and 24.5 from 2D labels alone.
Volumes are (Z, Y, X), ours (X, Y, Z). FlashOCC's retraining of BEVDet-Occ
puts ``occ_head.`` before the last two parts.

Names and shapes were derived from the published code; see docs/model_zoo.md
for what was compared.
"""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

from .parts import Dropped, Renamed, drop_prefixes
from .released_depth_net import convert_depth_net, depth_net_names
from .steps import Tensors, bgr_to_rgb, linear_to_conv3d, zyx_to_xyz

ADDRESS = (
    'the model tables of https://github.com/HuangJunJie2017/BEVDet and '
    'https://github.com/pmj110119/RenderOcc'
)

#: what the published depth net's names begin with
DEPTH_NET = 'img_view_transformer.depth_net.'
_ENCODER = 'volume_encoder.backbone.stages.'
#: image backbone, neck and depth net, see ``Tensors.renamed``
IMAGE_NAMES = {
    r'img_backbone\.': 'img_backbone.',
    r'img_neck\.lateral_convs\.': 'img_neck.lateral.',
    r'img_neck\.fpn_convs\.0\.': 'img_neck.output.',
    # Swin-B's
    r'img_neck\.conv\.0\.': 'img_neck.convs.0.conv.',
    r'img_neck\.conv\.1\.': 'img_neck.convs.0.bn.',
    r'img_neck\.conv\.3\.': 'img_neck.convs.1.conv.',
    r'img_neck\.conv\.4\.': 'img_neck.convs.1.bn.',
    **depth_net_names(
        r'img_view_transformer\.depth_net\.', 'lifter.depth_net.'
    ),
}
_NAMES = {
    **IMAGE_NAMES,
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
    r'(density|semantic)_mlp\.': r'occ_head.\1.',
}


def bevdet_occ(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The whole network, with either image backbone and either head."""
    yield from drop_prefixes(
        state,
        ('nerf_head.', 'semantic_loss.'),
        'constants of the training',
    )
    tensors = Tensors(state)
    for first in ('conv1', 'patch_embed.projection'):
        tensors.change(f'img_backbone.{first}.weight', bgr_to_rgb)
    convert_depth_net(tensors, DEPTH_NET)
    for name in tensors.matching(r'.*\.weight'):
        if tensors.value(name).dim() == 5:
            tensors.change(name, zyx_to_xyz)
    for part in ('weight', 'bias'):
        # row 0 is the density, the other one of a loss in 3D
        tensors.change(f'density_mlp.2.{part}', lambda x: x[:1])
    for name in tensors.matching(
        r'((occ_head\.)?predicter|density_mlp|semantic_mlp)\.\d\.weight'
    ):
        tensors.change(name, linear_to_conv3d)
    yield from tensors.renamed(_NAMES)
