"""TPVFormer, as its authors and as GaussRender's publish it.

Documented, by the public code of both: names, shapes and what a row of each
weight stands for; that GaussRender's file has ``head.`` and ``aggregator.``
where TPVFormer's has ``tpv_head.`` and ``tpv_aggregator.``. TPVFormer's own
network has planes of 100 m and other labels: it fits as a start, not as a
detector.

Images were blue, green, red; ours are red, green, blue, and cameras
have another order. Planes have our
order: (y, x), (z, y) and (x, z). Buffers that follow from the grid are left
out, and so are GaussRender's render head and all of its outputs but the
opacity, where the model has no learned opacity.
"""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

from .parts import Dropped, Renamed, take_fitting
from .steps import (
    Tensors,
    bgr_to_rgb,
    linear_to_conv3d,
    reorder_cameras,
)

ADDRESS = 'https://github.com/valeoai/GaussRender'

#: of the render head's outputs, the opacity's; 1 is taken off it
OPACITY_ROW = 21
_HEAD = r'(?:tpv_)?head\.'
_LAYER = rf'{_HEAD}encoder\.layers\.(\d)\.'
_AGGREGATOR = r'(?:tpv_)?aggregator\.'
_MLP = 'aggregator.renderer_prep.decoder.mlp_coarse.'
_NAMES = {
    r'img_backbone\.': 'img_backbone.',
    r'img_neck\.': 'img_neck.',
    rf'{_HEAD}tpv_embedding_hw\.weight': 'lifter.queries.0',
    rf'{_HEAD}tpv_embedding_zh\.weight': 'lifter.queries.1',
    rf'{_HEAD}tpv_embedding_wz\.weight': 'lifter.queries.2',
    rf'{_HEAD}positional_encoding\.col_embed\.weight': 'lifter.position_x',
    rf'{_HEAD}positional_encoding\.row_embed\.weight': 'lifter.position_y',
    rf'{_HEAD}level_embeds': 'lifter.embedding.level',
    rf'{_HEAD}cams_embeds': 'lifter.embedding.camera',
    **{
        _LAYER + old: rf'lifter.layers.\1.{new}'
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
            r'ffns\.0\.': 'feedforward.',
            r'norms\.': 'norms.',
        }.items()
    },
    rf'{_AGGREGATOR}decoder\.': 'occ_head.mlp.',
    rf'{_AGGREGATOR}classifier\.': 'occ_head.classifiers.0.',
}


def tpvformer(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The whole network."""
    tensors = Tensors(state)
    tensors.change('img_backbone.conv1.weight', bgr_to_rgb)
    for name in tensors.matching(rf'{_AGGREGATOR}(decoder|classifier).*'):
        if name.endswith('weight') and 'renderer' not in name:
            tensors.change(name, linear_to_conv3d)
    position = rf'{_HEAD}positional_encoding\.'
    for name in tensors.matching(rf'{position}col_embed\.weight'):
        tensors.change(name, lambda p: p[None])
    for name in tensors.matching(rf'{position}row_embed\.weight'):
        tensors.change(name, lambda p: p[:, None])
    for name in tensors.matching(rf'{_HEAD}cams_embeds'):
        tensors.change(name, reorder_cameras)
    yield from tensors.renamed(_NAMES)
    constants = tensors.matching(
        rf'{_HEAD}(tpv_mask_hw|encoder\.ref_.*)|(aggregator\.)?renderer\..*'
    )
    if constants:
        yield Dropped(tuple(constants), 'constants of the grid')
    yield from _opacity(state, module)


def _opacity(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """GaussRender's perceptron, where the model learns opacities, too."""
    found = []
    for i in (0, 2, 4):
        for part in ('weight', 'bias'):
            key = f'{_MLP}{i}.{part}'
            if key not in state:
                continue
            value = state[key]
            if i == 4:
                value = value[OPACITY_ROW, None]
                if part == 'bias':
                    value = value - 1
            name = f'render_heads.0.opacity_mlp.{i}.{part}'
            found.append(Renamed(name, value, (key,)))
    yield from take_fitting(found, module, 'the render head')
