"""Public checkpoints: every tensor arrives, nothing is skipped silently."""

import logging
import pickle

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.model import BaseModule, initialize
from torch import nn

from occsplat.engine import (
    CheckpointError,
    ConfigError,
    PublicWeights,
    check_config,
    load_config,
)
from occsplat.engine.key_maps import ADDRESSES, KEY_MAPS
from occsplat.models.backbones import EVA02, SingleMapFPN

R50 = 'occupancy_configs/fbocc/fbocc-r50_8xb2-48e_openocc.py'
SMALL_EVA = dict(
    dims=8,
    depth=2,
    num_heads=2,
    window=2,
    global_window=4,
    window_blocks=(0,),
)


class Detector(BaseModule):
    """The image side of a detector, and a part behind it."""

    def __init__(self, img_backbone, img_neck=None, init_cfg=None):
        super().__init__(init_cfg)
        self.img_backbone = MODELS.build(img_backbone)
        self.img_neck = img_neck
        self.lifter = nn.Linear(2, 2)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def resnet18():
    return dict(type='mmdet.ResNet', depth=18, base_channels=8)


def r50_like(detector):
    """A checkpoint of BEVDet's names for such a detector, and more."""
    state = {
        f'img_backbone.{key}': torch.randn(value.shape)
        for key, value in detector.img_backbone.state_dict().items()
        if not key.endswith('num_batches_tracked')
    }
    for level, channels in enumerate((32, 64)):
        name = f'img_neck.lateral_convs.{level}.conv'
        state[f'{name}.weight'] = torch.randn(16, channels, 1, 1)
        state[f'{name}.bias'] = torch.randn(16)
    state['img_neck.fpn_convs.0.conv.weight'] = torch.randn(16, 16, 3, 3)
    state['img_neck.fpn_convs.0.conv.bias'] = torch.randn(16)
    return state


def eva_like(dims=8, depth=2):
    """A checkpoint of EVA-02's names, as StreamPETR's script left them."""
    hidden = int(dims * 4 * 2 / 3)
    shapes = {
        'pos_embed': (1, 197, dims),
        'patch_embed.proj.weight': (dims, 3, 16, 16),
        'patch_embed.proj.bias': (dims,),
        'rope_win.freqs_cos': (4, 4),
        'rope_win.freqs_sin': (4, 4),
        'adapter.simfp_4.0.weight': (2, dims, 1, 1),
    }
    for i in range(depth):
        block = {
            'attn.q_proj.weight': (dims, dims),
            'attn.k_proj.weight': (dims, dims),
            'attn.v_proj.weight': (dims, dims),
            'attn.q_bias': (dims,),
            'attn.v_bias': (dims,),
            'attn.proj.weight': (dims, dims),
            'attn.proj.bias': (dims,),
            'attn.rope.freqs_cos': (4, 4),
            'attn.rope.freqs_sin': (4, 4),
            'mlp.w1.weight': (hidden, dims),
            'mlp.w1.bias': (hidden,),
            'mlp.w2.weight': (hidden, dims),
            'mlp.w2.bias': (hidden,),
            'mlp.ffn_ln.weight': (hidden,),
            'mlp.ffn_ln.bias': (hidden,),
            'mlp.w3.weight': (dims, hidden),
            'mlp.w3.bias': (dims,),
        }
        for norm in ('norm1', 'norm2'):
            block |= {f'{norm}.weight': (dims,), f'{norm}.bias': (dims,)}
        shapes |= {f'blocks.{i}.{name}': s for name, s in block.items()}
    return {f'img_backbone.{k}': torch.randn(s) for k, s in shapes.items()}


def init(module, path, key_map='r50_depth'):
    cfg = dict(type='PublicWeights', checkpoint=str(path), key_map=key_map)
    initialize(module, cfg)


def saved(state, path):
    torch.save(state, path)
    return path


@pytest.fixture
def detector():
    return Detector(resnet18(), SingleMapFPN([32, 64], 16))


@pytest.fixture
def log(caplog, monkeypatch):
    """What was told, one string."""

    def listen(message, logger=None, level=logging.INFO):
        logging.getLogger('told').log(level, message)

    monkeypatch.setattr('occsplat.engine.public_weights.print_log', listen)
    caplog.set_level(logging.INFO, 'told')
    return lambda: '\n'.join(caplog.messages)


@pytest.mark.parametrize('wrap', ['state_dict', 'model', None])
def test_backbone_and_neck_of_the_r50(detector, tmp_path, wrap):
    state = r50_like(detector)
    file = dict(epoch=3, **{wrap: state}) if wrap else state
    init(detector, saved(file, tmp_path / 'a.pth'))
    own = detector.state_dict()
    for key, value in state.items():
        name = key.replace('lateral_convs', 'lateral')
        name = name.replace('fpn_convs.0', 'output')
        if key == 'img_backbone.conv1.weight':
            value = value[:, [2, 1, 0]]  # from BGR to RGB
        assert torch.equal(own[name], value), key


def test_prefixes_of_distributed_training(detector, tmp_path):
    state = r50_like(detector)
    wrapped = {f'module.{key}': value for key, value in state.items()}
    init(detector, saved(wrapped, tmp_path / 'a.pth'))
    key = 'img_backbone.layer1.0.conv1.weight'
    assert torch.equal(detector.state_dict()[key], state[key])


def test_eva_weights_are_renamed_joined_and_reshaped(tmp_path):
    state = eva_like()
    model = Detector(dict(type='EVA02', **SMALL_EVA))
    init(model, saved(state, tmp_path / 'a.pth'), 'eva02_det')
    own = model.img_backbone
    state = {k.removeprefix('img_backbone.'): v for k, v in state.items()}
    qkv = own.blocks[1].attn.qkv.weight
    for i, part in enumerate('qkv'):
        expected = state[f'blocks.1.attn.{part}_proj.weight']
        assert torch.equal(qkv[8 * i : 8 * i + 8], expected)
    # row 2, column 3; the first one is the class token's
    position = state['pos_embed'][0, 1 + 2 * 14 + 3]
    assert torch.equal(own.pos_embed[0, :, 2, 3], position)
    for name in ('norm2.weight', 'mlp.ffn_ln.bias', 'attn.q_bias'):
        key = f'blocks.0.{name}'
        assert torch.equal(own.state_dict()[key], state[key])
    assert torch.equal(own.patch_embed.bias, state['patch_embed.proj.bias'])


def test_every_weight_of_eva_comes_from_the_file(tmp_path, log):
    model = EVA02(**SMALL_EVA)  # a bare backbone
    init(model, saved(eva_like(), tmp_path / 'a.pth'), 'eva02_det')
    count = len(model.state_dict())
    assert f'{count} of {count} tensors loaded' in log()
    assert 'not used of it: nothing else' in log()
    assert 'initialised as usual: nothing' in log()
    assert 'feature pyramid (1 keys)' in log()
    assert 'rotary tables, which follow from the config (6 keys)' in log()


def test_leftovers_on_either_side_are_listed(detector, tmp_path, log):
    state = r50_like(detector)
    state['stranger.weight'] = torch.zeros(1)
    state['img_view_transformer.depth_net.0.weight'] = torch.zeros(1)
    state['img_view_transformer.frustum'] = torch.zeros(1)
    state['img_neck.fpn_convs.1.conv.bias'] = torch.zeros(16)
    del state['img_backbone.layer1.0.bn1.running_mean']
    del state['img_neck.lateral_convs.1.conv.weight']
    del state['img_neck.lateral_convs.1.conv.bias']
    init(detector, saved(state, tmp_path / 'a.pth'))
    told = log().splitlines()
    assert told[1].endswith('depth net of another form than ours (1 keys)')
    assert told[2].endswith('view transformer and heads (1 keys)')
    assert told[3].split(': ')[1].split(', ') == [
        'img_neck.fpn_convs.1.conv.bias',
        'stranger.weight',
    ]
    assert told[4].split(': ')[1].split(', ') == [
        'img_backbone.layer1.0.bn1.running_mean',
        'img_neck.lateral.1.* (2)',
        'lifter.* (2)',
    ]


def test_only_one_process_tells(detector, tmp_path, log, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    init(detector, saved(r50_like(detector), tmp_path / 'a.pth'))
    assert log() == ''


def test_another_shape_is_refused_and_nothing_loaded(detector, tmp_path):
    state = r50_like(detector)
    state['img_backbone.conv1.weight'] = torch.zeros(9, 3, 7, 7)
    shapes = r'conv1.weight \(9, 3, 7, 7\) instead of \(8, 3, 7, 7\)'
    with pytest.raises(CheckpointError, match=f'are 1 of .*{shapes}'):
        init(detector, saved(state, tmp_path / 'a.pth'))
    key = 'img_backbone.layer1.0.conv1.weight'
    assert not torch.equal(detector.state_dict()[key], state[key])


def test_a_file_of_something_else_is_refused(detector, tmp_path):
    path = saved({'head.weight': torch.zeros(1)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='none of its 1 tensors') as e:
        init(detector, path)
    assert ADDRESSES['r50_depth'] in str(e.value)


def test_a_file_that_could_run_code_is_refused(detector, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(CheckpointError, match='not safe|not a file'):
        init(detector, path)


@pytest.mark.parametrize('key_map', sorted(KEY_MAPS))
def test_a_missing_file_says_where_it_is_published(tmp_path, key_map):
    with pytest.raises(CheckpointError) as error:
        init(nn.Linear(1, 1), tmp_path / 'absent.pth', key_map)
    assert ADDRESSES[key_map] in str(error.value)
    advice = '--cfg-options model.img_backbone.init_cfg=None'
    assert advice in str(error.value)


def test_the_advice_is_for_where_the_config_asked(detector, tmp_path):
    with pytest.raises(CheckpointError, match=r'model\.init_cfg=None'):
        init(detector, tmp_path / 'absent.pth')


def test_an_unknown_key_map_is_named(tmp_path):
    with pytest.raises(ConfigError, match="eva02_det.* got 'r101'"):
        PublicWeights('a.pth', 'r101')


def test_the_usual_initialisation_does_not_come_after(tmp_path):
    cfg = dict(type='PublicWeights', checkpoint=str(tmp_path / 'a.pth'))
    model = Detector(resnet18(), None, dict(cfg, key_map='r50_depth'))
    state = r50_like(model)
    torch.save(state, tmp_path / 'a.pth')
    model.init_weights()
    for key, value in model.img_backbone.state_dict().items():
        # the first layer is turned from BGR to RGB
        if not key.endswith(('num_batches_tracked', 'conv1.weight')):
            assert torch.equal(value, state[f'img_backbone.{key}']), key
    key = 'img_backbone.conv1.weight'
    assert torch.equal(model.state_dict()[key], state[key].flip(1))


def test_what_the_file_lacks_is_initialised_as_usual(tmp_path):
    model = Detector(resnet18(), SingleMapFPN([32, 64], 16))
    norm = model.img_backbone.layer1[0].bn2
    nn.init.constant_(norm.weight, 7)
    state = r50_like(model)
    # mmdet starts the last norm of a residual block at zero
    del state['img_backbone.layer1.0.bn2.weight']
    init(model, saved(state, tmp_path / 'a.pth'))
    assert norm.weight.abs().max() == 0
    assert torch.equal(norm.bias, state['img_backbone.layer1.0.bn2.bias'])


def test_configs_ask_for_it_and_can_do_without(pytestconfig, tmp_path):
    path = pytestconfig.rootpath / R50
    cfg = load_config(path)
    assert cfg.model.init_cfg.type == 'PublicWeights'
    wrong = Config.fromfile(path)
    wrong.model.init_cfg.type = 'PublicWeight'
    with pytest.raises(ConfigError, match="did you mean 'PublicWeights'"):
        check_config(wrong)
    # as the command line reads it
    value = DictAction._parse_iterable('None')
    cfg = load_config(path, {'model.init_cfg': value})
    assert cfg.model.init_cfg is None
