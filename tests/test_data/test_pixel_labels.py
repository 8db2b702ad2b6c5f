"""LoadPixelLabels: which pixels, whose classes, in which frame."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import points_in_box
from scipy.spatial import cKDTree

from occsplat.data import DataError
from occsplat.data.frame_records import frame_record
from occsplat.data.info_files import read_infos
from occsplat.data.pixel_files import (
    SweepPixels,
    read_packed,
    read_renderocc,
    write_packed,
)
from occsplat.data.transforms import LoadLidarPoints, LoadPixelLabels
from occsplat.structures import LabelSpec, OccBatch

SPEC = LabelSpec.named('occ3d')
OCC3D = dict(label_spec='occ3d')
TURNED = dict(type='VolumeAug', rotate=30.0, scale=(0.9, 1.1), flip_x=0.5)


def make_dataset(root, aug=False, split='train', **options):
    """Nothing but images and pixels."""
    return DATASETS.build(
        dict(
            type='NuScenesOccDataset',
            data_root=str(root),
            ann_file=f'occsplat_infos_{split}.pkl',
            label_spec='occ3d',
            pipeline=[
                dict(type='LoadMultiViewImages'),
                dict(type='ImageAug', size=(64, 32), flip=True),
                dict(type='LoadPixelLabels', **{**OCC3D, **options}),
                *([dict(TURNED, flip_y=0.5)] if aug else []),
                dict(type='PackOccInputs'),
            ],
        )
    )


def labels_of(root, index, aug=False, split='train', **options):
    dataset = make_dataset(root, aug, split, **options)
    return dataset[index]['data_samples'].pixel_labels


def moved(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def record_of(root, index, split='train'):
    info = read_infos(root, split)['data_list'][index]
    return frame_record(info, root, SPEC.frame)


def nearest_map(rig, points, max_depth):
    """Depth images (N, H, W) of points, pixel by pixel."""
    uv, depth = (x.double().numpy() for x in rig.project(points))
    images = np.full((rig.num_cameras, rig.height, rig.width), np.inf)
    for n, image in enumerate(images):
        size = rig.width, rig.height
        keep = ((uv[n] >= 0) & (uv[n] < size)).all(axis=1)
        keep &= (depth[n] > 1) & (depth[n] <= max_depth)
        column, row = np.floor(uv[n][keep]).astype(int).T
        np.minimum.at(image, (row, column), depth[n][keep])
    return images


def check_frame(labels, m, points, moved_over=0.004):
    """Frame m's pixels are the nearest of the points, seen by its rig.

    A few returns change the pixel: in single precision, or as the file's
    rounding and a scale like 0.3 do not divide each other.
    """
    truth = nearest_map(labels.rig[m], points, 52.0)
    index = labels.index[labels.index[:, 0] == m]
    depth = labels.depth[labels.index[:, 0] == m].double().numpy()
    found = np.full_like(truth, np.inf)
    found[tuple(index[:, 1:].T.numpy())] = depth
    assert len(index) == np.isfinite(found).sum() > 1000, 'one per pixel'
    same = np.isclose(found, truth, rtol=0, atol=1 / 256)
    assert (~same).sum() <= moved_over * len(index)
    return (~same).sum()


@pytest.mark.parametrize('scale', [1.0, 0.5, 0.3])
def test_one_label_a_pixel_and_the_nearest_wins(scale, minitown_lidar2d):
    root = minitown_lidar2d
    labels = labels_of(root, 1, scale=scale)
    points = LoadLidarPoints()(record_of(root, 1))['points']
    size = round(160 * scale), round(90 * scale)
    assert (labels.rig.width, labels.rig.height) == size
    moved_over = 0.02 if scale == 0.3 else 0.004
    check_frame(labels, 0, torch.from_numpy(points).float(), moved_over)
    assert labels.depth.min() > 1 and labels.depth.max() <= 52
    near = labels_of(root, 1, scale=scale, max_depth=10.0)
    assert near.depth.max() <= 10 and len(near) < len(labels)


def test_classes_are_those_of_the_nearest_return(minitown_lidar2d):
    labels = labels_of(minitown_lidar2d, 1, scale=0.25, max_depth=1e3)
    pixels = read_packed(record_of(minitown_lidar2d, 1)['lidar2d_path'])
    place = np.column_stack(
        [pixels.camera, np.floor(pixels.uv[:, ::-1] / 4).astype(int)]
    )
    truth = {}
    for key, depth, label in zip(place, pixels.depth, pixels.label):
        truth[tuple(key)] = min(truth.get(tuple(key), (1e9,)), (depth, label))
    # 90 / 4 is not whole: 22 rows are left
    truth = {key: pair for key, pair in truth.items() if key[1] < 22}
    assert 500 < len(truth) == len(labels) < len(pixels) / 2
    for (_, *key), depth, label in zip(
        labels.index.tolist(), labels.depth.tolist(), labels.label.tolist()
    ):
        assert truth[tuple(key)] == (pytest.approx(depth), label)


@pytest.mark.parametrize('aug', [False, True])
def test_other_frames_returns_land_where_they_are(aug, minitown_lidar2d):
    """Through the global frame, whatever the augmentation."""
    root, wrong = minitown_lidar2d, 0
    np.random.seed(3)
    dataset = make_dataset(root, aug, frames=(0, 1, -1))
    for _ in range(4 if aug else 1):
        sample = dataset[1]['data_samples']
        labels = sample.pixel_labels
        assert labels.index.dtype == labels.label.dtype == torch.int64
        assert labels.depth.dtype == labels.rig.K.dtype == torch.float32
        assert labels.frame2ref.dtype == labels.dt.dtype == torch.float32
        assert labels.moving.dtype == torch.bool
        assert labels.dt.tolist() == pytest.approx([0, 0.5, -0.5], abs=0.1)
        assert (labels.index[:, 0].diff() >= 0).all()
        assert labels.index[:, 0].unique().tolist() == [0, 1, 2]
        global2ref = np.linalg.inv(sample.ref2global)
        for m, index in enumerate((1, 2, 0)):
            record = record_of(root, index)
            own = LoadLidarPoints()(record)['points']
            points = moved(global2ref @ record['ref2global'], own)
            points = torch.from_numpy(points).float()
            wrong += check_frame(labels, m, points)
            # the way that the structure itself names
            there = moved(labels.frame2ref[m], torch.from_numpy(own).float())
            torch.testing.assert_close(there, points, rtol=0, atol=2e-3)
    assert wrong < 40


@pytest.mark.parametrize('aug', [False, True])
def test_back_projected_pixels_are_on_the_augmented_returns(
    aug, minitown_lidar2d
):
    np.random.seed(5)
    sample = make_dataset(minitown_lidar2d, aug)[1]['data_samples']
    labels = sample.pixel_labels
    _, camera, row, column = labels.index.T
    ray = torch.stack([column + 0.5, row + 0.5, torch.ones(len(row))], -1)
    ray = torch.linalg.solve(labels.rig.image_K[0, camera], ray)
    local = torch.cat(
        [ray * labels.depth[:, None], torch.ones(len(row), 1)], 1
    )
    points = labels.rig.cam2ref[0, camera] @ local[..., None]
    points = points[:, :3, 0].double().numpy()
    record = record_of(minitown_lidar2d, 1)
    forth = np.linalg.inv(sample.ref2global) @ record['ref2global']
    own = moved(forth, LoadLidarPoints()(record)['points'])
    gap, _ = cKDTree(own).query(points)
    # half a pixel of 1/125 rad at up to 52 m, and up to 1.1 times that
    assert gap.max() < 0.4 and np.median(gap) < 0.05


def test_a_frame_beyond_the_scene_has_no_pixel(minitown_lidar2d):
    frames = dict(frames=(0, -1, 1))
    labels = labels_of(minitown_lidar2d, 0, **frames)
    assert labels.num_frames == 3
    assert labels.dt[1] == 0 < labels.dt[2]
    assert labels.index[:, 0].unique().tolist() == [0, 2]
    torch.testing.assert_close(labels.frame2ref[1], torch.eye(4))
    assert torch.equal(labels.rig.ref2cam[1], labels.rig.ref2cam[0])
    alone = labels_of(minitown_lidar2d, 0)
    first = labels.chosen(labels.index[:, 0] == 0)
    assert torch.equal(first.index, alone.index)
    assert torch.equal(first.label, alone.label)


def test_what_moves_is_what_the_tables_say(minitown_lidar2d, minitown_root):
    nusc = NuScenes('v1.0-mini', str(minitown_root), verbose=False)
    total = still = 0
    for split in ('train', 'val'):
        for i, sample in enumerate(
            make_dataset(minitown_lidar2d, False, split)
        ):
            labels = sample['data_samples'].pixel_labels
            record = record_of(minitown_lidar2d, i, split)
            tables = nusc.get('sample', record['token'])
            points = LoadLidarPoints()(dict(record))['points']
            points = moved(record['ref2global'], points).T
            fast, slow = np.zeros((2, points.shape[1]), bool)
            for token in tables['anns']:
                box = nusc.get_box(token)
                speed = np.linalg.norm(nusc.box_velocity(token))
                # boxes are exact here, and returns on their surface
                inside = points_in_box(box, points, wlh_factor=1.02)
                (fast if speed > 0.5 else slow)[inside] = True
            rig, size = labels.rig[0], (160, 90)
            local = moved(np.linalg.inv(record['ref2global']), points.T)
            hits = nearest_owner(rig, local, size, fast, slow)
            flag = np.zeros((6, size[1], size[0]), bool)
            flag[tuple(labels.index[labels.moving][:, 1:].T.numpy())] = True
            # all of it, and next to nothing that the tables don't say
            assert (flag & hits[0]).sum() >= 0.99 * hits[0].sum()
            assert not (flag & hits[1]).any()
            assert (flag & ~hits[0]).sum() <= 2 + 0.1 * hits[0].sum()
            total += hits[0].sum()
            still += hits[1].sum()
    assert total > 100 and still > 100


def nearest_owner(rig, points, size, *flags):
    """For each flag, pixels whose nearest return within 52 m has it."""
    uv, depth = (
        x.double().numpy()
        for x in rig.project(torch.from_numpy(points).float())
    )
    images = np.zeros((len(flags), rig.num_cameras, size[1], size[0]), bool)
    for n in range(rig.num_cameras):
        keep = ((uv[n] >= 0) & (uv[n] < size)).all(axis=1)
        keep = np.flatnonzero(keep & (depth[n] > 1) & (depth[n] <= 52))
        # far ones first: what comes later is written over them
        keep = keep[np.argsort(-depth[n, keep])]
        column, row = np.floor(uv[n, keep]).astype(int).T
        for image, flag in zip(images, flags):
            image[n, row, column] = flag[keep]
    return images


def small_root(source, target, split='train'):
    """A root with own infos and 2D labels."""
    for path in source.iterdir():
        if path.name == 'lidar2d':
            shutil.copytree(path, target / path.name)
        elif path.is_dir():
            (target / path.name).symlink_to(path)
        else:
            shutil.copy(path, target)
    return target


def changed_infos(root, change):
    infos = read_infos(root, 'train')
    for info in infos['data_list']:
        change(info)
    with open(root / 'occsplat_infos_train.pkl', 'wb') as file:
        pickle.dump(infos, file)


def moving_pixels(root, **options):
    """How many there are in all of train."""
    dataset = make_dataset(root, **options)
    return sum(
        sample['data_samples'].pixel_labels.moving.sum() for sample in dataset
    )


def test_without_boxes_or_speeds_nothing_moves(minitown_lidar2d, tmp_path):
    root = small_root(minitown_lidar2d, tmp_path)
    assert moving_pixels(root) > 0

    def forget_speeds(info):
        for thing in info['instances']:
            thing['velocity'] = [float('nan')] * 2

    changed_infos(root, forget_speeds)
    assert moving_pixels(root) == 0
    changed_infos(root, lambda info: info.pop('instances'))
    assert moving_pixels(root) == 0


def test_speed_is_compared_with_the_option(minitown_lidar2d):
    counts = [
        moving_pixels(minitown_lidar2d, min_speed=speed)
        for speed in (0.5, 8.0, 100.0)
    ]
    assert counts[0] > counts[1] >= counts[2] == 0


def test_ids_of_other_label_sets_go_by_name(minitown_lidar2d):
    occ3d = labels_of(minitown_lidar2d, 1)
    openocc = labels_of(minitown_lidar2d, 1, label_spec='openocc')
    known = occ3d.label != SPEC.classes.index('others')
    names = LabelSpec.named('openocc').classes
    assert [names[i] for i in openocc.label] == [
        SPEC.classes[i] for i in occ3d.label[known]
    ]
    assert torch.equal(openocc.index, occ3d.index[known])


def with_others(source, target):
    """A root whose first file has as many 'others' as cars."""
    root = small_root(source, target)
    path = record_of(root, 0)['lidar2d_path']
    pixels = read_packed(path)
    pixels.label[::2] = 0
    pixels.label[1::2] = 4
    write_packed(root / path, pixels)
    return root


def test_others_may_be_left_out(minitown_lidar2d, tmp_path):
    root = with_others(minitown_lidar2d, tmp_path)
    assert set(labels_of(root, 0).label.tolist()) == {0, 4}
    kept = labels_of(root, 0, ignore_others=True).label
    assert set(kept.tolist()) == {4}
    # OpenOcc has no such class
    kept = labels_of(root, 0, label_spec='openocc').label
    assert set(kept.tolist()) == {0}


def write_renderocc(root, folder, split='train'):
    """The files of RenderOcc from the same projection, unrounded."""
    for info in read_infos(root, split)['data_list']:
        record = frame_record(info, root)
        pixels = read_packed(record['lidar2d_path'])
        for n, image in enumerate(record['img_paths']):
            mine = pixels.camera == n
            rows = np.column_stack([pixels.uv, pixels.depth])[mine]
            name = image.rsplit('/')[-1] + '.bin'
            for kind, last in (
                ('depth_gt', rows[:, 2]),
                ('seg_gt_lidarseg', pixels.label[mine]),
            ):
                path = folder / kind / name
                path.parent.mkdir(exist_ok=True)
                table = np.column_stack([rows[:, :2], last])
                table.astype(np.float32).tofile(path)
    return folder


@pytest.fixture
def renderocc(minitown_lidar2d, tmp_path):
    folder = tmp_path / 'renderocc'
    folder.mkdir()
    return write_renderocc(minitown_lidar2d, folder)


@pytest.mark.parametrize('scale', [1.0, 0.25])
def test_renderoccs_files_say_the_same(scale, renderocc, minitown_lidar2d):
    options = dict(frames=(0, 1), scale=scale)
    packed = labels_of(minitown_lidar2d, 1, **options)
    theirs = labels_of(
        minitown_lidar2d, 1, renderocc_root=str(renderocc), **options
    )
    assert torch.equal(theirs.index, packed.index)
    assert torch.equal(theirs.label, packed.label)
    assert torch.equal(theirs.moving, packed.moving)
    torch.testing.assert_close(theirs.depth, packed.depth)


def test_damaged_files_of_renderocc_are_named(renderocc, minitown_lidar2d):
    images = record_of(minitown_lidar2d, 0)['img_paths']
    image = images[2].rsplit('/')[-1]
    depth = renderocc / 'depth_gt' / f'{image}.bin'
    label = renderocc / 'seg_gt_lidarseg' / f'{image}.bin'
    good = {path: path.read_bytes() for path in (depth, label)}

    def load():
        read_renderocc(renderocc, images, (160, 90))

    def table(path):
        return np.frombuffer(good[path], np.float32).reshape(-1, 3).copy()

    load()
    depth.write_bytes(good[depth][:-1])
    with pytest.raises(DataError, match=f'{depth} has .* bytes.*of 12'):
        load()
    depth.write_bytes(good[depth][:-12])
    with pytest.raises(DataError, match=f'{label} .*not of the same returns'):
        load()
    depth.write_bytes(table(depth)[::-1].tobytes())
    with pytest.raises(DataError, match=f'{label} .*not of the same returns'):
        load()
    depth.write_bytes(good[depth])
    for value, message in ((3.5, 'whole class ids'), (17, 'make no sense')):
        rows = table(label)
        rows[5, 2] = value
        label.write_bytes(rows.tobytes())
        with pytest.raises(DataError, match=message):
            load()
    # u and v swapped: the images are wider than they are high
    for path in (depth, label):
        path.write_bytes(table(path)[:, [1, 0, 2]].tobytes())
    with pytest.raises(DataError, match='make no sense'):
        load()
    label.unlink()
    with pytest.raises(FileNotFoundError, match=f'{label} is missing'):
        load()


def test_what_is_missing_or_of_another_size_is_told(
    minitown_lidar2d, tmp_path
):
    root = small_root(minitown_lidar2d, tmp_path)
    path = root / read_infos(root, 'train')['data_list'][0]['lidar2d_path']
    pixels = read_packed(str(path))
    sizes = pixels.sizes * 2
    write_packed(path, SweepPixels(**{**vars(pixels), 'sizes': sizes}))
    with pytest.raises(DataError, match=f'{path} was made for.*320, 180'):
        labels_of(root, 0)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f'{path} is missing'):
        labels_of(root, 0)
    changed_infos(root, lambda info: info.update(lidar2d_path=None))
    with pytest.raises(FileNotFoundError, match='create_data.py lidar2d'):
        labels_of(root, 0)


def test_batches_keep_one_set_a_sample(minitown_lidar2d):
    dataset = make_dataset(minitown_lidar2d)
    batch = OccBatch.collate([dataset[i]['data_samples'] for i in range(2)])
    assert len(batch.pixel_labels) == 2
    assert len({len(labels) for labels in batch.pixel_labels}) == 2


@pytest.mark.parametrize(
    'wrong',
    [
        dict(frames=()),
        dict(frames=(1, 0)),
        dict(frames=(0, 1, 0)),
        dict(frames=(0, 1, 1)),
        dict(scale=0.0),
        dict(max_depth=-1.0),
        dict(label_spec='none'),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong):
    name = next(iter(wrong)).replace('_', '.')
    with pytest.raises(ValueError, match=name):
        LoadPixelLabels(**{**OCC3D, **wrong})


def test_images_come_first(minitown_lidar2d):
    with pytest.raises(ValueError, match='after LoadMultiViewImages'):
        LoadPixelLabels(label_spec='occ3d')(record_of(minitown_lidar2d, 0))
