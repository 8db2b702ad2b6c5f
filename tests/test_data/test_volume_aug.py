"""VolumeAug: one new reference frame for everything in a sample."""

import itertools

import numpy as np
import pytest
import torch

from occsplat.data.transforms import VolumeAug
from occsplat.data.transforms.volume_aug import aug_matrix, fold
from occsplat.structures import CameraRig, LabelSpec, VoxelGrid

GRID = VoxelGrid(range=(-8, -8, -1, 8, 8, 3), shape=(16, 16, 4))
ANY_FRAME = [
    aug_matrix(20.0, 1.0, False, False),
    aug_matrix(-13.0, 1.1, True, False),
    aug_matrix(77.0, 0.9, True, True),
    aug_matrix(5.0, 1.0, False, True) @ aug_matrix(9.0, 1.05, True, True),
]
#: augmentations that map voxel centres to voxel centres
EXACT = [
    aug_matrix(angle, 1.0, mirror_x, mirror_y)
    for angle in (0, 90, 180, 270)
    for mirror_x, mirror_y in itertools.product((False, True), repeat=2)
]


def make_results(ref_aug=None):
    """A sample with random content."""
    rng = np.random.default_rng(0)
    ref2cam = np.tile(np.eye(4), (1, 3, 1, 1))
    ref2cam[..., :3, :] += rng.normal(size=(1, 3, 3, 4))
    K = np.tile([[90.0, 0, 50], [0, 80.0, 40], [0, 0, 1]], (1, 3, 1, 1))
    rig = CameraRig.from_matrices(
        torch.from_numpy(ref2cam), torch.from_numpy(K), 100, 80
    )
    ref2global = np.eye(4)
    ref2global[:3, 3] = 600, 1200, 2
    results = dict(
        rig=rig,
        render_rig=rig.scaled(0.25)[0],
        ref2global=ref2global,
        points=rng.uniform(-5, 5, (40, 3)),
        ray_origins=rng.uniform(-5, 5, (4, 3)).astype(np.float32),
        gt_occ=rng.integers(0, 17, GRID.shape).astype(np.uint8),
        gt_flow=rng.normal(size=(*GRID.shape, 2)).astype(np.float32),
        gt_visible=rng.random(GRID.shape) < 0.5,
        gt_depth=torch.ones(3, 80, 100),
        label_grid=GRID,
        label_spec=LabelSpec.named('openocc'),
    )
    if ref_aug is not None:
        results['ref_aug'] = ref_aug
    return results


def move(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize('ref_aug', ANY_FRAME)
def test_voxel_centres_stay_on_the_same_image_content(ref_aug):
    before, after = make_results(), fold(make_results(ref_aug))
    centers = GRID.centers(dtype=torch.float64).reshape(1, -1, 3)
    moved = torch.from_numpy(move(ref_aug, centers.numpy()))
    for key in ('rig', 'render_rig'):
        points = (centers, moved) if key == 'rig' else (centers[0], moved[0])
        uv, depth = before[key].project(points[0])
        new_uv, new_depth = after[key].project(points[1])
        seen = depth > 0.1
        torch.testing.assert_close(new_uv[seen], uv[seen])
        torch.testing.assert_close(new_depth, depth)
    # depth maps are true metres and stay
    assert torch.equal(after['gt_depth'], before['gt_depth'])


@pytest.mark.parametrize('ref_aug', ANY_FRAME)
def test_points_poses_and_origins_follow(ref_aug):
    before, after = make_results(), fold(make_results(ref_aug))
    for key in ('points', 'ray_origins'):
        np.testing.assert_allclose(
            move(after['ref2global'], after[key]),
            move(before['ref2global'], before[key]),
            rtol=0,
            atol=1e-9 if key == 'points' else 1e-5,
        )
        assert after[key].dtype == before[key].dtype
    assert after['ref2global'].dtype == np.float64


@pytest.mark.parametrize('ref_aug', ANY_FRAME)
def test_labels_and_flow_follow(ref_aug):
    before, after = make_results(), fold(make_results(ref_aug))
    # independent of fold: where is each new voxel in the old frame?
    new = GRID.centers(dtype=torch.float64).numpy()
    old = move(np.linalg.inv(ref_aug), new)
    index = np.floor((old - GRID.min) / GRID.size).astype(int)
    inside = ((index >= 0) & (index < GRID.shape)).all(axis=-1)
    assert 0.3 < inside.mean() < 1
    source = tuple(index[inside].T)
    for key, outside in dict(gt_occ=255, gt_visible=False).items():
        np.testing.assert_array_equal(after[key][inside], before[key][source])
        assert (after[key][~inside] == outside).all()
    # what moves for half a second arrives at the same place
    flow, new_flow = before['gt_flow'][source], after['gt_flow'][inside]
    arrived = old[inside]
    arrived[:, :2] += 0.5 * flow
    new_arrived = new[inside]
    new_arrived[:, :2] += 0.5 * new_flow
    np.testing.assert_allclose(move(ref_aug, arrived), new_arrived, atol=1e-6)
    assert (after['gt_flow'][~inside] == 0).all()
    assert after['gt_flow'].dtype == np.float32


@pytest.mark.parametrize('ref_aug', EXACT)
def test_flips_and_quarter_turns_are_exact(ref_aug):
    """There and back again, label by label."""
    before = make_results()
    there = fold(make_results(ref_aug))
    back = fold(dict(there, ref_aug=np.linalg.inv(ref_aug)))
    for key in ('gt_occ', 'gt_visible'):
        np.testing.assert_array_equal(back[key], before[key])
    np.testing.assert_allclose(back['gt_flow'], before['gt_flow'], atol=1e-6)
    assert (there['gt_occ'] != 255).all()
    torch.testing.assert_close(back['rig'].ref2cam, before['rig'].ref2cam)
    np.testing.assert_allclose(back['ref2global'], before['ref2global'])


def test_flips_by_hand():
    after = fold(make_results(aug_matrix(0, 1, True, False)))
    before = make_results()
    np.testing.assert_array_equal(after['gt_occ'], before['gt_occ'][::-1])
    mirrored = before['gt_flow'][::-1] * np.float32([-1, 1])
    np.testing.assert_array_equal(after['gt_flow'], mirrored)
    after = fold(make_results(aug_matrix(90, 1, False, False)))
    # what was ahead (last x) is now on the left (last y)
    expected = before['gt_occ'].transpose(1, 0, 2)[::-1]
    np.testing.assert_array_equal(after['gt_occ'], expected)
    np.testing.assert_array_equal(
        after['gt_occ'][0, -1], before['gt_occ'][-1, -1]
    )


@pytest.mark.parametrize('ref_aug', ANY_FRAME)
def test_augmenting_by_inverses_is_the_identity(ref_aug):
    """Labels are read once, through the product of all augmentations."""
    before = make_results()
    after = fold(make_results(np.linalg.inv(ref_aug) @ ref_aug))
    for key in ('gt_occ', 'gt_visible'):
        np.testing.assert_array_equal(after[key], before[key])
    np.testing.assert_allclose(after['gt_flow'], before['gt_flow'], atol=1e-6)


def test_draws_accumulate_within_their_ranges():
    np.random.seed(0)
    flips = np.zeros(2)
    for _ in range(200):
        aug = VolumeAug(rotate=22.5, scale=(0.9, 1.1), flip_x=0.5, flip_y=0.1)
        linear = aug({})['ref_aug'][:2, :2]
        flips += [linear[0, 0] < 0, linear[1, 1] < 0]
        scale = np.sqrt(abs(np.linalg.det(linear)))
        assert 0.9 <= scale <= 1.1
        assert abs(linear[0, 1]) <= scale * np.sin(np.radians(22.5)) + 1e-12
    assert 70 < flips[0] < 130 and 5 < flips[1] < 45
    still = VolumeAug()({})['ref_aug']
    np.testing.assert_array_equal(still, np.eye(4))
    # twice half a turn
    turned = dict(ref_aug=aug_matrix(30, 1, False, True))
    twice = VolumeAug(flip_y=1.0)(turned)['ref_aug']
    np.testing.assert_allclose(
        twice, aug_matrix(0, 1, False, True) @ aug_matrix(30, 1, False, True)
    )


def test_fold_leaves_its_input_alone():
    results = make_results(ANY_FRAME[1])
    occ, ref2cam = results['gt_occ'].copy(), results['rig'].ref2cam.clone()
    assert 'ref_aug' not in fold(results)
    np.testing.assert_array_equal(results['gt_occ'], occ)
    assert torch.equal(results['rig'].ref2cam, ref2cam)
