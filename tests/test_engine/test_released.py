"""Published networks, converted, compute what their own code computed.

Outputs are compared module by module, then for the whole network, with
weights and inputs that follow from names; see released_rule.py.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
import released_rule as rule
import torch
from mmdet3d.registry import MODELS
from released_rule import assert_near, rig_of

from occsplat.engine import CheckpointError, load_config
from occsplat.engine.released import RELEASED, convert
from occsplat.models.volume import RewarpedHistory
from occsplat.structures import CameraRig, VoxelGrid

ROOT = Path(__file__).parents[2]
NAME = 'fbocc-r50'


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    path = tmp_path_factory.mktemp('published') / 'fbocc-r50.pth'
    torch.save(dict(state_dict=rule.checkpoint('fbocc_r50')), path)
    return path


@pytest.fixture(scope='module')
def cfg():
    return load_config(ROOT / 'occupancy_configs' / RELEASED[NAME].config)


@pytest.fixture(scope='module')
def converted(published, cfg):
    return convert(published, NAME, cfg)


@pytest.fixture(scope='module')
def model(converted, cfg):
    built = MODELS.build({**cfg.model, 'init_cfg': None}).eval()
    built.load_state_dict(converted.state, strict=True)
    return built.requires_grad_(False)


@pytest.fixture(scope='module')
def golden():
    return rule.golden('fbocc_r50')


@pytest.fixture(scope='module')
def rig(golden):
    """Six cameras, 256 x 704, (1, 6)."""
    cam2ref = torch.eye(4, dtype=torch.float64).repeat(6, 1, 1)
    cam2ref[:, :3, :3] = golden['camera_rots'][0]
    cam2ref[:, :3, 3] = golden['camera_trans'][0]
    return rig_of(cam2ref.inverse()[None], golden, 704, 256)


def transposed(volume):
    """(..., X, Y, Z) to the published (..., Y, X, Z), and back."""
    return volume.transpose(-3, -2)


def depth_of(rig):
    logits = rule.array('golden.fbocc.depth_logits', 1, 6, 80, 16, 44)
    return (2 * logits).softmax(dim=2)


def test_every_tensor_is_accounted_for(converted):
    assert converted.whole and converted.taken == converted.total == 535
    assert str(converted).startswith('535 of 535 tensors; unused: none')


def test_image_features(model, golden):
    image = rule.array('golden.fbocc.image', 1, 3, 64, 96).flip(1)
    stages = model.img_backbone(image)
    assert_near(stages[-1][:, ::8], golden['image_stage4'])
    assert_near(model.img_neck(stages), golden['image_neck'])


def test_context_and_depth(model, golden, rig):
    features = rule.array('golden.fbocc.features', 1, 6, 256, 16, 44)
    context, logits = model.lifter.depth_net(features, rig)
    some = (slice(None), slice(None), slice(None, None, 8))
    cells = (..., slice(None, None, 4), slice(None, None, 4))
    assert_near(context[some][cells], golden['depth_context'])
    depth = logits.softmax(dim=2)[some][cells]
    assert_near(depth, golden['depth_depth'])


def test_forward_projection(model, golden, rig):
    lifter = model.lifter
    context = rule.array('golden.fbocc.context2', 1, 6, 2, 16, 44)
    volume = lifter.project(
        context, depth_of(rig), rig, lifter.bins, lifter.grid, lifter.landing
    )
    found = transposed(volume)[:, :, ::4, ::4]
    error = (found - golden['forward_volume']).abs().amax(dim=1)
    # a frustum point on the border of two voxels may fall into either
    assert int((error > 1e-5).sum()) <= 2
    assert float(error.max()) < 2e-3


def test_backward_projection(model, golden, rig):
    bev = rule.array('golden.fbocc.bev', 1, 80, 100, 100).transpose(2, 3)
    out = model.lifter.backward_projection(
        bev[..., None].expand(-1, -1, -1, -1, 8),
        rule.array('golden.fbocc.context80', 1, 6, 80, 16, 44),
        depth_of(rig),
        rig,
        model.lifter.bins,
    )
    found = out[:, ::8].transpose(2, 3)[:, :, ::4, ::4]
    assert_near(found, golden['backward_out'], 1e-4)


def test_history(model, golden):
    grid = VoxelGrid((-8, -6.4, -1, 8, 6.4, 5.4), (20, 16, 8))
    history = RewarpedHistory(80, grid).eval()
    history.load_state_dict(model.history.state_dict())
    pose = np.eye(4)
    for frame in range(3):
        # frame 0 is where it is
        if frame:
            step = golden['history_curr_to_prev'][frame]
            pose = pose @ step.double().numpy()
        volume = rule.array(f'golden.fbocc.volume{frame}', 1, 80, 16, 20, 8)
        meta = dict(
            token=str(frame),
            prev=str(frame - 1),
            # whatever the time stamps say
            timestamp=7.0 * frame,
            ref2global=pose,
        )
        with torch.no_grad():
            fused = transposed(history(transposed(volume), [meta]))
        assert_near(fused[:, ::32], golden[f'history_fused{frame}'])


def test_encoder_and_head(model, golden):
    volume = rule.array('golden.fbocc.encoder', 1, 80, 12, 16, 8)
    levels = model.volume_encoder(transposed(volume))
    assert_near(transposed(levels[0])[:, ::128], golden['encoder_level0'])
    assert_near(transposed(levels[2])[:, ::32], golden['encoder_level2'])
    logits = transposed(model.occ_head(levels).logits)[:, :, ::2]
    # row 0 is the class that is never predicted
    assert_near(logits[..., ::4, ::4], golden['encoder_logits'][:, 1:])


@pytest.mark.slow
def test_the_whole_network_and_its_second_frame(model, golden, rig):
    model.train().eval()  # no past
    every = CameraRig(
        rig.ref2cam[:, None], rig.K[:, None], rig.img_aug[:, None], 704, 256
    )
    pose = np.eye(4)
    for frame, (name, inputs) in enumerate(
        (('whole', 'images'), ('second', 'images_next'))
    ):
        if frame:
            pose = pose @ golden['second_curr_to_prev'].double().numpy()
        images = rule.array(f'golden.fbocc.{inputs}', 1, 6, 3, 256, 704)
        meta = dict(
            token=str(frame),
            prev=str(frame - 1),
            timestamp=0.5 * frame,
            ref2global=pose,
        )
        with torch.no_grad():
            features = model.image_encoder(images.flip(2)[:, None])
            volume, _ = model.lifter(features, every)
            volume = model.history(volume, [meta])
            logits = model.occ_head(model.volume_encoder(volume)).logits[0]
        some = transposed(logits)[:, ::40, ::40, ::4]
        assert_near(some, golden[f'{name}_logits'][1:], 2e-4)
        classes = logits.argmax(dim=0)[::2, ::2, ::2]
        expected = golden[f'{name}_argmax'].long()
        assert float((classes == expected).float().mean()) > 0.9999


# --- files that are not what they are taken for ---------------------------


def changed(published, tmp_path, change):
    state = torch.load(published, weights_only=True)['state_dict']
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=change(state)), path)
    return path


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda s: {k: v for k, v in s.items() if 'history' not in k},
            r'525 of 535.*missing: history.time_conv.*--partial',
        ),
        (
            lambda s: s | {'pts_bbox_head.bias': torch.zeros(3)},
            'unused: pts_bbox_head.bias; missing: none.*--partial',
        ),
        (
            lambda s: {f'x.{n}': torch.zeros(2) for n in range(3)},
            'Its names are of no checkpoint known here',
        ),
        (
            lambda s: {
                k: v for k, v in s.items() if k.startswith(('img_', 'depth'))
            },
            r"nearest to 'fbocc_r50'",
        ),
        (
            lambda s: s | {'depth_net.depth_conv.4.bias': torch.zeros(59)},
            r'of another shape.*\(59,\) instead of \(80,\)',
        ),
        (
            lambda s: s | {'depth_net.bn.weight': torch.ones(22)},
            r'of another shape are lifter.depth_net.camera_norm',
        ),
        (
            lambda s: (
                s
                | {
                    'backward_projection.bev_embedding.weight': torch.ones(
                        7, 80
                    )
                }
            ),
            'cannot be converted as fbocc-r50',
        ),
    ],
)
def test_another_file_is_one_line(published, cfg, tmp_path, change, message):
    path = changed(published, tmp_path, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(path, NAME, cfg)
    assert '\n' not in str(caught.value)


def test_partial_takes_what_fits(published, cfg, tmp_path):
    path = changed(
        published,
        tmp_path,
        lambda s: {k: v for k, v in s.items() if 'history' not in k},
    )
    found = convert(path, NAME, cfg, partial=True)
    assert found.taken == 525 and len(found.missing) == 10


def test_the_tool_writes_a_checkpoint(
    published, tmp_path, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    tool = importlib.import_module('convert_checkpoint')
    out = tmp_path / 'ours.pth'
    tool.main([str(published), '--from', NAME, '--out', str(out)])
    said = capsys.readouterr().out
    assert '535 of 535' in said and 'CC BY-NC-SA' in said
    written = torch.load(out, weights_only=True)
    assert written['meta']['converted_from'] == NAME
    assert 'occ_head.occ_branch.1.bias' in written['state_dict']
