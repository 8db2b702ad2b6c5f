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
