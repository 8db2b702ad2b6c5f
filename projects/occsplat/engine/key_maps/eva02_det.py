"""EVA-02-L after detection pretraining on Objects365 and COCO.

Documented: StreamPETR's address for the file, and how it was made from
EVA-02's own detector: ``backbone.net.`` became ``img_backbone.``, the
feature pyramid went to ``img_backbone.adapter.``, nothing else was kept.
EVA-02's public detector names the blocks' parts: separate ``q_proj``,
``k_proj`` and ``v_proj`` weights with biases for q and v alone,
``mlp.w1``, ``w2``, ``ffn_ln``, ``w3``, and position embeddings of 14 x 14
patches behind one for the class token. Not documented: whether the file
stores the rotary tables once or in every block; both are dropped.
"""

from __future__ import annotations

import math
import re
from typing import Iterator

import torch
from torch import Tensor, nn

from .parts import Dropped, Renamed, drop_prefixes, rename_prefixes

ADDRESS = (
    'https://github.com/exiawsh/storage/releases/download/v1.0/'
    'eva02_L_coco_det_sys_o365_remapped.pth'
)
_POSITIONS = 'img_backbone.pos_embed'
_PROJECTION = re.compile(r'(.*\.attn\.)q_proj\.weight')


def eva02_det(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The backbone.

    Query, key and value weights become one matrix, position embeddings a
    map without the class token.
    """
    rest = dict(state)
    positions = rest.pop(_POSITIONS, None)
    if positions is not None:
        side = math.isqrt(positions.shape[1])
        grid = positions[:, -side * side :].unflatten(1, (side, side))
        yield Renamed(_POSITIONS, grid.permute(0, 3, 1, 2), (_POSITIONS,))
    for key in state:
        found = _PROJECTION.fullmatch(key)
        names = found and tuple(
            f'{found[1]}{part}_proj.weight' for part in 'qkv'
        )
        if names and all(name in rest for name in names):
            stacked = torch.cat([rest.pop(name) for name in names])
            yield Renamed(f'{found[1]}qkv.weight', stacked, names)
    yield from drop_prefixes(
        state, ('img_backbone.adapter.',), "the detector's feature pyramid"
    )
    tables = tuple(k for k in rest if k.endswith(('freqs_cos', 'freqs_sin')))
    if tables:
        yield Dropped(tables, 'rotary tables, which follow from the config')
    rest = {k: v for k, v in rest.items() if k not in tables}
    yield from rename_prefixes(
        rest,
        {
            'img_backbone.patch_embed.proj.': 'img_backbone.patch_embed.',
            'img_backbone.': 'img_backbone.',
        },
    )
