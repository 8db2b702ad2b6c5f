"""SurroundOcc, as its authors publish it.

Documented, by the public code: names, shapes, and the order of queries
(z, y, x) and of kernels (x, y, z).

Images were blue, green, red; ours are red, green, blue, and cameras
have another order. Of the four level
embeddings of each volume the network reads the first; its reference points
it computes and does not read.
"""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

from .parts import Dropped, Renamed
from .steps import Tensors, bgr_to_rgb, reorder_cameras

ADDRESS = 'https://github.com/weiyithu/SurroundOcc'

#: voxels (z, y, x) of the volumes, finest first
GRIDS = ((8, 100, 100), (4, 50, 50), (2, 25, 25))
_HEAD = r'pts_bbox_head\.'
_LAYER = rf'{_HEAD}transformer\.(\d)\.encoder\.layers\.(\d)\.'
_NAMES = {
    r'img_backbone\.': 'img_backbone.',
    r'img_neck\.': 'img_neck.',
    rf'{_HEAD}transfer_conv\.(\d)\.': r'lifter.levels.\1.transfer.',
    rf'{_HEAD}volume_embedding\.(\d)\.weight': r'lifter.levels.\1.query',
    rf'{_HEAD}transformer\.(\d)\.level_embeds': (
        r'lifter.levels.\1.embedding.level'
    ),
    rf'{_HEAD}transformer\.(\d)\.cams_embeds': (
        r'lifter.levels.\1.embedding.camera'
    ),
    **{
        _LAYER + old: rf'lifter.levels.\1.layers.\2.{new}'
        for old, new in {
            r'attentions\.0\.deformable_attention\.sampling_offsets\.': (
                'cross_attention.offsets.0.'
            ),
            r'attentions\.0\.deformable_attention\.attention_weights\.': (
                'cross_attention.weights.0.'
            ),
            r'attentions\.0\.deformable_attention\.value_proj\.': (
                'cross_attention.value.'
            ),
            r'attentions\.0\.output_proj\.': 'cross_attention.output.',
            r'ffns\.0\.': 'feedforward.',
            r'norms\.': 'norms.',
            r'deblock\.(\d)\.0\.': r'neighbours.\3.conv.',
            r'deblock\.(\d)\.1\.': r'neighbours.\3.gn.',
        }.items()
    },
    # 0, 2, 4, 6 are convolutions, from coarse to fine, 1, 3, 5 lead between
    **{
        rf'{_HEAD}deblocks\.{2 * i}\.{j}\.': (
            f'volume_encoder.convs.{3 - i}.{part}.'
        )
        for i in range(4)
        for j, part in enumerate(('conv', 'gn'))
    },
    **{
        rf'{_HEAD}deblocks\.{2 * i + 1}\.{j}\.': (
            f'volume_encoder.deconvs.{2 - i}.{part}.'
        )
        for i in range(3)
        for j, part in enumerate(('conv', 'gn'))
    },
    **{
        rf'{_HEAD}occ\.{i}\.': f'occ_head.classifiers.{3 - i}.'
        for i in range(4)
    },
}


def surroundocc(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The whole network."""
    tensors = Tensors(state)
    tensors.change('img_backbone.conv1.weight', bgr_to_rgb)
    for i, grid in enumerate(GRIDS):
        tensors.change(
            f'pts_bbox_head.volume_embedding.{i}.weight',
            lambda query, grid=grid: (
                query.unflatten(0, grid).permute(2, 1, 0, 3).flatten(0, 2)
            ),
        )
        tensors.change(
            f'pts_bbox_head.transformer.{i}.level_embeds', lambda x: x[:1]
        )
        tensors.change(
            f'pts_bbox_head.transformer.{i}.cams_embeds', reorder_cameras
        )
    yield from tensors.renamed(_NAMES)
    unread = tensors.matching(rf'{_HEAD}transformer\.\d\.reference_points\..*')
    if unread:
        yield Dropped(tuple(unread), 'points that the network does not read')
