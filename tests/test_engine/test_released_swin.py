"""BEVDet-Occ and RenderOcc on Swin-B, converted; see test_released.py."""

from pathlib import Path

import pytest
import released_rule as rule
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from released_rule import assert_near

from occsplat.engine import load_config
from occsplat.engine.released import RELEASED, convert
from occsplat.models.lifting.cost_volume import cost_volume
from occsplat.structures import VoxelGrid

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group('swin')


def converted_model(name, network, folder):
    """The network with all of its weights, and nothing else."""
    path = folder / 'published.pth'
    torch.save(dict(state_dict=rule.checkpoint(network)), path)
    cfg = load_config(ROOT / 'occupancy_configs' / RELEASED[name].config)
    converted = convert(path, name, cfg)
    path.unlink()
    assert converted.whole and converted.taken == converted.total
    built = MODELS.build({**cfg.model, 'init_cfg': None}).eval()
    own = {k: v.clone() for k, v in built.state_dict().items()}
    built.load_state_dict(converted.state, strict=True)
    # tables that follow from the window are those that we make
    for key, value in converted.state.items():
        if key.endswith('relative_position_index'):
            assert torch.equal(value, own[key])
    return built.requires_grad_(False), converted


@pytest.mark.slow
def test_bevdet_occ(tmp_path):
    model, converted = converted_model(
        'bevdet-occ-stbase-4d-stereo', 'bevdet_occ_swin_b', tmp_path
    )
    assert converted.total == 572
    golden = rule.golden('bevdet_occ_swin_b')
    image = rule.array('golden.bevdet_swin.image', 1, 3, 64, 96).flip(1)
    stages = model.img_backbone(image)
    assert_near(stages[0][:, ::16], golden['image_stereo'])
    assert_near(stages[1][:, ::8], golden['image_stage3'])
    assert_near(stages[2][:, ::4], golden['image_stage4'])
    neck = model.img_neck(stages[1:])
    assert_near(neck[:, ::4], golden['image_neck'])
    lifter, rigs = model.lifter, rule.rigs_of(golden)
    maps = (
        0.2 * rule.array(f'golden.bevdet_swin.{name}', 1, 2, 128, 32, 88)
        for name in ('stereo_now', 'stereo_previous')
    )
    cost = cost_volume(
        *maps, *rigs, lifter.bins, lifter.landing, lifter.unseen_where
    )
    matches = (-cost).softmax(dim=2)
    # kept with 11 bits
    found = matches[0, :, ::16]
    assert_near(found, golden['depth_cost'].float(), 1e-3)
    features = rule.array('golden.bevdet_swin.features', 2, 512, 8, 22)[None]
    context, logits = lifter.depth_net(features, rigs[0], matches)
    assert_near(logits[0, :, ::8], golden['depth_logits'])
    assert_near(context[0, :, ::4], golden['depth_context'])


@pytest.mark.slow
def test_renderocc(tmp_path, monkeypatch):
    model, converted = converted_model(
        'renderocc-swin-b', 'renderocc_swin_b', tmp_path
    )
    assert converted.total == 576
    (constants,) = converted.dropped
    assert len(constants.keys) == 6
    golden, head = rule.golden('renderocc_swin_b'), model.occ_head
    volume = 4 * rule.array('golden.renderocc.volume', 1, 32, 8, 12, 16)
    final = head.final_conv(volume.transpose(2, 4)).permute(0, 2, 3, 4, 1)
    assert_near(final[:, ::2, ::2, :, ::4], golden['head_final'])
    features = 12 * rule.array('golden.renderocc.features', 1, 16, 12, 8, 32)
    features = features.permute(0, 4, 1, 2, 3)
    density = F.softplus(head.density(features))[:, 0]
    assert_near(density, golden['head_density'])
    semantic = head.semantic(features).permute(0, 2, 3, 4, 1)
    assert_near(semantic[:, ::2, ::2, ::2], golden['head_semantic'])
    # free unless the density is above 8.5
    small = VoxelGrid((0, 0, 0, 6.4, 4.8, 3.2), (16, 12, 8))
    monkeypatch.setattr(head, 'grid', small)
    occ, _ = head.predict(head.decode(features, None))
    assert torch.equal(occ.long(), golden['head_occ'].long())
    assert 0.1 < float((occ != 17).float().mean()) < 0.9


@pytest.mark.slow
@pytest.mark.long
def test_renderocc_whole(tmp_path):
    """Three frames of six images, 256 x 704, from pixels to classes."""
    model, _ = converted_model(
        'renderocc-swin-b', 'renderocc_swin_b', tmp_path
    )
    golden = rule.golden('renderocc_swin_b')
    images, rig = rule.three_frames('golden.renderocc.images', golden)
    fused = rule.check_volume(model, images, rig, golden)
    head = model.occ_head
    features = head.final_conv(fused[0])
    density = F.softplus(head.density(features))[0, 0]
    found = density[::10, ::10, ::2]
    assert_near(found, golden['whole_density'][0], 1e-3)
    semantic = head.semantic(features)[0].permute(1, 2, 3, 0)
    found = semantic[::20, ::20, ::4]
    assert_near(found, golden['whole_semantic'][0], 1e-3)
    classes = semantic[::4, ::4, ::2].argmax(dim=-1)
    assert torch.equal(classes, golden['whole_argmax'].long())
