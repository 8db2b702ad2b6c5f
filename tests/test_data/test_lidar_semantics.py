"""LidarSemantics: depth and class of the network's pixels."""

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS

from occsplat.data import DataError
from occsplat.data.info_files import read_infos
from occsplat.data.pixel_files import SPEC as FILE_SPEC
from occsplat.data.pixel_files import SweepPixels, read_packed
from occsplat.data.transforms import LidarSemantics, returns
from occsplat.structures import CameraRig, LabelSpec, OccBatch

LOAD = dict(type='LoadMultiViewImages')
AUGMENTED = dict(
    type='ImageAug',
    size=(96, 48),
    resize=(-0.1, 0.2),
    rotate=8.0,
    flip=True,
)
WIDE = dict(type='ImageAug', size=(96, 48), resize=(-0.3, -0.2), flip=True)


def make_dataset(root, *steps, label_spec='openocc'):
    return DATASETS.build(
        dict(
            type='NuScenesOccDataset',
            data_root=str(root),
            ann_file='occsplat_infos_train.pkl',
            label_spec=label_spec,
            pipeline=[
                LOAD,
                *steps,
                dict(type='LidarSemantics', label_spec=label_spec),
                dict(type='PackOccInputs'),
            ],
        )
    )


def file_of(root, index):
    info = read_infos(root, 'train')['data_list'][index]
    return read_packed(str(root / info['lidar2d_path']))


def expected(pixels, rig, ids, ignore):
    """Maps of returns in 3D that are projected by the rig, one by one."""
    shape = rig.num_cameras, rig.height, rig.width
    depth = np.full(shape, np.inf)
    label = np.full(shape, ignore)
    for n in range(rig.num_cameras):
        mine = pixels.camera == n
        ones = np.ones(mine.sum())
        rays = np.column_stack([pixels.uv[mine], ones])
        local = rays @ np.linalg.inv(rig.K[n].double().numpy()).T
        local *= pixels.depth[mine, None]
        uvz = local @ rig.image_K[n].double().numpy().T
        places = np.floor(uvz[:, :2] / uvz[:, 2:]).astype(int)
        for (u, v), z, name in zip(
            places, pixels.depth[mine], ids[pixels.label[mine]]
        ):
            inside = 0 <= u < rig.width and 0 <= v < rig.height
            if inside and 1 <= z < 100 and z < depth[n, v, u]:
                depth[n, v, u], label[n, v, u] = z, name
    depth[np.isinf(depth)] = 0
    return depth, label


@pytest.mark.parametrize('aug', [AUGMENTED, WIDE], ids=['rotated', 'padded'])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_maps_are_the_returns_projected_by_the_rig(
    aug, seed, minitown_lidar2d
):
    np.random.seed(seed)
    turned = dict(type='VolumeAug', rotate=20.0, flip_y=0.5)
    dataset = make_dataset(minitown_lidar2d, aug, turned)
    spec = LabelSpec.named('openocc')
    ids = np.array(
        [
            spec.classes.index(name) if name in spec.classes else 255
            for name in FILE_SPEC.classes
        ]
    )
    sample = dataset[1]['data_samples']
    depth, label = expected(
        file_of(minitown_lidar2d, 1), sample.rig[0], ids, spec.ignore
    )
    found = sample.gt_depth.double().numpy()
    assert sample.gt_depth.dtype == torch.float32
    assert sample.gt_pixel_semantics.dtype == torch.uint8
    assert (depth > 0).sum() > 1000
    # a return may change its pixel: the packed rig has single precision
    same = np.isclose(found, depth, rtol=1e-6)
    assert (~same).sum() <= 4
    agrees = sample.gt_pixel_semantics.numpy() == label
    assert (agrees | ~same).mean() > 1 - 1e-4
    assert len(np.unique(label)) > 5


def test_depths_are_those_of_the_point_cloud(minitown_lidar2d):
    """LidarDepth, but for the file's rounding and returns of no class."""
    aug = dict(type='ImageAug', size=(80, 45))
    semantics = make_dataset(minitown_lidar2d, aug)[2]['data_samples']
    cfg = dict(
        type='NuScenesOccDataset',
        data_root=str(minitown_lidar2d),
        ann_file='occsplat_infos_train.pkl',
        pipeline=[
            LOAD,
            dict(type='LoadLidarPoints'),
            aug,
            dict(type='LidarDepth'),
            dict(type='PackOccInputs'),
        ],
        label_spec='openocc',
    )
    cloud = DATASETS.build(cfg)[2]['data_samples']
    near = torch.isclose(
        semantics.gt_depth, cloud.gt_depth, rtol=0, atol=1 / 256
    )
    assert near.float().mean() > 0.995
    assert (cloud.gt_depth > 0).sum() > 1000


def one_camera(monkeypatch, returned, flip=False):
    """An image of 8 x 4 raw pixels, twice as large for the network."""
    pixels = SweepPixels(
        np.zeros(len(returned), int),
        np.array([r[:2] for r in returned]),
        np.array([r[2] for r in returned]),
        np.array([FILE_SPEC.classes.index(r[3]) for r in returned]),
        np.array([[8, 4]]),
    )
    monkeypatch.setattr(returns, 'read_packed', lambda path: pixels)
    eye = torch.eye(4, dtype=torch.float64)[None, None]
    rig = CameraRig.from_matrices(eye, eye[..., :3, :3], 16, 8)
    warp = [[-2.0, 0, 16], [0, 2, 0], [0, 0, 1]] if flip else None
    if flip:
        rig.img_aug = torch.tensor(warp, dtype=torch.float64)[None, None]
    else:
        rig.img_aug[..., [0, 1], [0, 1]] = 2.0
    return dict(
        rig=rig,
        raw_size=(8, 4),
        lidar2d_path='x.npz',
        cameras=('front',),
        all_cameras=('front',),
    )


@pytest.mark.parametrize('flip', [False, True])
def test_the_nearest_return_gives_depth_and_class(monkeypatch, flip):
    results = one_camera(
        monkeypatch,
        [
            (3.1, 2.1, 9.0, 'car'),
            (3.2, 2.2, 5.0, 'driveable_surface'),  # nearer, same pixel
            (3.7, 2.2, 7.0, 'manmade'),  # same raw pixel, another one here
            (1.0, 1.0, 0.5, 'car'),  # the own car
            (6.2, 3.0, 20.0, 'others'),  # no class of OpenOcc
        ],
        flip,
    )
    results = LidarSemantics('openocc')(results)
    spec = LabelSpec.named('openocc')
    depth, label = results['gt_depth'][0], results['gt_pixel_semantics'][0]
    at = {6: 9, 7: 8, 12: 3} if flip else {6: 6, 7: 7, 12: 12}
    road, wall, other = (4, at[6]), (4, at[7]), (6, at[12])
    found = sorted(map(tuple, depth.nonzero().tolist()))
    assert found == sorted([road, wall, other])
    assert [depth[p] for p in (road, wall, other)] == [5, 7, 20]
    names = [spec.classes.index(n) for n in ('driveable_surface', 'manmade')]
    assert [int(label[p]) for p in (road, wall)] == names
    # its depth is known all the same
    assert int(label[other]) == spec.ignore
    assert (label != spec.ignore).sum() == 2


def test_batches_stack_the_classes(minitown_lidar2d):
    dataset = make_dataset(
        minitown_lidar2d, dict(type='ImageAug', size=(64, 32))
    )
    batch = OccBatch.collate([dataset[i]['data_samples'] for i in range(2)])
    assert batch.gt_pixel_semantics.shape == (2, 6, 32, 64)
    assert batch.gt_pixel_semantics.dtype == torch.uint8
    known = batch.gt_pixel_semantics != 255
    # what has a class has a depth; others of OpenOcc have a depth alone
    assert (batch.gt_depth[known] > 0).all()


def test_what_is_missing_is_named(minitown_infos, monkeypatch):
    with pytest.raises(ValueError, match='LoadMultiViewImages before'):
        LidarSemantics(label_spec='occ3d')({})
    with pytest.raises(FileNotFoundError, match='lidar2d'):
        make_dataset(minitown_infos)[0]
    results = one_camera(monkeypatch, [(1.0, 1.0, 5.0, 'car')])
    results['raw_size'] = (16, 8)
    with pytest.raises(DataError, match=r'made for images'):
        LidarSemantics(label_spec='occ3d')(results)
    with pytest.raises(ValueError, match='min_depth < max_depth'):
        LidarSemantics(min_depth=9.0, max_depth=3.0, label_spec='occ3d')
