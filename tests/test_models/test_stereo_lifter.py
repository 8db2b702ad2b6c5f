"""StereoLifter, and the frames that a detector reads for it."""

import pytest
import torch
from mmdet3d.registry import MODELS

from occsplat.models.image_features import ImageFeatures
from occsplat.models.lifting import FBOccLifter, StereoLifter
from occsplat.models.lifting.cost_volume import cost_volume
from occsplat.models.lifting.depth_net import DepthNet
from occsplat.structures import CameraRig, OccBatch, VoxelGrid

GRID = VoxelGrid(range=(-12, -8, -2, 12, 8, 4), shape=(12, 8, 3))
BINS = dict(start=1.0, stop=11.0, step=1.0)
NORM = dict(type='GN', num_groups=2)
HEIGHT, WIDTH = 32, 64


def make_rig(batch=1, frames=3, cameras=2, step=(0.8, 0.3, 0.0)):
    """Cameras that look forward and to the left, (B, T, N)."""
    forward = torch.tensor(
        [[0.0, -1, 0, 0], [0, 0, -1, 1.0], [1, 0, 0, 0], [0, 0, 0, 1]]
    )
    left = torch.tensor(
        [[1.0, 0, 0, 0], [0, 0, -1, 1.0], [0, 1, 0, 0], [0, 0, 0, 1]]
    )
    looks = torch.stack([forward, left])[:cameras]
    poses = torch.eye(4).repeat(frames, 1, 1)
    # current reference frame -> that of a frame before
    poses[:, :3, 3] = torch.arange(frames)[:, None] * torch.tensor(step)
    ref2cam = looks[None] @ poses[:, None]
    K = torch.tensor([[40.0, 0, 32], [0, 40.0, 16], [0, 0, 1]])
    shape = (batch, frames, cameras)
    eye = torch.eye(3)
    return CameraRig(
        ref2cam.expand(*shape, 4, 4),
        K.expand(*shape, 3, 3),
        eye.expand(*shape, 3, 3),
        WIDTH,
        HEIGHT,
    )


def make_lifter(**kwargs):
    torch.manual_seed(0)
    args = dict(
        in_channels=6,
        channels=4,
        grid=GRID,
        mid_channels=8,
        depth_bins=BINS,
        norm_cfg=NORM,
    )
    return StereoLifter(**{**args, **kwargs})


def make_features(batch=1, frames=3, reference=True):
    torch.manual_seed(1)
    features = [
        ImageFeatures(
            (torch.rand(batch, 2, 6, 2, 4, requires_grad=True),),
            torch.rand(batch, 2, 5, 8, 16),
        )
        for _ in range(frames)
    ]
    if reference:
        features[-1] = ImageFeatures((), features[-1].stereo)
    return features


def test_volumes_of_the_frames_come_oldest_first():
    lifter, features, rig = make_lifter().eval(), make_features(), make_rig()
    with torch.no_grad():
        volume, logits = lifter(features, rig)
        assert volume.shape == (1, 8, *GRID.shape)
        assert logits.shape == (1, 2, 10, 2, 4)
        features[0] = ImageFeatures(
            (torch.rand(1, 2, 6, 2, 4),), features[0].stereo
        )
        other = lifter(features, rig)[0]
    # only the current frame's part changes: the last four channels
    assert torch.equal(volume[:, :4], other[:, :4])
    assert not torch.equal(volume[:, 4:], other[:, 4:])


def test_frames_are_aligned_as_they_are_lifted():
    """A past frame of a car that stood still gives the same volume."""
    lifter = make_lifter(stereo=False).eval()
    still = make_rig(frames=2, step=(0.0, 0.0, 0.0))
    context = torch.rand(1, 2, 6, 2, 4)
    features = [ImageFeatures((context,))] * 2
    with torch.no_grad():
        past, now = lifter(features, still)[0].split(4, dim=1)
        torch.testing.assert_close(past, now)
        # two metres ahead of where it was: one voxel of two metres
        moved = make_rig(frames=2, step=(2.0, 0.0, 0.0))
        past, same = lifter(features, moved)[0].split(4, dim=1)
    torch.testing.assert_close(same, now)
    lifter.pre_process = torch.nn.Identity()
    with torch.no_grad():
        past, now = lifter(features, moved)[0].split(4, dim=1)
    assert past.abs().sum() > 0
    # what the past camera saw lies two metres further back
    torch.testing.assert_close(past[:, :, :-1], now[:, :, 1:])


def test_the_past_has_no_gradient_and_everything_else_does():
    lifter, features, rig = make_lifter(), make_features(), make_rig()
    volume, logits = lifter(features, rig)
    batch = OccBatch(
        metas=[{}], rig=rig, gt_depth=torch.full((1, 2, HEIGHT, WIDTH), 4.0)
    )
    loss = lifter.loss(logits, batch)['loss_depth']
    (volume.square().mean() + loss).backward()
    assert features[0].maps[0].grad.abs().sum() > 0
    assert features[1].maps[0].grad is None
    idle = [n for n, p in lifter.named_parameters() if p.grad is None]
    assert not idle


def test_the_depth_net_always_knows_the_current_cameras():
    """Where the past cameras stand moves its volume, not its depths."""
    lifter = make_lifter(stereo=False).eval()
    said = []
    lifter.depth_net.register_forward_hook(
        lambda module, args, output: said.append(output[1])
    )
    features = make_features(frames=2, reference=False)
    with torch.no_grad():
        for step in ((0.0, 0.0, 0.0), (2.0, 0.0, 0.0)):
            lifter(features, make_rig(frames=2, step=step))
    _, still, _, moved = said
    assert torch.equal(still, moved)


def test_the_stereo_maps_change_the_depths():
    lifter, features, rig = make_lifter().eval(), make_features(), make_rig()
    with torch.no_grad():
        _, logits = lifter(features, rig)
        features[1].stereo = torch.rand_like(features[1].stereo)
        _, other = lifter(features, rig)
    assert not torch.allclose(logits, other)


def test_the_depth_net_is_told_how_well_each_depth_matches():
    lifter, features, rig = make_lifter().eval(), make_features(), make_rig()
    told = []
    lifter.depth_net.register_forward_pre_hook(
        lambda module, args: told.append(args[2])
    )
    with torch.no_grad():
        lifter(features, rig)
    assert len(told) == 2
    for age, matches in enumerate(told):
        cost = cost_volume(
            features[age].stereo,
            features[age + 1].stereo,
            rig[:, age],
            rig[:, age + 1],
            lifter.bins,
        )
        assert matches.shape == (1, 2, 10, 8, 16)
        torch.testing.assert_close(matches.sum(2), torch.ones(1, 2, 8, 16))
        best = matches.argmax(2, keepdim=True)
        assert torch.equal(cost.gather(2, best)[:, :, 0], cost.amin(2))


def test_samples_of_a_batch_are_independent():
    lifter, rig = make_lifter().eval(), make_rig(batch=2)
    features = make_features(batch=2)
    second = [
        ImageFeatures(tuple(level[1:] for level in f.maps), f.stereo[1:])
        for f in features
    ]
    with torch.no_grad():
        both, alone = lifter(features, rig)[0], lifter(second, rig[1:])[0]
    torch.testing.assert_close(both[1:], alone)


def test_one_frame_without_stereo_is_bevdet():
    """Forward projection alone, with the weights of FB-Occ's depth net."""
    lifter = make_lifter(stereo=False, num_frames=1).eval()
    plain = FBOccLifter(
        in_channels=6,
        channels=4,
        grid=GRID,
        mid_channels=8,
        depth_bins=BINS,
        norm_cfg=NORM,
    ).eval()
    plain.load_state_dict(
        {
            k: v
            for k, v in lifter.state_dict().items()
            if not k.startswith('pre_process')
        }
    )
    features = make_features(frames=1, reference=False)
    rig = make_rig(frames=1)
    with torch.no_grad():
        volume, logits = lifter(features, rig)
        expected, same = plain(features, rig)
    assert torch.equal(logits, same)
    assert torch.equal(volume, lifter.pre_process(expected))


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match='num_frames must be .*1, got 0'):
        make_lifter(num_frames=0)
    with pytest.raises(ValueError, match=r'rig.*\(1, 3, 2\), got \(1, 2, 2\)'):
        make_lifter()(make_features(), make_rig(frames=2))
    with pytest.raises(ValueError, match=r'frames.*\(3,\), got \(2,\)'):
        make_lifter()(make_features()[:2], make_rig())
    with pytest.raises(ValueError, match='LidarDepth'):
        make_lifter().loss(
            torch.zeros(1, 1, 10, 1, 1), OccBatch(metas=[{}], rig=None)
        )


@pytest.mark.parametrize('strides, scale', [((2, 2), 4), ((2, 1), 2)])
def test_the_cost_volume_joins_the_depth_branch(strides, scale):
    net = DepthNet(6, 8, 4, 10, NORM, cost_channels=10, cost_strides=strides)
    rig = make_rig(frames=1)[:, 0]
    features = torch.rand(1, 2, 6, 2, 4)
    cost = torch.rand(1, 2, 10, 2 * scale, 4 * scale)
    context, logits = net(features, rig, cost)
    assert context.shape == (1, 2, 4, 2, 4)
    assert logits.shape == (1, 2, 10, 2, 4)
    plain = DepthNet(6, 8, 4, 10, NORM)
    extra = net.state_dict().keys() - plain.state_dict().keys()
    assert {key.split('.')[0] for key in extra} == {'cost', 'depth'}
    assert not plain.state_dict().keys() - net.state_dict().keys()


def make_detector(lifter, out_indices=(0, 2, 3)):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='OccDetector',
            img_backbone=dict(
                type='mmdet.ResNet',
                depth=18,
                base_channels=8,
                out_indices=out_indices,
            ),
            img_neck=dict(
                type='SingleMapFPN', in_channels=[32, 64], out_channels=6
            ),
            lifter=dict(
                type='StereoLifter',
                in_channels=6,
                channels=4,
                grid=GRID,
                mid_channels=8,
                depth_bins=BINS,
                norm_cfg=NORM,
                **lifter,
            ),
            occ_head=dict(
                type='MLPOccHead',
                in_channels=8,
                grid=GRID,
                channels=8,
                label_spec='occ3d',
            ),
        )
    )


def test_the_detector_encodes_each_frame_as_far_as_it_is_needed():
    detector = make_detector(dict())
    imgs = torch.rand(2, 3, 2, 3, HEIGHT, WIDTH)
    now, before, reference = detector.eval().image_encoder(imgs)
    assert now.maps[0].shape == before.maps[0].shape == (2, 2, 6, 2, 4)
    for frame in (now, before, reference):
        assert frame.stereo.shape == (2, 2, 8, 8, 16)
    assert reference.maps == ()
    assert now.maps[0].requires_grad and now.stereo.requires_grad
    assert not before.maps[0].requires_grad
    assert not reference.stereo.requires_grad
    swapped = detector.image_encoder(imgs.flip(1))
    torch.testing.assert_close(swapped[0].stereo, reference.stereo)
    torch.testing.assert_close(swapped[1].maps[0], before.maps[0])


@pytest.mark.parametrize(
    'lifter, needed',
    [
        (dict(), r'T = 3 .* have T = 2: .*frames=\(0, -1, -2\)'),
        (dict(num_frames=1, stereo=False), r'T = 1 .*frames=\(0,\)'),
    ],
)
def test_a_wrong_number_of_frames_says_what_to_load(lifter, needed):
    detector = make_detector(lifter)
    imgs = torch.rand(1, 2, 2, 3, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=f'StereoLifter needs {needed}'):
        detector.image_encoder(imgs)


def test_matching_needs_the_first_stage():
    with pytest.raises(ValueError, match=r'are \(2, 3\): let them start'):
        make_detector(dict(), out_indices=(2, 3))


def test_under_autocast_the_current_frame_still_learns(monkeypatch):
    """Weights that were cast for the past must not cut it off."""
    detector = make_detector(dict())
    imgs = torch.rand(1, 3, 2, 3, HEIGHT, WIDTH)
    order, encode = [], detector._encode

    def spy(frame):
        order.append(torch.is_grad_enabled())
        return encode(frame)

    monkeypatch.setattr(detector, '_encode', spy)
    with torch.autocast('cpu', torch.bfloat16):
        now, *_ = detector.image_encoder(imgs)
        assert now.maps[0].dtype == torch.bfloat16
    # newer versions of PyTorch would forgive another order
    assert order == [True, False]
    now.float().maps[0].square().sum().backward()
    for part in (detector.img_backbone, detector.img_neck):
        assert all(p.grad is not None for p in part.parameters())
