"""The InternImage checkpoint: documented names and shapes fit the model."""

import pytest
import torch

from occsplat.engine import CheckpointError
from occsplat.engine.key_maps import KEY_MAPS
from occsplat.engine.public_weights import PublicWeights
from occsplat.models.backbones import InternImage

TINY = dict(
    channels=8,
    depths=(1, 1, 2, 1),
    groups=(2, 2, 4, 4),
    mlp_ratio=4.0,
    spread=1.71,
    layer_scale=1e-5,
    out_indices=(2, 3),
)
XL = dict(TINY, channels=160, depths=(6, 6, 32, 6), groups=(10, 20, 40, 40))


def public_shapes(channels, depths, groups, **_):
    """Names and shapes of the public backbone, all levels returned."""
    shapes = {}

    def add(name, weight, bias=True):
        shapes[f'{name}.weight'] = weight
        if bias:
            shapes[f'{name}.bias'] = weight[:1]

    def add_batch_norm(name, width):
        add(name, (width,))
        shapes[f'{name}.running_mean'] = (width,)
        shapes[f'{name}.running_var'] = (width,)
        shapes[f'{name}.num_batches_tracked'] = ()

    half = channels // 2
    add('patch_embed.proj.0', (half, 3, 3, 3))
    add_batch_norm('patch_embed.proj.1', half)
    add('patch_embed.proj.3', (channels, half, 3, 3))
    add_batch_norm('patch_embed.proj.4', channels)
    for i, (depth, m) in enumerate(zip(depths, groups)):
        c = channels * 2**i
        for j in range(depth):
            block = f'levels.{i}.blocks.{j}'
            for name in ('norm1', 'norm2', 'attn.dw_conv.1.norm'):
                add(f'{block}.{name}', (c,))
            add(f'{block}.attn.dw_conv.0', (c, 1, 3, 3))
            add(f'{block}.attn.sampling_offsets', (18 * m, c))
            add(f'{block}.attn.attention_weights', (9 * m, c))
            add(f'{block}.attn.value_proj', (c, c))
            add(f'{block}.attn.output_proj', (c, c))
            add(f'{block}.mlp.fc1', (4 * c, c))
            add(f'{block}.mlp.fc2', (c, 4 * c))
            shapes[f'{block}.gamma1'] = shapes[f'{block}.gamma2'] = (c,)
        if i < len(depths) - 1:
            down = f'levels.{i}.downsample'
            add(f'{down}.reduction', (2 * c, c, 3, 3), bias=False)
            add(f'{down}.norm', (2 * c,))
            add(f'norm{i + 1}', (2 * c,))
        add(f'final_norm{i}', (c,))
    return shapes


def public_state(device='cpu', prefix='', **sizes):
    torch.manual_seed(0)
    return {
        prefix + name: torch.rand(shape, device=device)
        if shape
        else torch.tensor(7, device=device)
        for name, shape in public_shapes(**sizes).items()
    }


def mapped(state, module):
    return {
        item.name.removeprefix('img_backbone.'): item
        for item in KEY_MAPS['intern_det'](state, module)
    }


def test_every_weight_of_the_full_size_gets_its_own():
    with torch.device('meta'):
        model = InternImage(**XL)
    state = public_state('meta', **XL)
    found = mapped(state, model)
    own = model.state_dict()
    # levels 0 and 1 are not returned
    spare = {
        f'output_norms.{i}.{part}'
        for i in (0, 1)
        for part in ('weight', 'bias')
    }
    assert found.keys() == own.keys() | spare
    for name, tensor in own.items():
        assert found[name].value.shape == tensor.shape, name
    assert len({item.sources for item in found.values()}) == len(state)


@pytest.mark.parametrize('prefix', ['backbone.', 'img_backbone.'])
def test_a_prefix_changes_no_name(prefix):
    model = InternImage(**TINY)
    plain = mapped(public_state(**TINY), model)
    assert mapped(public_state(prefix=prefix, **TINY), model).keys() == (
        plain.keys()
    )


def test_norms_and_branches_are_not_mixed_up():
    """Parts of equal shape, told apart by what they are for."""
    state = public_state(**TINY)
    found = mapped(state, InternImage(**TINY))
    for ours, theirs in {
        'stem.4.running_var': 'patch_embed.proj.4.running_var',
        'downsamples.1.norm.weight': 'levels.1.downsample.norm.weight',
        'downsamples.1.entry_norm.weight': 'norm2.weight',
        'output_norms.2.bias': 'final_norm2.bias',
        'levels.2.1.norm1.bias': 'levels.2.blocks.1.norm1.bias',
        'levels.2.1.norm2.bias': 'levels.2.blocks.1.norm2.bias',
        'levels.2.1.mixer.local_norm.bias': (
            'levels.2.blocks.1.attn.dw_conv.1.norm.bias'
        ),
        'levels.2.1.mixer.value.weight': (
            'levels.2.blocks.1.attn.value_proj.weight'
        ),
        'levels.2.1.mixer.output.weight': (
            'levels.2.blocks.1.attn.output_proj.weight'
        ),
        'levels.2.1.scale1': 'levels.2.blocks.1.gamma1',
        'levels.2.1.scale2': 'levels.2.blocks.1.gamma2',
    }.items():
        assert found[ours].value is state[theirs], ours


def test_a_file_is_loaded_into_the_backbone(tmp_path):
    state = public_state(prefix='backbone.', **TINY)
    state['neck.lateral_convs.0.conv.weight'] = torch.rand(4, 4, 1, 1)
    path = tmp_path / 'intern.pth'
    torch.save(dict(state_dict=state), path)
    cfg = dict(
        type='PublicWeights', checkpoint=str(path), key_map='intern_det'
    )
    model = InternImage(**TINY, init_cfg=cfg)
    model.init_weights()
    assert torch.equal(
        model.levels[3][0].mixer.offsets.weight,
        state['backbone.levels.3.blocks.0.attn.sampling_offsets.weight'],
    )
    loaded = model.state_dict()
    items = mapped(state, model)
    assert all(torch.equal(t, items[name].value) for name, t in loaded.items())


def test_another_size_is_refused(tmp_path):
    path = tmp_path / 'intern.pth'
    torch.save(public_state(**TINY), path)
    with pytest.raises(CheckpointError, match='of another shape'):
        PublicWeights(str(path), 'intern_det')(
            InternImage(**dict(TINY, channels=16))
        )
