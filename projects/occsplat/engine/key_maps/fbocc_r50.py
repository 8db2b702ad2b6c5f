"""FB-Occ with ResNet-50, as published for Occ3D (39.1 mIoU).

Its volumes are (Y, X, Z), ours (X, Y, Z); its head has a 19th class, row 0,
that is never predicted. Everything else that its state dict holds has a
counterpart here: 554 of our 554 tensors come from it.

Names and shapes were derived from the published code; see docs/model_zoo.md
for what was compared.
"""

from __future__ import annotations

from typing import Iterator

import torch
from torch import Tensor, nn

from .parts import Dropped, Renamed, drop_prefixes
from .released_depth_net import convert_depth_net, depth_net_names
from .steps import (
    Tensors,
    bgr_to_rgb,
    swap_points_and_anchors,
    swap_uv,
    yxz_to_xyz,
)

ADDRESS = 'the model table of https://github.com/NVlabs/FB-BEV (FB-OCC, R50)'
#: pillars of the bird's-eye queries along x and y
PILLARS = (100, 100)
#: cross-attention: heads, points per anchor, anchors
HEADS, POINTS, ANCHORS = 8, 2, 4

_BACKWARD = 'backward_projection.'
_LAYER = f'{_BACKWARD}transformer.encoder.layers.0.'
_CROSS = f'{_LAYER}attentions.1.deformable_attention.'
_BACKBONE = 'img_bev_encoder_backbone.'

_OURS = 'lifter.backward_projection.'
_NAMES = {
    r'img_backbone\.': 'img_backbone.',
    r'img_neck\.lateral_convs\.': 'img_neck.lateral.',
    r'img_neck\.fpn_convs\.0\.': 'img_neck.output.',
    **depth_net_names(r'depth_net\.', 'lifter.depth_net.'),
    r'backward_projection\.bev_embedding\.weight': f'{_OURS}query',
    r'backward_projection\.positional_encoding\.col_embed\.weight': (
        f'{_OURS}position_x'
    ),
    r'backward_projection\.positional_encoding\.row_embed\.weight': (
        f'{_OURS}position_y'
    ),
    **{
        rf'backward_projection\.transformer\.encoder\.layers\.0\.{old}': (
            _OURS + new
        )
        for old, new in {
            r'attentions\.0\.sampling_offsets\.': 'self_attention.offsets.',
            r'attentions\.0\.attention_weights\.': 'self_attention.weights.',
            r'attentions\.0\.value_proj\.': 'self_attention.value.',
            r'attentions\.0\.output_proj\.': 'self_attention.output.',
            r'attentions\.1\.deformable_attention\.sampling_offsets\.': (
                'cross_attention.offsets.'
            ),
            r'attentions\.1\.deformable_attention\.attention_weights\.': (
                'cross_attention.weights.'
            ),
            r'attentions\.1\.deformable_attention\.value_proj\.': (
                'cross_attention.value.'
            ),
            r'attentions\.1\.output_proj\.': 'cross_attention.output.',
            r'ffns\.0\.layers\.': 'feedforward.layers.',
            r'norms\.': 'norms.',
        }.items()
    },
    r'history_keyframe_time_conv\.0\.': 'history.time_conv.conv.',
    r'history_keyframe_time_conv\.1\.': 'history.time_conv.bn.',
    r'history_keyframe_cat_conv\.0\.': 'history.fuse_conv.conv.',
    r'history_keyframe_cat_conv\.1\.': 'history.fuse_conv.bn.',
    **{
        rf'img_bev_encoder_backbone\.{old}': f'volume_encoder.backbone.{new}'
        for old, new in {
            r'input_proj\.0\.': 'stem.conv.',
            r'input_proj\.1\.': 'stem.bn.',
            r'layers\.(\d)\.(\d)\.conv(\d)\.': r'stages.\1.\2.conv\3.conv.',
            r'layers\.(\d)\.(\d)\.bn(\d)\.': r'stages.\1.\2.conv\3.bn.',
            r'layers\.(\d)\.0\.downsample\.0\.': (
                r'stages.\1.0.shortcut.conv.'
            ),
            r'layers\.(\d)\.0\.downsample\.1\.': r'stages.\1.0.shortcut.bn.',
        }.items()
    },
    r'img_bev_encoder_neck\.lateral_convs\.(\d)\.0\.': (
        r'volume_encoder.neck.laterals.\1.'
    ),
    r'img_bev_encoder_neck\.fpn_convs\.(\d)\.0\.': (
        r'volume_encoder.neck.outputs.\1.'
    ),
    **{
        rf'occupancy_head\.{old}': f'occ_head.{new}'
        for old, new in {
            r'occ_convs\.(\d)\.0\.': r'level_convs.\1.conv.',
            r'occ_convs\.(\d)\.1\.': r'level_convs.\1.bn.',
            r'deblock\.0\.': 'upsample.conv.',
            r'deblock\.1\.': 'upsample.bn.',
            r'voxel_soft_weights\.0\.': 'mixer.0.conv.',
            r'voxel_soft_weights\.1\.': 'mixer.0.bn.',
            r'voxel_soft_weights\.3\.': 'mixer.1.',
            r'occ_pred_conv\.0\.': 'occ_branch.0.conv.',
            r'occ_pred_conv\.1\.': 'occ_branch.0.bn.',
            r'occ_pred_conv\.3\.': 'occ_branch.1.',
        }.items()
    },
}


def fbocc_r50(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The whole network."""
    yield from drop_prefixes(
        state,
        ('forward_projection.', f'{_BACKWARD}transformer.cams_embeds'),
        'constants, and an embedding that is multiplied by 0',
    )
    tensors = Tensors(state)
    tensors.change('img_backbone.conv1.weight', bgr_to_rgb)
    convert_depth_net(tensors, 'depth_net.')
    _convert_backward_projection(tensors)
    for part in ('time', 'cat'):
        conv = f'history_keyframe_{part}_conv'
        tensors.fold_bias(f'{conv}.0', f'{conv}.1')
    _convert_volumes(tensors)
    yield from tensors.renamed(_NAMES)
    # ours have a bias in front of the softmax, theirs none
    for theirs, ours in (
        ('occupancy_head.voxel_soft_weights.3.weight', 'mixer.1.bias'),
        ('occupancy_head.occ_pred_conv.3.weight', 'occ_branch.1.bias'),
    ):
        if theirs in tensors:
            zeros = torch.zeros(len(tensors.value(theirs)))
            yield Renamed(f'occ_head.{ours}', zeros, (theirs,))


def _convert_backward_projection(tensors: Tensors) -> None:
    """Queries by (y, x) and offsets along (x, y) of a map (Y, X)."""
    x, y = PILLARS
    tensors.change(
        f'{_BACKWARD}bev_embedding.weight',
        lambda query: query.view(y, x, -1).permute(2, 1, 0),
    )
    position = f'{_BACKWARD}positional_encoding.'
    tensors.change(f'{position}col_embed.weight', lambda p: p.T[:, :, None])
    tensors.change(f'{position}row_embed.weight', lambda p: p.T[:, None])
    for part in ('weight', 'bias'):
        tensors.change(
            f'{_LAYER}attentions.0.sampling_offsets.{part}', swap_uv
        )
        for rows in ('sampling_offsets', 'attention_weights'):
            tensors.change(
                f'{_CROSS}{rows}.{part}',
                lambda x: swap_points_and_anchors(x, HEADS, POINTS, ANCHORS),
            )


def _convert_volumes(tensors: Tensors) -> None:
    """3D kernels, biases in front of norms, and the class that is none."""
    for conv in tensors.matching(
        rf'{_BACKBONE}layers\.\d\.\d\.(conv\d|downsample\.0)\.weight'
    ):
        conv = conv.removesuffix('.weight')
        norm = conv.replace('.conv', '.bn').replace(
            'downsample.0', 'downsample.1'
        )
        tensors.fold_bias(conv, norm)
    for name in tensors.matching(
        r'(img_bev_encoder|occupancy_head|history_).*\.weight'
    ):
        if tensors.value(name).dim() == 5:
            tensors.change(name, yxz_to_xyz)
    tensors.change('occupancy_head.occ_pred_conv.3.weight', lambda x: x[1:])
