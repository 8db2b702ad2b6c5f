"""Swin's own checkpoints fit the backbone here, and mean the same."""

import torch
from torch import nn

from occsplat.engine.key_maps import KEY_MAPS
from occsplat.engine.key_maps.parts import Dropped
from occsplat.engine.public_weights import PublicWeights
from occsplat.models.backbones import StereoSwin

CHANNELS, DEPTHS, HEADS, WINDOW = 8, (1, 2, 1, 1), (1, 2, 2, 4), 4


def make_swin():
    return StereoSwin(
        embed_dims=CHANNELS,
        depths=DEPTHS,
        num_heads=HEADS,
        window_size=WINDOW,
    )


def public_state():
    """Names and shapes of the authors' code."""
    torch.manual_seed(0)
    c, table = CHANNELS, (2 * WINDOW - 1) ** 2
    shapes = {'patch_embed.proj.weight': (c, 3, 4, 4)}
    shapes['patch_embed.proj.bias'] = (c,)

    def add(name, *weight, bias=True):
        shapes[f'{name}.weight'] = weight
        if bias:
            shapes[f'{name}.bias'] = weight[:1]

    add('patch_embed.norm', c)
    for i, (depth, heads) in enumerate(zip(DEPTHS, HEADS)):
        c = CHANNELS * 2**i
        for j in range(depth):
            block = f'layers.{i}.blocks.{j}'
            add(f'{block}.norm1', c)
            add(f'{block}.attn.qkv', 3 * c, c)
            add(f'{block}.attn.proj', c, c)
            shapes[f'{block}.attn.relative_position_bias_table'] = table, heads
            shapes[f'{block}.attn.relative_position_index'] = (
                WINDOW**2,
                WINDOW**2,
            )
            add(f'{block}.norm2', c)
            add(f'{block}.mlp.fc1', 4 * c, c)
            add(f'{block}.mlp.fc2', c, 4 * c)
            if j % 2:
                shapes[f'{block}.attn_mask'] = (4, WINDOW**2, WINDOW**2)
        if i < 3:
            add(f'layers.{i}.downsample.norm', 4 * c)
            add(f'layers.{i}.downsample.reduction', 2 * c, 4 * c, bias=False)
    add('norm', c)
    add('head', 11, c)
    return {name: torch.rand(shape) for name, shape in shapes.items()}


def test_every_weight_but_the_output_norms_comes_from_the_file(tmp_path):
    state, swin = public_state(), make_swin()
    before = {k: v.clone() for k, v in swin.state_dict().items()}
    # the patterns of relative positions are integers
    for key in state:
        if key.endswith('relative_position_index'):
            state[key] = state[key].round().long()
    torch.save(dict(model=state), tmp_path / 'swin.pth')
    PublicWeights(str(tmp_path / 'swin.pth'), 'swin_imagenet')(swin)
    own = swin.state_dict()
    same = {name for name in own if torch.equal(own[name], before[name])}
    assert same == {
        f'norm{i}.{kind}' for i in (2, 3) for kind in ('weight', 'bias')
    }
    block = 'blocks.1.attn.relative_position_bias_table'
    assert torch.equal(
        own['stages.1.blocks.1.attn.w_msa.relative_position_bias_table'],
        state[f'layers.1.{block}'],
    )


def test_patches_are_merged_in_their_own_order():
    state = public_state()
    found = {
        item.name: item.value
        for item in KEY_MAPS['swin_imagenet'](state, nn.Identity())
        if not isinstance(item, Dropped)
    }
    merging = make_swin().stages[0].downsample
    prefix = 'img_backbone.stages.0.downsample.'
    merging.load_state_dict(
        {
            key.removeprefix(prefix): value
            for key, value in found.items()
            if key.startswith(prefix)
        }
    )
    x = torch.rand(1, 4, 6, CHANNELS)
    # the authors' order: down the first column, then the second
    merged = torch.cat(
        [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=-1
    ).flatten(1, 2)
    prefix = 'layers.0.downsample.'
    merged = nn.functional.layer_norm(
        merged,
        (4 * CHANNELS,),
        state[f'{prefix}norm.weight'],
        state[f'{prefix}norm.bias'],
    )
    expected = merged @ state[f'{prefix}reduction.weight'].T
    torch.testing.assert_close(merging(x.flatten(1, 2), (4, 6))[0], expected)


def test_nothing_is_left_over():
    state = public_state()
    items = list(KEY_MAPS['swin_imagenet'](state, nn.Identity()))
    used = [
        key
        for item in items
        for key in (item.keys if isinstance(item, Dropped) else item.sources)
    ]
    assert sorted(used) == sorted(state)
