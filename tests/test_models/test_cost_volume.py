"""The plane sweep finds the depth at which two frames agree."""

import math

import pytest
import torch

from occsplat.models.lifting.cost_volume import UNSEEN_COST, cost_volume
from occsplat.models.lifting.forward_projection import DepthBins
from occsplat.structures import CameraRig

BINS = DepthBins(start=2.0, stop=14.0, step=2.0)
HEIGHT, WIDTH = 24, 32  # of the stereo maps, a quarter of the images
CENTRES = [3.0, 5.0, 7.0, 9.0, 11.0, 13.0]


def look_along(angle, position):
    """Reference frame -> a camera that looks along the ground, (4, 4)."""
    forward = torch.tensor([math.cos(angle), math.sin(angle), 0.0])
    right = torch.tensor([math.sin(angle), -math.cos(angle), 0.0])
    matrix = torch.eye(4)
    matrix[:3, :3] = torch.stack(
        [right, torch.tensor([0.0, 0.0, -1.0]), forward]
    )
    matrix[:3, 3] = -matrix[:3, :3] @ torch.tensor(position)
    return matrix


def make_rigs(image_aug=None, volume_aug=None, motion=(1.2, 0.5, 0.1)):
    """Two cameras, now and before the car moved and turned, each (1, 2)."""
    aug = torch.diag(torch.tensor([0.5, 0.5, 1.0]))
    if image_aug is not None:
        aug = image_aug @ aug
    back = torch.eye(4)
    if volume_aug is not None:
        back = torch.linalg.inv(volume_aug)
    K = torch.tensor([[200.0, 0, 130], [0, 200.0, 95], [0, 0, 1]])
    rigs = []
    for turn, (x, y, z) in ((0.0, (0.0, 0.0, 0.0)), (0.03, motion)):
        # the second camera looks to the side
        ref2cam = torch.stack(
            [
                look_along(0.2 + turn, (0.5 - x, 0.3 - y, 1.5 - z)),
                look_along(1.7 + turn, (0.1 - x, 0.6 - y, 1.5 - z)),
            ]
        )
        rigs.append(
            CameraRig(
                (ref2cam @ back)[None],
                K.expand(1, 2, 3, 3),
                aug.expand(1, 2, 3, 3),
                4 * WIDTH,
                4 * HEIGHT,
            )
        )
    return rigs


def augmentations():
    flip = torch.tensor([[-1.0, 0, 4 * WIDTH], [0, 1, 0], [0, 0, 1]])
    c, s = math.cos(0.1), math.sin(0.1)
    turn = torch.tensor([[c, -s, 6], [s, c, -5], [0, 0, 1.0]])
    volume = torch.eye(4)
    volume[:2, :2] = 1.1 * torch.tensor([[c, s], [s, -c]])
    return dict(
        plain=dict(),
        image_flip=dict(image_aug=flip),
        image_turn=dict(image_aug=turn),
        volume=dict(volume_aug=volume),
        both=dict(image_aug=turn, volume_aug=volume),
    )


def rays(rig):
    """Where cells look from and to, metres, (N, 3) and (N, H, W, 3)."""
    v, u = torch.meshgrid(
        4 * (torch.arange(HEIGHT) + 0.5),
        4 * (torch.arange(WIDTH) + 0.5),
        indexing='ij',
    )
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    cam2ref = torch.linalg.inv(rig.ref2cam[0])
    local = torch.einsum(
        'nij,hwj->nhwi', torch.linalg.inv(rig.image_K[0]), pixels
    )
    turned = torch.einsum('nij,nhwj->nhwi', cam2ref[:, :3, :3], local)
    return cam2ref[:, :3, 3], turned


def paint(rig, wall_rig, depth):
    """Maps of a wall that stands before each camera of ``wall_rig``.

    The wall's features are smooth functions of where on it one looks.
    """
    origin, direction = rays(rig)
    to_cam = wall_rig.ref2cam[0]
    start = torch.einsum('nij,nj->ni', to_cam[:, :3, :3], origin)
    start = start + to_cam[:, :3, 3]
    step = torch.einsum('nij,nhwj->nhwi', to_cam[:, :3, :3], direction)
    length = (depth - start[:, None, None, 2]) / step[..., 2]
    place = start[:, None, None] + length[..., None] * step  # wall's camera
    x, y = place[..., 0], place[..., 1]
    waves = [x, y, x.sin(), y.cos(), (x + y).sin()]
    return torch.stack(waves, dim=1)[None]  # (1, N, S, H, W)


@pytest.mark.parametrize(
    'kwargs', augmentations().values(), ids=augmentations()
)
@pytest.mark.parametrize('bin_index', [1, 4])
def test_the_cost_is_least_at_the_depth_of_the_wall(kwargs, bin_index):
    rig, previous_rig = make_rigs(**kwargs)
    wall = CENTRES[bin_index]
    now, before = paint(rig, rig, wall), paint(previous_rig, rig, wall)
    cost = cost_volume(now, before, rig, previous_rig, BINS)
    assert cost.shape == (1, 2, BINS.count, HEIGHT, WIDTH)
    right = cost[:, :, bin_index]
    # cells that the earlier frame shows; elsewhere nothing can be told
    shown = right < UNSEEN_COST
    assert shown.float().mean() > 0.4
    found = cost.argmin(dim=2)[shown]
    assert (found == bin_index).float().mean() > 0.97
    assert right[shown].mean() < 0.1


def test_every_camera_is_matched_with_itself():
    rig, previous_rig = make_rigs()
    now, before = paint(rig, rig, 7.0), paint(previous_rig, rig, 7.0)
    cost = cost_volume(now, before, rig, previous_rig, BINS)
    before[:, 1] += 1
    other = cost_volume(now, before, rig, previous_rig, BINS)
    assert torch.equal(cost[:, 0], other[:, 0])
    assert not torch.equal(cost[:, 1], other[:, 1])


def test_a_stand_in_frame_tells_nothing_of_depth():
    """At the start of a scene the current frame stands in for the past."""
    rig, _ = make_rigs(**augmentations()['both'])
    stereo = torch.rand(1, 2, 6, HEIGHT, WIDTH)
    cost = cost_volume(stereo, stereo, rig, rig, BINS)
    assert cost.max() < 0.01
    torch.testing.assert_close(
        (-cost).softmax(dim=2),
        torch.full_like(cost, 1 / BINS.count),
        atol=1e-3,
        rtol=0,
    )


def test_what_the_earlier_frame_does_not_show_costs_its_features_and_more():
    rig, _ = make_rigs()
    stereo = torch.rand(1, 2, 6, HEIGHT, WIDTH) - 0.5
    # a car that turned around: everything is behind the earlier cameras
    turned = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    behind = CameraRig(
        rig.ref2cam @ turned, rig.K, rig.img_aug, rig.width, rig.height
    )
    cost = cost_volume(stereo, stereo, rig, behind, BINS)
    expected = stereo.abs().sum(2) + UNSEEN_COST
    torch.testing.assert_close(cost, expected[:, :, None].expand_as(cost))


@pytest.mark.parametrize('value', [0.0, 1.0])
def test_only_geometry_says_what_is_not_shown(value):
    """Dark features are features, and the image ends at its rim."""
    rig, previous_rig = make_rigs(motion=(0.1, 0.0, 0.0))
    flat = torch.full((1, 2, 6, HEIGHT, WIDTH), value)
    cost = cost_volume(flat, flat, rig, previous_rig, BINS)
    shown = cost < 1e-4
    assert 0.8 < shown.float().mean() < 1
    assert set(cost[~shown].tolist()) == {6 * value + UNSEEN_COST}


def test_samples_are_independent_and_nothing_is_differentiated():
    plain = make_rigs()
    moved = make_rigs(**augmentations()['both'])
    rig, previous_rig = (
        CameraRig.stack([a[0], b[0]]) for a, b in zip(plain, moved)
    )
    now = torch.rand(2, 2, 6, HEIGHT, WIDTH, requires_grad=True)
    before = torch.rand(2, 2, 6, HEIGHT, WIDTH, requires_grad=True)
    cost = cost_volume(now, before, rig, previous_rig, BINS)
    assert not cost.requires_grad
    second = cost_volume(now[1:], before[1:], rig[1:], previous_rig[1:], BINS)
    torch.testing.assert_close(cost[1:], second)
