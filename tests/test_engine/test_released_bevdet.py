"""BEVDet-Occ R50 with 4D stereo, converted; see test_released.py."""

from pathlib import Path

import pytest
import released_rule as rule
import torch
from mmdet3d.registry import MODELS
from released_rule import assert_near

from occsplat.engine import load_config
from occsplat.engine.released import RELEASED, convert
from occsplat.models.lifting.cost_volume import cost_volume
from occsplat.structures import VoxelGrid

ROOT = Path(__file__).parents[2]
NAME = 'bevdet-occ-r50-4d-stereo'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """The network with converted weights: all of them, and all of ours."""
    path = tmp_path_factory.mktemp('published') / 'bevdet.pth'
    torch.save(dict(state_dict=rule.checkpoint('bevdet_occ_r50')), path)
    cfg = load_config(ROOT / 'occupancy_configs' / RELEASED[NAME].config)
    converted = convert(path, NAME, cfg)
    assert converted.whole and converted.taken == converted.total == 480
    built = MODELS.build({**cfg.model, 'init_cfg': None}).eval()
    built.load_state_dict(converted.state, strict=True)
    return built.requires_grad_(False)


@pytest.fixture(scope='module')
def golden():
    return rule.golden('bevdet_occ_r50')


@pytest.fixture(scope='module')
def rigs(golden):
    return rule.rigs_of(golden)


def turned(volume):
    """(B, C, X, Y, Z) to the published (B, C, Z, Y, X), and back."""
    return volume.transpose(2, 4)


def stereo_map(stored):
    """The 256 channels of a map: 32 of them, repeated."""
    return stored.float()[:, torch.arange(256) % 32][None]


def test_image_features_and_the_map_to_be_matched(model, golden):
    image = rule.array('golden.bevdet.image', 1, 3, 64, 96).flip(1)
    stages = model.img_backbone(image)
    assert_near(stages[0][:, ::16], golden['image_stereo'])
    assert_near(model.img_neck(stages[1:])[:, ::2], golden['image_neck'])


def test_matches_of_two_frames(model, golden, rigs):
    lifter = model.lifter
    cost = cost_volume(
        stereo_map(golden['stereo_now']),
        stereo_map(golden['stereo_previous']),
        rigs[0][:, :1],
        rigs[1][:, :1],
        lifter.bins,
        lifter.landing,
        lifter.unseen_where,
    )
    found = (-cost).softmax(dim=2)[0, :, ::16]
    # kept with 11 bits
    assert_near(found, golden['depth_cost'].float(), 1e-3)


def test_depth_net_with_the_matches(model, golden, rigs):
    """The camera's numbers, the gates and the pyramid of 96 channels."""
    features = rule.array('golden.bevdet.features', 2, 256, 8, 22)[None]
    none = torch.zeros(1, 2, 88, 32, 88)
    context, logits = model.lifter.depth_net(features, rigs[0], none)
    assert_near(context[0], golden['depth_context'])
    assert_near(logits[0, :, ::8], golden['depth_logits_without_past'])


def test_pooling(model, golden, rigs):
    lifter = model.lifter
    logits = rule.array('golden.bevdet.depth_logits', 1, 2, 88, 8, 22)
    volume = lifter.project(
        rule.array('golden.bevdet.context2', 1, 2, 2, 8, 22),
        (2 * logits).softmax(dim=2),
        rigs[0],
        lifter.bins,
        VoxelGrid((-20, -20, -1, 20, 16, 5.4), (100, 90, 16)),
        lifter.landing,
    )
    found = turned(volume)[:, :, ::4, ::3, ::3]
    assert_near(found, golden['pooling_volume'])


def test_volumes_and_head(model, golden, monkeypatch):
    volume = turned(rule.array('golden.bevdet.volume', 1, 32, 8, 12, 16))
    found = turned(model.lifter.pre_process(volume))[:, ::4, ::2]
    assert_near(found, golden['volume_pre_process'])
    volume = turned(rule.array('golden.bevdet.encoder', 1, 64, 8, 12, 16))
    levels = model.volume_encoder.backbone(volume)
    assert_near(turned(levels[2])[:, ::4], golden['volume_level2'])
    fused = model.volume_encoder.neck(levels)
    assert_near(turned(fused[0])[:, ::4, ::2], golden['volume_neck'])
    small = VoxelGrid((0, 0, 0, 16, 12, 8), (16, 12, 8))
    monkeypatch.setattr(model.occ_head, 'grid', small)
    logits = model.occ_head(fused).logits.permute(0, 2, 3, 4, 1)
    assert_near(logits[:, ::2, ::2, ::2], golden['volume_logits'])


@pytest.mark.slow
@pytest.mark.long
def test_whole(model, golden):
    """Three frames of six images, 256 x 704, from pixels to classes."""
    images, rig = rule.three_frames('golden.bevdet.images', golden)
    fused = rule.check_volume(model, images, rig, golden)
    logits = model.occ_head(fused).logits[0].permute(1, 2, 3, 0)
    found = logits[::20, ::20, ::4]
    assert_near(found, golden['whole_logits'][0], 1e-3)
    classes = logits[::4, ::4, ::2].argmax(dim=-1)
    assert torch.equal(classes, golden['whole_argmax'].long())
