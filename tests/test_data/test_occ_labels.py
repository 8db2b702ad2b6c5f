"""LoadOccLabels: what is read, how it is pooled, what is refused."""

import numpy as np
import pytest
from little_drive import write_npz

from occsplat.data import DataError
from occsplat.data.transforms import LoadOccLabels
from occsplat.data.transforms.occ_labels import pool_labels
from occsplat.structures import LabelSpec

SPEC = LabelSpec.named('openocc')
SHAPE = SPEC.grid.shape
COARSE = dict(range=SPEC.grid.range, shape=(100, 100, 8))


@pytest.fixture
def results(tmp_path):
    """A frame with a car that drives at 3 m/s in voxel (10, 20, 3)."""
    occ = np.full(SHAPE, 16, np.uint8)
    flow = np.zeros((*SHAPE, 2), np.float16)
    seen = np.zeros(SHAPE, bool)
    occ[10, 20, 3], flow[10, 20, 3], seen[10:12, 20, 3] = 0, (3, -1), True
    paths = {
        f'{name}_path': tmp_path / name / 'labels.npz'
        for name in ('openocc', 'occ3d', 'visibility')
    }
    write_npz(paths['openocc_path'], semantics=occ, flow=flow)
    write_npz(paths['visibility_path'], ray_mask2=seen)
    other = np.where(occ == 16, 17, 4).astype(np.uint8)
    write_npz(
        paths['occ3d_path'],
        semantics=other,
        mask_lidar=seen.astype(np.uint8),
        mask_camera=seen.astype(np.uint8),
    )
    paths = {key: str(path) for key, path in paths.items()}
    return dict(
        token='t',
        scene_name='s',
        lidar_path='samples/LIDAR_TOP/x.pcd.bin',
        ref_frame='ego',
        **paths,
    )


def test_openocc(results):
    out = LoadOccLabels('openocc')(results)
    assert out['gt_occ'].dtype == np.uint8 and out['gt_occ'].shape == SHAPE
    assert out['gt_occ'][10, 20, 3] == 0 and (out['gt_occ'] != 16).sum() == 1
    assert out['gt_flow'].dtype == np.float32
    assert out['gt_flow'][10, 20, 3].tolist() == [3, -1]
    assert out['gt_visible'].sum() == 2
    assert out['label_grid'] == SPEC.grid


def test_occ3d_has_a_mask_and_no_flow(results):
    out = LoadOccLabels('occ3d')(results)
    assert out['gt_occ'][10, 20, 3] == 4
    assert out['gt_visible'].sum() == 2
    assert 'gt_flow' not in out


def test_masks_of_openocc_are_optional(results):
    results['visibility_path'] = None
    assert 'gt_visible' not in LoadOccLabels('openocc')(dict(results))
    with pytest.raises(FileNotFoundError, match='ray_mask/s/t.*use_camera'):
        LoadOccLabels('openocc', use_camera_mask=True)(results)


@pytest.mark.parametrize(
    'name, car, free', [('openocc', 0, 16), ('occ3d', 4, 17)]
)
def test_camera_mask_leaves_seen_voxels(results, name, car, free):
    occ = LoadOccLabels(name, use_camera_mask=True)(results)['gt_occ']
    assert (occ == 255).sum() == occ.size - 2
    assert occ[10, 20, 3] == car and occ[11, 20, 3] == free


def test_pooled_labels_of_a_frame(results):
    out = LoadOccLabels('openocc', grid=COARSE)(results)
    assert out['gt_occ'].shape == (100, 100, 8)
    assert np.argwhere(out['gt_occ'] != 16).tolist() == [[5, 10, 1]]
    assert out['gt_flow'].shape == (100, 100, 8, 2)
    assert out['gt_flow'][5, 10, 1].tolist() == [3, -1]
    assert np.argwhere(out['gt_visible']).tolist() == [[5, 10, 1]]
    assert out['label_grid'].shape == (100, 100, 8)


def test_pooling_where_nothing_moves():
    """Guards: such a frame could not be loaded."""
    occ = np.zeros((4, 4, 2), int)
    flow = np.zeros((*occ.shape, 2), np.float32)
    pooled = pool_labels(occ, flow, None, (2, 2, 1), SPEC)[1]
    assert pooled.shape == (2, 2, 2, 2) and not pooled.any()


def test_pooling_by_hand():
    occ = np.full((2, 2, 10), 16)
    flow = np.zeros((2, 2, 10, 2), np.float32)
    visible = np.zeros((2, 2, 10), bool)
    # voxel 0: one truck among free children wins; its flow alone counts
    occ[1, 0, 0], flow[1, 0, 0], flow[0, 0, 0] = 1, (4, 2), (9, 9)
    # voxel 1: two trees outvote one car, though 5 children are free
    occ[0, 0, 2] = occ[1, 1, 3] = 15
    occ[0, 1, 2], flow[0, 1, 2] = 0, (8, 8)
    visible[0, 1, 3] = True
    # voxel 2: a draw between 3 (bus) and 7; flow is the mean of the buses
    occ[0, 0, 4:6], occ[1, 1, 4:6] = 7, 3
    flow[1, 1, 4], flow[1, 1, 5] = (2, 0), (4, 2)
    # voxel 3: ignored children do not vote; free stays free
    occ[:, :, 6] = 255
    # voxel 4: nothing but ignored children
    occ[:, :, 8:] = 255
    out, out_flow, out_visible = pool_labels(
        occ, flow, visible, (2, 2, 2), SPEC
    )
    assert out.shape == (1, 1, 5) and out.dtype == np.uint8
    assert out[0, 0].tolist() == [1, 15, 3, 16, 255]
    assert out_flow[0, 0, 0].tolist() == [4, 2]
    assert out_flow[0, 0, 1].tolist() == [0, 0]
    assert out_flow[0, 0, 2].tolist() == [3, 1]
    assert out_visible[0, 0].tolist() == [False, True, False, False, False]


def test_pooling_needs_a_grid_that_divides():
    for grid in (
        dict(range=SPEC.grid.range, shape=(90, 100, 8)),
        dict(range=(-50, -40, -1, 40, 40, 5.4), shape=(100, 100, 8)),
    ):
        with pytest.raises(ValueError, match='cannot be pooled'):
            LoadOccLabels('openocc', grid=grid)


def test_labels_that_were_never_there(results):
    results['openocc_path'] = None
    match = r"'t' has no OpenOcc labels: expected .*openocc_v2/s/t/labels\.npz"
    with pytest.raises(FileNotFoundError, match=match):
        LoadOccLabels('openocc')(results)
    results['openocc_path'] = '/nowhere/labels.npz'
    with pytest.raises(FileNotFoundError, match='/nowhere/labels.npz'):
        LoadOccLabels('openocc')(results)


@pytest.mark.parametrize('keep', [0, 10, 200, -100])
def test_damaged_archives(results, keep):
    with open(results['openocc_path'], 'rb') as file:
        content = file.read()
    with open(results['openocc_path'], 'wb') as file:
        file.write(content[:keep])
    with pytest.raises(ValueError, match=r'openocc/labels\.npz is damaged'):
        LoadOccLabels('openocc')(results)


def test_flipped_bytes(results):
    with open(results['openocc_path'], 'r+b') as file:
        file.seek(300)
        file.write(b'\xff' * 64)
    with pytest.raises(ValueError, match=r'openocc/labels\.npz is damaged'):
        LoadOccLabels('openocc')(results)


@pytest.mark.parametrize(
    'arrays, match',
    [
        (dict(semantics=np.zeros((2, 2, 2))), r"expected.*'flow'.*got"),
        (
            dict(semantics=np.zeros((2, 2, 2)), flow=np.zeros((*SHAPE, 2))),
            r'semantics of shape \(200, 200, 16\), got \(2, 2, 2\)',
        ),
        (
            dict(
                semantics=np.full(SHAPE, 17, np.uint8),
                flow=np.zeros((*SHAPE, 2), np.float16),
            ),
            r'unknown class ids \[17\].*0\.\.16',
        ),
        (
            dict(
                semantics=np.full(SHAPE, 16, np.uint8),
                flow=np.full((*SHAPE, 2), np.nan, np.float16),
            ),
            'not finite',
        ),
        (
            dict(
                semantics=np.array([{}], dtype=object),
                flow=np.zeros((*SHAPE, 2), np.float16),
            ),
            'damaged',
        ),
    ],
)
def test_labels_of_another_kind(results, tmp_path, arrays, match):
    write_npz(tmp_path / 'openocc/labels.npz', **arrays)
    with pytest.raises(ValueError, match=match):
        LoadOccLabels('openocc')(results)


def rewrite(path, **changed):
    """Replace arrays of a label file."""
    arrays = {**np.load(path), **changed}
    np.savez_compressed(path, **arrays)


MASK = np.ones(SHAPE, np.uint8)


@pytest.mark.parametrize(
    'mask',
    [
        2 * MASK,
        255 * MASK,
        np.where(np.arange(16) == 3, -1, MASK),
        MASK * 0.5,
        np.full(SHAPE, np.nan),
        MASK.astype(str),
    ],
)
@pytest.mark.parametrize(
    'name, key, field',
    [
        ('occ3d', 'occ3d_path', 'mask_camera'),
        ('openocc', 'visibility_path', 'ray_mask2'),
    ],
)
def test_masks_hold_0_and_1(results, name, key, field, mask):
    rewrite(results[key], **{field: mask})
    match = f'{results[key]}: {field} holds .*expected a mask'
    with pytest.raises(DataError, match=match):
        LoadOccLabels(name)(results)


@pytest.mark.parametrize('kind', [bool, np.uint8, np.int64])
def test_masks_of_any_whole_type(results, kind):
    seen = LoadOccLabels('occ3d')(dict(results))['gt_visible']
    rewrite(results['occ3d_path'], mask_camera=seen.astype(kind))
    back = LoadOccLabels('occ3d')(results)['gt_visible']
    assert back.dtype == bool
    np.testing.assert_array_equal(back, seen)


@pytest.mark.parametrize(
    'arrays, match',
    [
        (dict(semantics=np.ones(SHAPE, bool)), 'semantics are bool'),
        (dict(semantics=np.full(SHAPE, 3.5)), 'semantics are float64'),
        (dict(semantics=np.ones(SHAPE, np.float32)), 'are float32'),
        (dict(semantics=np.full(SHAPE, 'car')), 'semantics are <U3'),
        (dict(semantics=np.full(SHAPE, -1)), r'unknown class ids \[-1\]'),
        (dict(semantics=np.full(SHAPE, 272)), r'unknown class ids \[272\]'),
        (dict(flow=np.zeros((*SHAPE, 2), int)), 'flow is int64'),
        (dict(flow=np.zeros((*SHAPE, 2), bool)), 'flow is bool'),
        (dict(flow=np.zeros((*SHAPE, 3))), 'flow of shape'),
    ],
)
def test_arrays_of_another_type(results, arrays, match):
    rewrite(results['openocc_path'], **arrays)
    with pytest.raises(DataError, match=f'{results["openocc_path"]}.*{match}'):
        LoadOccLabels('openocc')(results)
