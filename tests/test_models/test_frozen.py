"""Modules of the detector that are only read."""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS

from occsplat.engine import load_config

ROOT = Path(__file__).parents[2] / 'occupancy_configs'


def build(**kwargs):
    cfg = load_config(ROOT / 'fbocc/fbocc-tiny_minitown.py')
    torch.manual_seed(0)
    return MODELS.build({**cfg.model, **kwargs})


def test_what_is_frozen_neither_learns_nor_changes_its_mode():
    model = build(frozen=('img_backbone', 'lifter'), remember=0)
    # also before anybody says so
    assert not model.lifter.training
    model.train()
    for name, module in model.named_children():
        frozen = name in ('img_backbone', 'lifter')
        parameters = list(module.parameters())
        assert all(p.requires_grad != frozen for p in parameters), name
        if parameters:
            assert module.training != frozen, name
    assert not any(m.training for m in model.lifter.modules())
    assert not model.eval().occ_head.training


def test_nothing_is_frozen_by_default():
    model = build(frozen=(), remember=0).train()
    assert all(p.requires_grad for p in model.parameters())
    assert model.lifter.training


def test_a_module_that_is_not_there_can_not_be_frozen():
    with pytest.raises(ValueError, match="'img_nek'.*img_neck"):
        build(frozen=('img_nek',))
