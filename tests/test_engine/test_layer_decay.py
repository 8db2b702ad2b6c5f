"""Learning rates fall towards the image, weight decay spares vectors."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from occsplat.engine import ConfigError, check_config, load_config

OPTIONS = dict(num_layers=3, decay_rate=0.5, head_scale=2.0)
CONFIG = 'occupancy_configs/fbocc/fbocc-eva02-l_8xb2-24e_openocc.py'


class Backbone(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 4, 2)
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 2, 2))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth))
        self.norm = nn.LayerNorm(4)


class Detector(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.img_backbone = Backbone(depth)
        self.occ_head = nn.Linear(4, 2)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)


def build(model, **changes):
    cfg = dict(
        type='OptimWrapper',
        constructor='mmdet3d.LayerDecayOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=0.8, weight_decay=0.1),
        paramwise_cfg=OPTIONS,
    )
    return build_optim_wrapper(model, {**cfg, **changes}).optimizer


def settings(model, optimizer):
    """(learning rate, weight decay) by parameter name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }


def test_rates_by_hand():
    model = Detector()
    found = settings(model, build(model))
    # 0.8 * 0.5 ** (4 - id)
    assert found == {
        'img_backbone.pos_embed': (0.05, 0.1),  # id 0
        'img_backbone.patch_embed.weight': (0.05, 0.1),
        'img_backbone.patch_embed.bias': (0.05, 0.0),
        'img_backbone.blocks.0.weight': (0.1, 0.1),
        'img_backbone.blocks.0.bias': (0.1, 0.0),
        'img_backbone.blocks.1.weight': (0.2, 0.1),
        'img_backbone.blocks.1.bias': (0.2, 0.0),
        'img_backbone.blocks.2.weight': (0.4, 0.1),
        'img_backbone.blocks.2.bias': (0.4, 0.0),
        'img_backbone.norm.weight': (0.8, 0.0),  # id 4
        'img_backbone.norm.bias': (0.8, 0.0),
        'occ_head.weight': (1.6, 0.1),
        'occ_head.bias': (1.6, 0.0),
    }


def test_a_group_for_each_rate_and_decay():
    groups = build(Detector()).param_groups
    pairs = [(group['lr'], group['weight_decay']) for group in groups]
    assert len(pairs) == len(set(pairs)) == 11


def test_the_optimizer_keeps_its_own_options():
    optimizer = build(
        Detector(),
        optimizer=dict(type='AdamW', lr=0.8, betas=(0.8, 0.9)),
    )
    assert all(
        group['betas'] == (0.8, 0.9) for group in optimizer.param_groups
    )
    assert {group['weight_decay'] for group in optimizer.param_groups} == {0}


@pytest.mark.parametrize(
    'options',
    [
        None,
        dict(num_layers=3),
        dict(OPTIONS, custom_keys=dict()),
    ],
)
def test_wrong_options_are_named(options):
    with pytest.raises(ConfigError, match='paramwise_cfg .* expected'):
        build(Detector(), paramwise_cfg=options)


def test_a_deeper_backbone_is_refused():
    with pytest.raises(ConfigError, match='num_layers is 3, .*blocks.3'):
        build(Detector(depth=4))


def test_the_full_size_config_passes_its_check(pytestconfig):
    cfg = load_config(pytestconfig.rootpath / CONFIG)
    check_config(cfg)
    model = Detector(depth=24)
    found = settings(
        model, build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    )
    lr, decay = found['img_backbone.blocks.23.weight']
    assert (lr, decay) == (pytest.approx(9e-5), 1e-4)
    lr, decay = found['img_backbone.pos_embed']
    assert lr == pytest.approx(1e-4 * 0.9**25)
    assert found['occ_head.bias'] == (2e-4, 0)
