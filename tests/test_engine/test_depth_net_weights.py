"""Published depth nets to go on training from."""

from pathlib import Path

import pytest
import released_rule as rule
import torch
from mmdet3d.registry import MODELS
from torch import nn

from occsplat.engine import PublicWeights, load_config
from occsplat.engine.key_maps.released_depth_net import (
    KILO,
    NUMBERS,
    convert_depth_net,
)
from occsplat.engine.key_maps.steps import Tensors

CONFIGS = Path(__file__).parents[2] / 'occupancy_configs'


def built(config):
    cfg = load_config(CONFIGS / config)
    cfg.model.init_cfg = None
    return MODELS.build(cfg.model)


def started(model, state, path, key_map):
    """The model, initialised from a file with such tensors."""
    torch.save(dict(state_dict=state), path)
    PublicWeights(str(path), key_map)(model)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope='module')
def cameras():
    """27 numbers of many cameras, as the published networks take them."""
    torch.manual_seed(0)
    mean = torch.tensor(rule.CAMERA['running_mean'])
    std = torch.tensor(rule.CAMERA['running_var']).sqrt()
    std[[6, 9]] = 30.0  # shifts of augmented images, pixels
    numbers = mean + std * torch.randn(64, 27)
    numbers[:, 10:15] = torch.tensor([1.0, 0, 0, 1, 1])
    return numbers


@pytest.mark.parametrize('training', [False, True])
def test_camera_numbers_keep_their_norm(cameras, training):
    """A norm with the statistics of its batch gives what theirs gives."""
    torch.manual_seed(1)
    norm, layer = nn.BatchNorm1d(27), nn.Linear(27, 8)
    norm.weight.data = torch.rand(27) + 0.5
    norm.bias.data = torch.randn(27)
    norm.running_mean = torch.tensor(rule.CAMERA['running_mean'])
    norm.running_var = torch.tensor(rule.CAMERA['running_var'])
    state = {f'd.bn.{k}': v for k, v in norm.state_dict().items()}
    for gate in ('context', 'depth'):
        state |= {
            f'd.{gate}_mlp.fc1.{k}': v for k, v in layer.state_dict().items()
        }
    tensors = Tensors(state)
    convert_depth_net(tensors, 'd.', to_train=True)
    ours, ours_layer = nn.BatchNorm1d(22), nn.Linear(22, 8)
    for part in ('weight', 'bias', 'running_mean', 'running_var'):
        ours.state_dict()[part].copy_(tensors.value(f'd.bn.{part}'))
    for part in ('weight', 'bias'):
        ours_layer.state_dict()[part].copy_(
            tensors.value(f'd.context_mlp.fc1.{part}')
        )
    numbers = cameras[:, NUMBERS].clone()
    numbers[:, KILO] /= 1e3
    normed = norm.eval()(cameras)
    if training:
        # the augmentation of the volume stays what it is in a test
        batch = norm.train()(cameras)
        normed = torch.cat(
            [batch[:, :10], normed[:, 10:15], batch[:, 15:]], dim=1
        )
    expected = layer(normed)
    found = ours_layer(ours.train(training)(numbers))
    # EPS is added to thousands of pixels: 10 to their squares
    tolerance = 1e-2 if training else 1e-6
    assert float((found - expected).norm() / expected.norm()) < tolerance


def test_fbocc_starts_with_the_depth_net(tmp_path):
    model = built('fbocc/fbocc-r50_8xb2-48e_openocc.py')
    state = {
        name: value
        for name, value in rule.checkpoint('fbocc_r50').items()
        if name.startswith(('img_backbone.', 'img_neck.', 'depth_net.'))
    }
    model = started(model, state, tmp_path / 'r50.pth', 'r50_depth')
    golden = rule.golden('fbocc_r50')
    cam2ref = torch.eye(4).repeat(1, 6, 1, 1)
    cam2ref[..., :3, :3] = golden['camera_rots']
    cam2ref[..., :3, 3] = golden['camera_trans']
    rig = rule.rig_of(cam2ref.double().inverse(), golden, 704, 256)
    features = rule.array('golden.fbocc.features', 1, 6, 256, 16, 44)
    context, logits = model.lifter.depth_net(features, rig)
    cells = ..., slice(None, None, 4), slice(None, None, 4)
    found = context[:, :, ::8][cells], logits.softmax(dim=2)[:, :, ::8][cells]
    rule.assert_near(found[0], golden['depth_context'])
    rule.assert_near(found[1], golden['depth_depth'])


def test_half_a_depth_net_is_left_out(tmp_path):
    model = built('fbocc/fbocc-r50_8xb2-48e_openocc.py')
    before = {
        k: v.clone() for k, v in model.lifter.depth_net.state_dict().items()
    }
    state = {
        name: value
        for name, value in rule.checkpoint('fbocc_r50').items()
        if name.startswith(('img_backbone.', 'depth_net.'))
    }
    # as many bins as another network has
    state['depth_net.depth_conv.4.weight'] = torch.randn(59, 512, 1, 1)
    state['depth_net.depth_conv.4.bias'] = torch.randn(59)
    torch.save(state, tmp_path / 'r50.pth')
    model.lifter.is_init = True  # nothing is drawn anew
    PublicWeights(str(tmp_path / 'r50.pth'), 'r50_depth')(model)
    after = model.lifter.depth_net.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_a_stereo_detector_lends_what_fits(tmp_path):
    """The detector has 118 bins and 80 channels of context."""
    model = built(
        'bevstereo/bevstereo-r50_8xb4-24e_occ3d-camera-mask_released.py'
    )
    other = {88: 118, 32: 80}
    state = {}
    for name, value in rule.checkpoint('bevdet_occ_r50').items():
        if name.startswith(('img_backbone.', 'img_neck.')):
            state[name] = value
        elif 'depth_net.' in name:
            last = name.split('depth_net.')[1]
            shape = list(value.shape)
            if last.startswith('depth_conv.0.') and len(shape) == 4:
                shape[1] += (shape[1] == 256 + 88) * 30
            elif last.startswith(('cost_volumn_net.', 'depth_conv.4.')):
                shape = [other.get(n, n) for n in shape]
            elif last.startswith('context_conv.'):
                shape[0] = 80
            state[name] = rule.weight(name, tuple(shape))
    state['pts_bbox_head.shared_conv.conv.weight'] = torch.randn(4, 4, 3, 3)
    model = started(model, state, tmp_path / 'det.pth', 'bevdet_det')
    own = model.state_dict()
    first = state['img_backbone.conv1.weight']
    assert torch.equal(own['img_backbone.conv1.weight'], first.flip(1))
    net = 'img_view_transformer.depth_net.'
    ours = 'lifter.depth_net.'
    taken = {
        'depth_conv.1.conv1.weight': 'depth.1.conv1.weight',
        'depth_conv.3.aspp2.atrous_conv.weight': (
            'depth.3.branches.1.conv.weight'
        ),
        'context_mlp.fc2.weight': 'context_gate.embed.2.weight',
    }
    for theirs, name in taken.items():
        assert torch.equal(own[ours + name], state[net + theirs])
    # what depends on the bins stays as it was drawn
    assert own[f'{ours}depth.4.weight'].shape[0] == 88
    assert own[f'{ours}context.weight'].shape[0] == 32


@pytest.mark.parametrize('count', [22, 27])
def test_a_norm_of_other_cameras_is_left_as_it_is(count):
    """Whose shapes then say that it is another network's."""
    norm = nn.BatchNorm1d(count)
    state = {f'd.bn.{k}': v for k, v in norm.state_dict().items()}
    if count == 22:
        layer = nn.Linear(22, 8).state_dict()
        for gate in ('context', 'depth'):
            state |= {f'd.{gate}_mlp.fc1.{k}': v for k, v in layer.items()}
    tensors = Tensors(state)
    convert_depth_net(tensors, 'd.', to_train=True)
    assert all(tensors.value(k) is v for k, v in state.items())
