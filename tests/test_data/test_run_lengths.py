"""Offsets and cleaning of labels, by hand and through pipelines."""

import numpy as np
import pytest
import torch

from occsplat.data import NuScenesOccDataset
from occsplat.data.transforms import (
    CleanOccLabels,
    VolumeAug,
    VoxelRunLengths,
)
from occsplat.data.transforms.volume_aug import aug_matrix
from occsplat.ops import known_run_lengths
from occsplat.structures import LabelSpec, OccBatch, VoxelGrid

SPEC = LabelSpec.named('openocc')
CAR, ROAD, FREE = (SPEC.classes.index(c) for c in ('car', 'terrain', 'free'))
IGNORE = SPEC.ignore
#: voxels of 0.5 x 0.25 x 0.4 m
GRID = VoxelGrid(range=(0, 0, 0, 6, 2, 1.6), shape=(12, 8, 4))
#: the same range along x and y: may be turned
SQUARE = VoxelGrid(range=(-3, -3, -1, 3, 3, 3), shape=(12, 12, 8))
LOADERS = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadOccLabels', label_spec='occ3d'),
]


def results_of(occ, grid=GRID, **more):
    return dict(
        gt_occ=np.array(occ, np.uint8),
        label_grid=grid,
        label_spec=SPEC,
        ref2global=np.eye(4),
        **more,
    )


def random_results(grid, **more):
    rng = np.random.default_rng(0)
    values = np.array([CAR, ROAD, FREE, IGNORE])
    occ = values[rng.integers(0, 9, grid.shape) // 2 % 4]
    return results_of(
        occ, grid, gt_visible=rng.random(grid.shape) < 0.8, **more
    )


def free_volume(grid=GRID):
    return np.full(grid.shape, FREE, np.uint8)


def test_offsets_by_hand():
    occ = free_volume()
    occ[2:7, 2:4, 0:2] = CAR
    occ[7] = IGNORE
    results = VoxelRunLengths(stride=2)(results_of(occ))
    offsets, censored = results['gt_offsets'], results['gt_censored']
    assert offsets.dtype == torch.float32 and censored.dtype == torch.bool
    assert offsets.shape == censored.shape == (6, 6, 4, 2)
    # voxel (4, 2, 0): 3 and 3 of 0.5 m, 2 and 1 of 0.25 m, 2 and 1 of 0.4 m
    torch.testing.assert_close(
        offsets[:, 2, 1, 0], torch.tensor([1.5, 1.5, 0.5, 0.25, 0.8, 0.4])
    )
    assert censored[:, 2, 1, 0].tolist() == [True] + [False] * 5
    # free voxels have offsets, too: (8, 0, 0) up to the border and from it
    torch.testing.assert_close(
        offsets[:, 4, 0, 0], torch.tensor([2.0, 0.5, 2.0, 0.25, 1.6, 0.4])
    )
    assert censored[:, 4, 0, 0].tolist() == [False, True] + [False] * 4
    np.testing.assert_array_equal(results['gt_occ'], occ)


def test_unknown_cells_have_no_offsets():
    results = random_results(GRID)
    plain = VoxelRunLengths(stride=1)(dict(results))
    masked = VoxelRunLengths(stride=1, camera_mask=True)(dict(results))
    ignored = torch.from_numpy(results['gt_occ'] == IGNORE)
    unseen = torch.from_numpy(~results['gt_visible'])
    for made, unknown in ((plain, ignored), (masked, ignored | unseen)):
        assert torch.equal(made['gt_offsets'][0] == 0, unknown)
        assert not made['gt_censored'][:, unknown].any()
        assert made['gt_censored'].any()
    assert (masked['gt_offsets'] <= plain['gt_offsets']).all()


@pytest.mark.parametrize('stride', [1, 2])
def test_offsets_reach_the_face_of_the_run(stride):
    """The first voxel outside has its centre at centre + offset."""
    results = random_results(GRID)
    offsets = VoxelRunLengths(stride)(dict(results))['gt_offsets']
    occ = torch.from_numpy(results['gt_occ'])
    centers = GRID.strided(stride).centers()
    here = occ[::stride, ::stride, ::stride]
    for d in range(6):
        points = centers.clone()
        points[..., d // 2] += offsets[d] * (1 if d % 2 == 0 else -1)
        index, inside = GRID.locate(points)
        known = (here != IGNORE) & inside
        assert known.any()
        assert (occ[tuple(index[known].T)] != here[known]).all()


def channels(offsets, order):
    return offsets[list(order)]


@pytest.mark.parametrize(
    'mirror_x, mirror_y, order',
    [(True, False, (1, 0, 2, 3, 4, 5)), (False, True, (0, 1, 3, 2, 4, 5))],
)
def test_flips_swap_directions(mirror_x, mirror_y, order):
    flip = aug_matrix(0, 1.0, mirror_x, mirror_y)
    for key in ('gt_offsets', 'gt_censored'):
        before = VoxelRunLengths(1)(random_results(SQUARE))[key]
        after = VoxelRunLengths(1)(random_results(SQUARE, ref_aug=flip))[key]
        axis = 1 if mirror_x else 2
        assert torch.equal(after, channels(before, order).flip(axis))
        assert not torch.equal(after, before.flip(axis))


def test_quarter_turns_permute_directions():
    """What was ahead, x+, is on the left, y+; what was left is behind."""
    turn = aug_matrix(90, 1.0, False, False)
    for key in ('gt_offsets', 'gt_censored'):
        before = VoxelRunLengths(1)(random_results(SQUARE))[key]
        after = VoxelRunLengths(1)(random_results(SQUARE, ref_aug=turn))[key]
        moved = before.transpose(1, 2).flip(1)
        assert torch.equal(after, channels(moved, (3, 2, 0, 1, 4, 5)))


def test_labels_stay_in_the_frame_that_they_are_in():
    """They are moved once, with everything else, when they are packed."""
    results = random_results(SQUARE, ref_aug=aug_matrix(20, 1, True, False))
    after = VoxelRunLengths(2)(dict(results))
    assert after['gt_occ'] is results['gt_occ']
    assert after['ref_aug'] is results['ref_aug']
    # what was turned in from outside is unknown
    assert (after['gt_offsets'] == 0).any()


def test_wrong_offsets_are_refused():
    results = random_results(GRID)
    with pytest.raises(ValueError, match='stride must be .*at least 1, got 0'):
        VoxelRunLengths(stride=0)
    with pytest.raises(ValueError, match='VoxelRunLengths needs LoadOccL'):
        VoxelRunLengths()({})
    with pytest.raises(ValueError, match=r'\(12, 8, 4\) grid by 3'):
        VoxelRunLengths(stride=3)(dict(results))
    with pytest.raises(ValueError, match='put VoxelRunLengths after it'):
        VolumeAug()(VoxelRunLengths()(dict(results)))
    with pytest.raises(ValueError, match='put VoxelRunLengths after it'):
        CleanOccLabels()(VoxelRunLengths()(dict(results)))
    del results['gt_visible']
    with pytest.raises(ValueError, match='needs gt_visible'):
        VoxelRunLengths(camera_mask=True)(results)


# --- cleaning -------------------------------------------------------------


def cleaned(occ, grid=GRID, **scales):
    return CleanOccLabels(**scales)(results_of(occ, grid))['gt_occ']


def test_large_things_along_any_axis():
    occ = free_volume()
    occ[0:4, 0, 0] = CAR  # 2 m long
    occ[0:5, 3, 0] = CAR  # 2.5 m
    occ[8, :, 2] = CAR  # 2 m, across
    occ[0:6, 6, 0] = ROAD
    expected = occ.copy()
    expected[0:5, 3, 0] = IGNORE
    actual = cleaned(occ, max_scale=dict(car=2.1))
    np.testing.assert_array_equal(actual, expected)
    # at least, not more than
    expected[expected == CAR] = IGNORE
    actual = cleaned(occ, max_scale=dict(car=2.0))
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == np.uint8


def test_only_the_long_part_of_a_thing_goes():
    """The mask is one of voxels: a trail's wide start may stay."""
    occ = free_volume()
    occ[0:8, 2, 0] = CAR
    occ[0:2, 3, 0] = CAR
    expected = occ.copy()
    expected[0:8, 2, 0] = IGNORE
    actual = cleaned(occ, max_scale=dict(car=4.0))
    np.testing.assert_array_equal(actual, expected)


def test_small_things_along_all_axes():
    occ = free_volume()
    occ[1, 1, 1] = CAR  # a single voxel
    occ[5, 1, 0:3] = CAR  # 1.2 m high
    occ[9, 1, 1] = ROAD
    expected = occ.copy()
    expected[1, 1, 1] = IGNORE
    actual = cleaned(occ, min_scale=dict(car=0.6))
    np.testing.assert_array_equal(actual, expected)
    expected[9, 1, 1] = IGNORE
    actual = cleaned(occ, min_scale=dict(car=0.6, terrain=0.6))
    np.testing.assert_array_equal(actual, expected)
    # 0.5 m along x is not shorter than 0.5 m
    np.testing.assert_array_equal(cleaned(occ, min_scale=dict(car=0.5)), occ)


def test_lengths_are_exact_at_the_threshold():
    """15 voxels of 0.4 m are 6 m; so says the released code, too."""
    grid = SPEC.grid
    occ = free_volume(grid)
    occ[10:24, 0, 0] = CAR
    occ[30:45, 0, 0] = CAR
    actual = cleaned(occ, grid, max_scale=dict(car=6.0))
    assert (actual[10:24, 0, 0] == CAR).all()
    assert (actual[30:45, 0, 0] == IGNORE).all()


def test_noise_does_not_depend_on_the_augmentation():
    turn = aug_matrix(30, 0.8, False, True)
    plain, turned = (
        random_results(SQUARE),
        random_results(SQUARE, ref_aug=turn),
    )
    clean = CleanOccLabels(dict(car=0.7), dict(car=1.5))
    expected = clean(plain)['gt_occ']
    np.testing.assert_array_equal(clean(turned)['gt_occ'], expected)
    assert turned['ref_aug'] is turn
    assert (expected == CAR).any()
    assert (expected != random_results(SQUARE)['gt_occ']).any()


def test_offsets_are_those_of_cleaned_labels():
    occ = free_volume()
    occ[2:4, 2:4, 0:2] = CAR
    occ[8, 2, 0] = CAR
    results = CleanOccLabels(min_scale=dict(car=0.6))(results_of(occ))
    results = VoxelRunLengths(stride=2)(results)
    assert results['gt_offsets'][:, 4, 1, 0].tolist() == [0] * 6
    assert results['gt_censored'][0, 3, 1, 0]


def test_wrong_scales_are_refused():
    with pytest.raises(ValueError, match='max_scale must be .*above 0'):
        CleanOccLabels(max_scale=dict(car=0))
    with pytest.raises(ValueError, match='min_scale must be .*above 0'):
        CleanOccLabels(min_scale=dict(car=-1.0))
    with pytest.raises(ValueError, match='less than its max_scale, got 2 and'):
        CleanOccLabels(min_scale=dict(car=2), max_scale=dict(car=2))
    with pytest.raises(ValueError, match=r"openocc labels have no class \['x"):
        CleanOccLabels(max_scale=dict(x=2))(results_of(free_volume()))
    with pytest.raises(ValueError, match='CleanOccLabels needs LoadOccLabels'):
        CleanOccLabels()({})


# --- pipelines ------------------------------------------------------------


def pipeline_sample(root, *steps):
    np.random.seed(3)
    data = NuScenesOccDataset(
        str(root),
        'occsplat_infos_train.pkl',
        label_spec='occ3d',
        pipeline=[*LOADERS, *steps, dict(type='PackOccInputs')],
    )
    return data[0]['data_samples']


AUG = dict(type='VolumeAug', rotate=22.5, scale=(0.95, 1.05), flip_x=0.5)
RUNS = dict(type='VoxelRunLengths', stride=2, camera_mask=True)


def test_packed_offsets_are_those_of_packed_labels(minitown_infos):
    sample = pipeline_sample(minitown_infos, AUG, RUNS)
    spec = LabelSpec.named('occ3d')
    known = (sample.gt_occ != spec.ignore) & sample.gt_visible
    lengths, censored = known_run_lengths(sample.gt_occ, known, 2)
    assert (sample.gt_occ == spec.ignore).any()
    assert sample.gt_offsets.shape == (6, 100, 100, 8)
    torch.testing.assert_close(sample.gt_offsets, 0.4 * lengths.float())
    assert torch.equal(sample.gt_censored, censored)
    batch = OccBatch.collate([sample, sample])
    assert batch.gt_offsets.shape == batch.gt_censored.shape
    assert batch.gt_offsets.shape == (2, 6, 100, 100, 8)


def test_only_volume_aug_must_come_before(minitown_infos):
    """What is loaded behind VoxelRunLengths is in the same frame."""
    others = [
        dict(type='LoadLidarPoints'),
        dict(type='RenderViews', frames=(0, -1), scale=0.1),
        dict(type='LoadAdjacentFrames', frames=(-1,), scale=0.1),
        dict(type='LidarDepth'),
        dict(type='CleanOccLabels', max_scale=dict(car=3.0)),
    ]
    a = pipeline_sample(minitown_infos, AUG, *others, RUNS)
    b = pipeline_sample(minitown_infos, AUG, others[-1], RUNS, *others[:-1])
    for key in ('gt_occ', 'gt_depth', 'gt_offsets', 'gt_censored'):
        assert torch.equal(getattr(a, key), getattr(b, key)), key
    assert torch.equal(a.render_rig.ref2cam, b.render_rig.ref2cam)
    assert torch.equal(a.adjacent.frame2ref, b.adjacent.frame2ref)
    assert not torch.equal(
        a.gt_occ, pipeline_sample(minitown_infos, AUG).gt_occ
    )
