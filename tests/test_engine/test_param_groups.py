"""One group per setting, and the same updates."""

import copy

import torch
from mmengine.optim import build_optim_wrapper
from test_layer_decay import Detector, settings

from occsplat.engine import load_config

CONFIG = 'occupancy_configs/fbocc/fbocc-r50_8xb2-48e_openocc.py'


def build(model, constructor):
    cfg = dict(
        type='OptimWrapper',
        constructor=constructor,
        optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.1),
        paramwise_cfg=dict(
            custom_keys=dict(img_backbone=dict(lr_mult=0.1)),
            norm_decay_mult=0.0,
        ),
        clip_grad=dict(max_norm=1.0),
    )
    return build_optim_wrapper(model, cfg)


def test_settings_and_updates_are_those_of_mmengine():
    torch.manual_seed(0)
    model = Detector()
    twin = copy.deepcopy(model)
    plain = build(twin, 'DefaultOptimWrapperConstructor')
    grouped = build(model, 'mmdet3d.GroupedOptimWrapperConstructor')
    # the backbone's at a tenth, and everything else
    assert len(grouped.optimizer.param_groups) == 2
    expected = settings(twin, plain.optimizer)
    assert len(plain.optimizer.param_groups) == len(expected)
    assert settings(model, grouped.optimizer) == expected
    for seed in range(3):
        for net, wrapper in ((model, grouped), (twin, plain)):
            torch.manual_seed(seed)
            loss = sum(
                (torch.randn_like(p) * p).sum() for p in net.parameters()
            )
            wrapper.update_params(loss)
    for ours, theirs in zip(model.parameters(), twin.parameters()):
        assert torch.equal(ours, theirs)


def test_the_full_size_recipe_has_two_groups():
    cfg = load_config(CONFIG)
    wrapper = build_optim_wrapper(Detector(), cfg.optim_wrapper)
    rates = [group['lr'] for group in wrapper.optimizer.param_groups]
    assert rates == [2e-5, 2e-4]
