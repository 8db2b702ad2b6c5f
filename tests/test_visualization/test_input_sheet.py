"""What is drawn into the network's images belongs to them."""

import importlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from occsplat.data import NuScenesOccDataset, SampleIndex
from occsplat.structures import CameraRig, LabelSpec, VoxelGrid
from occsplat.visualization.input_sheet import (
    _classes,
    _depths,
    _frusta,
    input_sheet,
)

# by name: the package's attribute is the function
drawn = importlib.import_module('occsplat.visualization.input_sheet')
SPEC = LabelSpec.named('openocc')
SIZE = (96, 40)


def packed_sample(root, *extra, index=1):
    """A sample with every augmentation there is."""
    labels = dict(label_spec=SPEC.name)
    dataset = NuScenesOccDataset(
        str(root),
        'occsplat_infos_train.pkl',
        SPEC.name,
        [
            dict(type='LoadMultiViewImages', frames=(0, -1)),
            dict(type='LoadLidarPoints'),
            dict(type='LoadOccLabels', **labels),
            dict(
                type='ImageAug',
                size=SIZE,
                resize=(-0.06, 0.11),
                rotate=5.4,
                flip=True,
            ),
            dict(type='VolumeAug', rotate=22.5, flip_x=0.5, flip_y=0.5),
            *extra,
            dict(type='PackOccInputs'),
        ],
    )
    packed = dataset[SampleIndex(index, (5, index))]
    return packed['inputs']['imgs'], packed['data_samples']


DEPTH = dict(type='LidarDepth')
SEMANTICS = dict(type='LidarSemantics', label_spec=SPEC.name)
PIXELS = dict(
    type='LoadPixelLabels', label_spec=SPEC.name, frames=(0, -1, 1), scale=0.5
)
VIEWS = dict(type='RenderViews', frames=(0, -1, 1), scale=0.25)


def share_beside(points, sample):
    """Of points in the grid, those with an occupied voxel there or next to
    it."""
    grid = VoxelGrid(SPEC.grid.range, sample.gt_occ.shape)
    there = SPEC.is_occupied(sample.gt_occ).float()[None]
    there = F.max_pool3d(there, 3, stride=1, padding=1)[0] > 0
    index, inside = grid.locate(torch.from_numpy(points))
    above = torch.from_numpy(points[:, 2]) > 0.5
    return float(there[tuple(index[inside & above].T)].float().mean())


@pytest.mark.parametrize(
    'extra', [DEPTH, SEMANTICS, PIXELS], ids=lambda step: step['type']
)
def test_returns_lie_on_the_augmented_labels(minitown_lidar2d, extra):
    _, sample = packed_sample(minitown_lidar2d, extra)
    found = _classes(sample, SPEC) or _depths(sample)
    assert len(found.points) > 1000
    assert share_beside(found.points, sample) > 0.85
    rig = sample.rig
    # the same without the image augmentation, or mirrored
    eye = torch.eye(3).expand_as(rig.img_aug)
    wrong = CameraRig(rig.ref2cam, rig.K, eye, rig.width, rig.height)
    if 'pixel_labels' not in sample:
        sample.rig = wrong
        found = _classes(sample, SPEC) or _depths(sample)
        assert share_beside(found.points, sample) < 0.6
    mirrored = found.points * (1, -1, 1)
    assert share_beside(mirrored, sample) < 0.6


def test_returns_are_drawn_in_the_pixels_that_hold_them(minitown_lidar2d):
    _, sample = packed_sample(minitown_lidar2d, SEMANTICS)
    rig = sample.rig[0].to(torch.float64)
    for n, (uv, depth, colors) in enumerate(
        _classes(sample, SPEC).seen_by(rig)
    ):
        ids = sample.gt_pixel_semantics[n]
        row, column = (ids != SPEC.ignore).nonzero().T
        assert np.allclose(uv, np.stack([column, row], -1) + 0.5, atol=1e-3)
        held = sample.gt_depth[n, row, column]
        assert np.allclose(depth, held, rtol=1e-4)
        palette = np.array(SPEC.palette)
        assert (colors == palette[ids[row, column]]).all()


def test_returns_of_other_key_frames_are_in_all_images(minitown_lidar2d):
    _, sample = packed_sample(minitown_lidar2d, PIXELS)
    found, labels = _classes(sample, SPEC), sample.pixel_labels
    assert set(found.camera) == {-1, *range(6)}
    others = labels.index[:, 0] != 0
    # what moves is left out there
    assert (found.camera == -1).sum() == int((others & ~labels.moving).sum())
    assert (found.camera >= 0).sum() == int((~others).sum())


def test_frusta_cover_the_images():
    rig = CameraRig.from_matrices(
        torch.eye(4).double()[None],
        torch.tensor([[[50.0, 0, 40], [0, 50, 20], [0, 0, 1]]]).double(),
        80,
        40,
    )
    lines = _frusta(rig)
    assert lines.shape == (1, 8, 2, 3)
    assert np.allclose(lines[0, :4, 0], 0)
    uv, depth = rig.project(torch.from_numpy(lines[0, :4, 1]))
    corners = [[0, 0], [80, 0], [80, 40], [0, 40]]
    assert np.allclose(uv[0], corners)
    assert np.allclose(depth, drawn._FRUSTUM)
    # the far corners follow each other
    assert np.allclose(lines[0, 4:, 0], lines[0, :4, 1])
    assert np.allclose(lines[0, 4:, 1], np.roll(lines[0, :4, 1], -1, axis=0))


@pytest.fixture
def panels(monkeypatch):
    """Titles and pictures of the next sheet."""
    seen = {}

    def note(rows, **options):
        for row in rows:
            seen.update(row)
        return np.zeros((4, 1920, 3), np.uint8)

    monkeypatch.setattr(drawn, 'contact_sheet', note)
    return seen


def has_color(image, color):
    return bool((image == np.array(color, np.uint8)).all(axis=-1).any())


def test_a_sheet_has_all_that_the_sample_has(minitown_lidar2d, panels):
    imgs, sample = packed_sample(minitown_lidar2d, SEMANTICS, VIEWS)
    names = [f'CAM_{n}' for n in range(6)]
    input_sheet(imgs, sample, SPEC, names)
    for n in range(6):
        for kind in ('labels', 'LiDAR depth', 'LiDAR classes'):
            assert f'{n}: {kind}' in panels
        assert f'frame 1: {n}' in panels
    road = SPEC.palette[SPEC.classes.index('driveable_surface')]
    assert any(
        has_color(panels[f'{n}: LiDAR classes'], road) for n in range(6)
    )
    above = panels['LiDAR, cameras (white), render views (pink)']
    assert has_color(above, road) and has_color(above, drawn._CAMERA)
    assert has_color(above, drawn._VIEW)
    # the other key frames' views are ahead or behind, in some image
    assert any(
        has_color(panels[f'{n}: labels'], drawn._VIEW) for n in range(6)
    )
    assert {'labels from above', 'labels from behind'} <= panels.keys()


def test_a_sheet_without_voxel_labels(minitown_lidar2d, panels):
    imgs, sample = packed_sample(minitown_lidar2d, PIXELS)
    del sample.gt_occ, sample.gt_flow
    input_sheet(imgs, sample, SPEC, [f'CAM_{n}' for n in range(6)])
    assert np.array_equal(panels['0: image'], imgs[0, 0].permute(1, 2, 0))
    assert '0: LiDAR depth' in panels and '0: LiDAR classes' in panels
    assert 'labels from above' not in panels


def test_a_forgotten_augmentation_changes_the_picture(
    minitown_lidar2d, panels
):
    imgs, sample = packed_sample(minitown_lidar2d, DEPTH)
    names = [f'CAM_{n}' for n in range(6)]
    input_sheet(imgs, sample, SPEC, names)
    right = panels['0: labels'].copy()
    rig = sample.rig
    flip = torch.diag(torch.tensor([-1.0, 1, 1]))
    flip[0, 2] = rig.width
    sample.rig = CameraRig(
        rig.ref2cam, rig.K, flip @ rig.img_aug, rig.width, rig.height
    )
    input_sheet(imgs, sample, SPEC, names)
    assert (panels['0: labels'] != right).mean() > 0.2


def test_a_whole_sheet(minitown_lidar2d):
    imgs, sample = packed_sample(minitown_lidar2d, SEMANTICS, VIEWS)
    sheet = input_sheet(imgs, sample, SPEC, title='a title')
    assert sheet.dtype == np.uint8 and sheet.shape[1:] == (1920, 3)
    with pytest.raises(ValueError, match='as many images and names'):
        input_sheet(imgs[:, :5], sample, SPEC)
