"""InternImage, XL-sized, after detection pretraining on nuScenes.

Documented: the file's address, in VoxelSplat's preparation notes; by the
public backbone that VoxelSplat and PanoOcc load it into (non-strictly):
the names and shapes of the backbone's weights, and that a ``backbone.``
before them is taken off. Inferred: that ``img_backbone.`` or no prefix at
all are the alternatives, and that the detector's neck and heads have
names of their own. They are listed as unused, and so are output norms of
levels that the config does not return.
"""

from __future__ import annotations

import re
from typing import Iterator

from torch import Tensor, nn

from .parts import Dropped, Renamed

ADDRESS = 'https://drive.google.com/uc?id=1YQxwgIGHRKvBSI8RvNmJ61d_fUZR3pcb'

_PREFIX = re.compile(r'(img_)?backbone\.')
_BLOCK = re.compile(r'levels\.(\d+)\.blocks\.(\d+)\.')
#: what a key outside the blocks begins with
_OUTSIDE = [
    (re.compile(old), new)
    for old, new in (
        (r'patch_embed\.proj\.(\d+)\.', r'stem.\1.'),
        (r'levels\.(\d+)\.downsample\.reduction\.', r'downsamples.\1.conv.'),
        (r'levels\.(\d+)\.downsample\.norm\.', r'downsamples.\1.norm.'),
        (r'final_norm(\d+)\.', r'output_norms.\1.'),
    )
]
#: norm1, norm2, ...: each follows a downsampling, counted from 0
_ENTRY_NORM = re.compile(r'norm([1-9])\.')
#: what a key of a block goes on with
_INSIDE = {
    'norm1.': 'norm1.',
    'attn.dw_conv.0.': 'mixer.local.',
    'attn.dw_conv.1.norm.': 'mixer.local_norm.',
    'attn.sampling_offsets.': 'mixer.offsets.',
    'attn.attention_weights.': 'mixer.weights.',
    'attn.value_proj.': 'mixer.value.',
    'attn.output_proj.': 'mixer.output.',
    'gamma1': 'scale1',
    'norm2.': 'norm2.',
    'mlp.fc1.': 'feedforward.0.',
    'mlp.fc2.': 'feedforward.2.',
    'gamma2': 'scale2',
}


def intern_det(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """The backbone, one tensor for one."""
    for key, value in state.items():
        prefix = _PREFIX.match(key)
        name = _renamed(key[prefix.end() :] if prefix else key)
        if name is not None:
            yield Renamed(f'img_backbone.{name}', value, (key,))


def _renamed(key: str) -> str | None:
    """Our name for a key without prefix, None for another part's."""
    block = _BLOCK.match(key)
    if block:
        rest = key[block.end() :]
        for old, new in _INSIDE.items():
            if rest.startswith(old):
                rest = new + rest.removeprefix(old)
                return f'levels.{block[1]}.{block[2]}.{rest}'
        return None
    entry = _ENTRY_NORM.match(key)
    if entry:
        rest = key[entry.end() :]
        return f'downsamples.{int(entry[1]) - 1}.entry_norm.{rest}'
    for old, new in _OUTSIDE:
        if old.match(key):
            return old.sub(new, key, count=1)
    return None
