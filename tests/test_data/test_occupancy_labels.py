"""Labels of one's own, from sweeps, poses and boxes."""

import shutil

import numpy as np
import pytest

from occsplat.data import DataError, NuScenesOccDataset
from occsplat.data.accumulation import (
    UNKNOWN,
    Cloud,
    from_box,
    gather,
    to_box,
)
from occsplat.data.info_files import load_infos, records_of
from occsplat.data.occupancy_labels import (
    GAP,
    close_ground,
    create_occupancy,
    vote,
)
from occsplat.data.sets.occ3d import SPEC
from occsplat.data.transforms import LoadOccLabels
from occsplat.structures import VoxelGrid

ID = {name: i for i, name in enumerate(SPEC.classes)}
INFO = 'occsplat_infos_train.pkl'


def test_a_box_has_its_own_frame():
    box = np.array([10.0, 5.0, 1.0, 4.0, 2.0, 1.5, np.pi / 2], np.float32)
    ahead = np.array([[10.0, 7.0, 1.0]], np.float32)  # its front is at +y
    np.testing.assert_allclose(to_box(ahead, box), [[2, 0, 0]], atol=1e-6)
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.testing.assert_allclose(
        from_box(to_box(points, box), box), points, atol=1e-5
    )


def pose(x, y, yaw):
    matrix = np.eye(4)
    cos, sin = np.cos(yaw), np.sin(yaw)
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    matrix[:2, 3] = x, y
    return matrix


def test_things_gather_in_their_boxes_and_the_rest_where_it_stands():
    """A car that drives and turns, seen by one that does, too."""
    corners = np.array([[1.5, 0.5, 0.2], [-1.5, -0.5, 0.2]], np.float32)
    wall = np.array([[20.0, 8.0, 1.0]])
    records, sweeps = [], {}
    for i in range(3):
        ref2global = pose(100 + 2.0 * i, 50, 0.1 * i)
        lidar2ref = np.eye(4)
        lidar2ref[:3, 3] = 0.9, 0.0, 1.8
        lidar2global = ref2global @ lidar2ref
        car = pose(110, 55 + 3.0 * i, 1.0 + 0.3 * i)
        in_lidar = np.linalg.inv(lidar2global) @ car
        yaw = np.arctan2(in_lidar[1, 0], in_lidar[0, 0])
        box = np.array([*in_lidar[:3, 3], 4, 2, 1.5, yaw], np.float32)
        # each frame sees another part of the car
        seen = from_box(corners[[i % 2]], box)
        still = np.linalg.inv(lidar2global) @ [*(wall[0] + [100, 50, 0]), 1]
        own_roof = np.array([[0.0, 0.0, -0.3]])  # below the LiDAR
        points = np.vstack([seen, still[None, :3], own_roof])
        token = f't{i}'
        sweeps[token] = Cloud(
            points.astype(np.float32), np.array([4, 15, 0], np.uint8)
        )
        records.append(
            dict(
                token=token,
                ref2global=ref2global,
                lidar2ref=lidar2ref,
                boxes=box[None],
                box_instances=['the car'],
            )
        )
    scene = gather(records, lambda record: sweeps[record['token']])
    assert list(scene.objects) == ['the car']
    expected = corners[[0, 1, 0]]
    np.testing.assert_allclose(
        scene.objects['the car'].points, expected, atol=1e-4
    )
    # the wall three times at one place; the recording car not at all
    assert len(scene.background.points) == 3
    np.testing.assert_allclose(
        scene.background.points, np.tile(wall + [100, 50, 0], (3, 1)),
        atol=1e-4,
    )  # fmt: skip
    assert (scene.background.classes == 15).all()


def test_a_voxel_takes_the_class_of_most_points():
    grid = VoxelGrid((0, 0, 0, 4, 4, 4), (4, 4, 4))
    places = [(0, 0, 0)] * 3 + [(1, 0, 0)] * 4 + [(2, 0, 0)] * 2 + [(3, 3, 3)]
    classes = [4, 9, 9, 9, 4, 9, 4, UNKNOWN, 7, UNKNOWN]
    points = np.array([*places, (9, 9, 9)], np.float32) + 0.5
    occ = vote(Cloud(points, np.array([*classes, 3], np.uint8)), grid)
    assert occ[0, 0, 0] == 9
    assert occ[1, 0, 0] == 4  # as many of 9: the lowest id
    assert occ[2, 0, 0] == 7  # what is known outvotes what is not
    assert occ[3, 3, 3] == ID['others']
    assert (occ != SPEC.free).sum() == 4


@pytest.mark.parametrize('axis', [0, 1])
def test_short_gaps_in_the_ground_are_closed(axis):
    road, free = ID['driveable_surface'], SPEC.free
    occ = np.full((30, 30, 4), free, np.uint8)
    line = occ.swapaxes(0, axis)[:, 7]  # (30, 4), a view
    line[2, 1] = road
    line[2 + GAP, 2] = ID['sidewalk']  # a step of one layer
    line[2 + 2 * GAP + 1, 2] = road  # too far from the one before
    line[4, 1] = ID['car']  # stands in the gap
    line[2 + 2 * GAP + 3, 0] = road  # two layers down
    closed = close_ground(occ).swapaxes(0, axis)[:, 7]
    expected = line.copy()
    expected[3 : 2 + GAP, 1] = road
    expected[4, 1] = ID['car']
    assert np.array_equal(closed, expected)
    assert (close_ground(occ) != free).sum() == (expected != free).sum()


@pytest.fixture(scope='module')
def made(minitown_infos, tmp_path_factory):
    """Labels made of the small town's sweeps."""
    out = tmp_path_factory.mktemp('made')
    create_occupancy(minitown_infos, 'v1.0-mini', INFO, out, progress=False)
    return out


def labels_of(root, record, key, folder=None, **changes):
    place = record[key]
    if folder is not None:
        place = str(folder / place.removeprefix(f'{root}/'))
    return LoadOccLabels(key.removesuffix('_path'))(
        {**record, key: place, **changes}
    )


def test_a_town_is_found_again(made, minitown_infos):
    """Four sweeps of a small town against its true labels."""
    dataset = NuScenesOccDataset(minitown_infos, INFO, 'occ3d', cameras=None)
    right, turned = [], []
    for index in range(len(dataset)):
        record = dataset.get_data_info(index)
        truth, mine = (
            labels_of(minitown_infos, record, 'occ3d_path', folder)
            for folder in (None, made)
        )
        occ = mine['gt_occ']
        right.append(agreement(truth, occ))
        turned.append(agreement(truth, occ.swapaxes(0, 1)))
        assert (truth['gt_visible'] & mine['gt_visible']).sum() > 0.5 * (
            truth['gt_visible'] | mine['gt_visible']
        ).sum()
        true_flow, flow = (
            labels_of(
                minitown_infos, record, 'openocc_path', folder,
                visibility_path=None,
            )['gt_flow']
            for folder in (None, made)
        )  # fmt: skip
        moves = true_flow.any(-1) & flow.any(-1)
        # half floats, and a velocity is that of a box
        np.testing.assert_allclose(flow[moves], true_flow[moves], atol=2e-2)
    # four sweeps are thin; a frame or an axis that is another shows
    assert np.mean(right) > 0.35 > 2 * np.mean(turned)


def agreement(truth, occ):
    """Same class, over what is occupied in either and seen in truth."""
    seen, free = truth['gt_visible'], SPEC.free
    either = seen & ((truth['gt_occ'] != free) | (occ != free))
    return (truth['gt_occ'] == occ)[either].mean()


def test_classes_come_from_boxes_without_lidarseg(
    minitown_infos, tmp_path, made
):
    for path in minitown_infos.iterdir():
        (tmp_path / path.name).symlink_to(path)
    tables = tmp_path / 'v1.0-mini'
    tables.unlink()
    shutil.copytree(minitown_infos / 'v1.0-mini', tables)
    (tables / 'lidarseg.json').unlink()
    out = tmp_path / 'out'
    create_occupancy(tmp_path, 'v1.0-mini', INFO, out, progress=False)
    infos = load_infos(tmp_path / INFO)
    record = records_of(infos, INFO, tmp_path, 'ego', cameras=None)[0]
    bare = labels_of(tmp_path, record, 'occ3d_path', out)['gt_occ']
    full = labels_of(tmp_path, record, 'occ3d_path', made)['gt_occ']
    found = set(np.unique(bare).tolist())
    assert ID['others'] in found and ID['driveable_surface'] not in found
    cars = bare == ID['car']
    assert cars.any() and np.array_equal(cars, full == ID['car'])


def test_labels_that_are_there_are_not_written_over(minitown_infos):
    with pytest.raises(DataError, match='Occ3D labels already.*--out'):
        create_occupancy(minitown_infos, 'v1.0-mini', INFO)


def test_a_root_without_labels_gets_them(made, minitown_infos, tmp_path):
    for path in minitown_infos.iterdir():
        if path.name not in ('gts', 'openocc_v2', 'openocc_v2_ray_mask'):
            (tmp_path / path.name).symlink_to(path)
    infos = load_infos(minitown_infos / INFO)
    for info in infos['data_list']:
        for key in ('occ3d_path', 'openocc_path', 'visibility_path'):
            info[key] = None
    (tmp_path / INFO).unlink()
    from occsplat.data.info_files import write_infos

    write_infos(tmp_path / INFO, infos)
    create_occupancy(tmp_path, 'v1.0-mini', INFO, progress=False)
    dataset = NuScenesOccDataset(
        tmp_path,
        INFO,
        'openocc',
        pipeline=[dict(type='LoadOccLabels', label_spec='openocc')],
    )
    frame = dataset[0]
    assert frame['gt_visible'].any() and frame['gt_flow'].shape[-1] == 2
    same = labels_of(tmp_path, frame, 'openocc_path', made)
    assert np.array_equal(frame['gt_occ'], same['gt_occ'])
