"""Images, render views and packed samples of a small drive."""

import numpy as np
import pytest
import torch
from little_drive import SIZE, ego2global, write_drive, write_npz
from PIL import Image

from occsplat.data import NuScenesOccDataset
from occsplat.data.layout import CAMERAS
from occsplat.data.transforms import (
    LoadMultiViewImages,
    PackOccInputs,
    RenderViews,
)
from occsplat.structures import LabelSpec, OccBatch

AUG = dict(type='VolumeAug', rotate=22.5, flip_x=0.5, flip_y=0.5)
COARSE = dict(range=LabelSpec.named('openocc').grid.range, shape=(50, 50, 4))
STEPS = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadLidarPoints'),
    dict(type='LoadOccLabels', grid=COARSE, label_spec='openocc'),
    dict(type='ImageAug', size=(80, 32)),
    dict(type='LidarDepth'),
    dict(type='RenderViews', frames=(0, -1, 1), scale=0.25),
    dict(type='PackOccInputs'),
]


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Four frames of one scene with labels."""
    root = tmp_path_factory.mktemp('drive')
    infos = write_drive(root, (('a', 4),))
    rng = np.random.default_rng(0)
    shape = (200, 200, 16)
    for info in infos:
        write_npz(
            root / info['openocc_path'],
            semantics=rng.integers(0, 17, shape).astype(np.uint8),
            flow=np.zeros((*shape, 2), np.float16),
        )
        write_npz(
            root / info['visibility_path'], ray_mask2=np.ones(shape, bool)
        )
    return root, infos


def dataset(drive, steps):
    return NuScenesOccDataset(
        str(drive[0]), 'infos.json', pipeline=steps, label_spec='openocc'
    )


def global_to_pixel(info, name, point):
    """Through the tables' own poses, not through any rig."""
    camera = info['images'][name]
    cam2global = np.array(camera['ego2global']) @ np.array(camera['cam2ego'])
    x, y, z = (np.linalg.inv(cam2global) @ [*point, 1])[:3]
    return np.array([80 * x / z + 80, 80 * y / z + 45]), z


def test_views_of_neighbours(drive):
    root, infos = drive
    steps = [
        STEPS[0],
        dict(type='RenderViews', frames=(0, -2, 1), scale=0.25),
        AUG,
        STEPS[-1],
    ]
    np.random.seed(1)
    sample = dataset(drive, steps)[2]['data_samples']
    rig = sample.render_rig
    assert rig.ref2cam.shape == (18, 4, 4)
    assert (rig.width, rig.height) == (SIZE[0] // 4, round(SIZE[1] / 4))
    assert sample.render_dt.tolist() == [0.0] * 6 + [-1.0] * 6 + [0.5] * 6
    # a far point of the world, seen by every camera that looks at it
    for point in ([640.0, 1200, 3], [600.0, 1170, 2], [580.0, 1230, 1]):
        local = np.linalg.inv(sample.ref2global) @ [*point, 1]
        uv, depth = rig.project(torch.tensor(local[None, :3]).float())
        for v, (frame, name) in enumerate(
            (frame, name) for frame in (2, 0, 3) for name in CAMERAS
        ):
            expected, z = global_to_pixel(infos[frame], name, point)
            assert abs(depth[v, 0].item() - z) < 1e-3
            if z > 1:
                np.testing.assert_allclose(
                    uv[v, 0], expected / 4, rtol=1e-3, atol=1e-2
                )


def test_views_past_the_end_are_the_current_ones(drive):
    record = dataset(drive, STEPS[:1])[3]
    rig = RenderViews((0, 1, 3), 0.5)(record)['render_rig']
    for repeated in (rig[6:12], rig[12:]):
        assert torch.equal(repeated.ref2cam, rig[:6].ref2cam)
    assert (record['render_dt'] == 0).all()


def test_past_frames_are_images_too(drive):
    steps = [dict(type='LoadMultiViewImages', frames=(0, -1)), STEPS[-1]]
    data = dataset(drive, steps)
    one, two = data[1], data[0]
    assert one['inputs']['imgs'].shape == (2, 6, 3, 90, 160)
    assert torch.equal(one['inputs']['imgs'][1], two['inputs']['imgs'][0])
    assert torch.equal(*two['inputs']['imgs'])
    # where was the front camera half a second ago?
    rig = one['data_samples'].rig[1]
    front = rig.cam2ref[CAMERAS.index('CAM_FRONT'), :3, 3]
    camera = drive[1][0]['images']['CAM_FRONT']
    place = np.array(camera['ego2global']) @ np.array(camera['cam2ego'])
    place = (np.linalg.inv(ego2global(1)) @ place)[:3, 3]
    np.testing.assert_allclose(front, place, atol=1e-4)


def test_packed_sample(drive):
    packed = dataset(drive, STEPS)[1]
    imgs, sample = packed['inputs']['imgs'], packed['data_samples']
    assert imgs.shape == (1, 6, 3, 32, 80) and imgs.dtype == torch.uint8
    assert sample.rig.ref2cam.shape == (1, 6, 4, 4)
    assert sample.rig.ref2cam.dtype == torch.float32
    expected = dict(
        gt_occ=((50, 50, 4), torch.uint8),
        gt_flow=((50, 50, 4, 2), torch.float32),
        gt_visible=((50, 50, 4), torch.bool),
        gt_depth=((6, 32, 80), torch.float32),
        render_dt=((18,), torch.float32),
    )
    for name, (shape, dtype) in expected.items():
        value = getattr(sample, name)
        assert tuple(value.shape) == shape and value.dtype == dtype, name
    meta = sample.metainfo
    assert meta['token'] == 'a-1' and meta['prev'] == 'a-0'
    assert meta['next'] == 'a-2' and meta['scene_name'] == 'name-a'
    assert meta['timestamp'] == 0.5 and meta['sample_idx'] == 1
    assert meta['ref2global'].dtype == np.float64
    np.testing.assert_allclose(meta['ref2global'], ego2global(1))
    assert meta['ray_origins'].shape == (4, 3)


def test_samples_stack(drive):
    """With neighbours and without: every frame has the same shapes."""
    data = dataset(drive, [AUG, *STEPS])
    batch = OccBatch.collate([data[i]['data_samples'] for i in range(4)])
    assert batch.rig.K.shape == (4, 1, 6, 3, 3)
    assert batch.render_rig.K.shape == (4, 18, 3, 3)
    assert batch.gt_flow.shape == (4, 2, 50, 50, 4)


@pytest.mark.parametrize('place', range(len(STEPS)))
def test_volume_aug_may_stand_anywhere(drive, place):
    """Only image augmentation draws besides it, and here it draws nothing."""

    def run(place):
        np.random.seed(7)
        steps = [*STEPS[:place], AUG, *STEPS[place:]]
        return dataset(drive, steps)[1]['data_samples']

    first, other = run(0), run(place)
    assert (first.gt_occ == 255).any()
    for name in ('gt_occ', 'gt_flow', 'gt_visible', 'gt_depth'):
        assert torch.equal(getattr(first, name), getattr(other, name))
    for name in ('rig', 'render_rig'):
        a, b = getattr(first, name), getattr(other, name)
        assert torch.equal(a.ref2cam, b.ref2cam)
    np.testing.assert_array_equal(first.ref2global, other.ref2global)
    np.testing.assert_array_equal(first.ray_origins, other.ray_origins)


def test_missing_and_broken_images(drive, tmp_path):
    write_drive(tmp_path, (('a', 1),))
    data = NuScenesOccDataset(
        str(tmp_path), 'infos.json', pipeline=STEPS[:1], label_spec='openocc'
    )
    path = tmp_path / 'samples/CAM_BACK/a_0_CAM_BACK.png'
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r'CAM_BACK\.png cannot be read'):
        data[0]
    path.write_bytes(b'no image at all')
    with pytest.raises(ValueError, match=r'CAM_BACK\.png cannot be read'):
        data[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'CAM_BACK\.png is missing'):
        data[0]
    small = tmp_path / 'samples/CAM_FRONT/a_0_CAM_FRONT.png'
    Image.new('RGB', (80, 45)).save(path)
    Image.new('RGB', SIZE).save(small)
    with pytest.raises(ValueError, match=r'\(80, 45\), \(160, 90\)'):
        data[0]


def test_order_of_the_pipeline():
    with pytest.raises(ValueError, match='after LoadMultiViewImages'):
        RenderViews()({})
    with pytest.raises(ValueError, match='LoadMultiViewImages before'):
        PackOccInputs()({})
    with pytest.raises(ValueError, match='scale'):
        RenderViews(scale=0)
    with pytest.raises(ValueError, match='start with 0'):
        LoadMultiViewImages(frames=(-1, 0))
