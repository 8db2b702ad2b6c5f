"""GaussRender's own numbers, on frames whose figures are known.

``gaussrender_frames.npz`` has predicted and true Occ3D ids of four frames,
with six cameras each, and GaussRender's metric gave the figures below.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from occsplat.evaluation import (
    BEVIoUMetric,
    ImageMetric,
    VoxelCounts,
    count_voxels,
)
from occsplat.evaluation.gaussrender_protocol import bev_camera
from occsplat.structures import CameraRig, LabelSpec, VoxelGrid

SPEC = LabelSpec.named('occ3d')
FREE, CAR, ROAD = 0, 1, 2


@pytest.fixture(scope='module')
def frames():
    path = Path(__file__).with_name('gaussrender_frames.npz')
    with np.load(path) as data:
        arrays = {key: torch.from_numpy(data[key]) for key in data.files}
    width, height = arrays['size'].tolist()
    return [
        (pred, gt, CameraRig.from_matrices(viewmats, Ks, width, height))
        for pred, gt, viewmats, Ks in zip(
            *(arrays[key] for key in ('pred', 'gt', 'viewmats', 'Ks'))
        )
    ]


def percent(scores, *keys):
    return [100 * scores[key] for key in keys]


def test_voxels(frames):
    counts = sum(
        (count_voxels(pred, gt, SPEC) for pred, gt, _ in frames),
        VoxelCounts.zeros(SPEC.num_classes),
    )
    scores = counts.summary(SPEC, unseen=1.0)
    expected = pytest.approx([34.9672, 82.5445], abs=5e-5)
    assert percent(scores, 'mIoU', 'IoU') == expected


def test_from_above(frames):
    metric = BEVIoUMetric('occ3d', protocol='gaussrender')
    for token, (pred, gt, _) in enumerate(frames):
        metric.add(str(token), pred, gt)
    expected = pytest.approx([43.8724, 97.8823], abs=5e-5)
    assert percent(metric.score(), 'bev_mIoU', 'bev_IoU') == expected
    ours = BEVIoUMetric('occ3d')
    ours.add('0', *frames[0][:2])
    assert ours.score()['bev_IoU'] != metric.score()['bev_IoU']


@pytest.mark.slow
def test_images(frames):
    metric = ImageMetric('occ3d', protocol='gaussrender')
    for token, frame in enumerate(frames):
        metric.add(str(token), *frame)
    scores = metric.score()
    expected = pytest.approx([33.6035, 82.9719], abs=5e-5)
    assert percent(scores, 'image_mIoU', 'image_IoU') == expected
    assert scores['image_depth_L1'] == pytest.approx(2.2696, abs=5e-5)


def brute_force(occ, rig, grid, scale, free):
    """Every pixel against every Gaussian, as the paper's code blends."""
    there = occ != free
    K, view = rig.image_K[0].double(), rig.ref2cam[0].double()
    means = grid.centers(dtype=torch.float64)[there]
    x, y, z = (means @ view[:3, :3].T + view[:3, 3]).T
    (fx, fy), (cx, cy) = K.diagonal()[:2], K[:2, 2]
    u, v = cx + fx * x / z, cy + fy * y / z
    kept = (z > 0.2) & (u > 0.5) & (u < rig.width - 0.5)
    kept &= (v > 0.5) & (v < rig.height - 0.5)
    order = torch.where(kept)[0]
    order = order[z[order].argsort(stable=True)]
    x, y, z, u, v = (value[order] for value in (x, y, z, u, v))
    labels = occ[there][order].long()
    # of an isotropic Gaussian nothing depends on the camera's rotation
    xx = (fx * scale / z) ** 2 * (1 + (x / z) ** 2) + 0.3
    yy = (fy * scale / z) ** 2 * (1 + (y / z) ** 2) + 0.3
    xy = fx * fy * (scale / z) ** 2 * (x / z) * (y / z)
    rows, columns = torch.meshgrid(
        torch.arange(rig.height) + 0.5,
        torch.arange(rig.width) + 0.5,
        indexing='ij',
    )
    classes, depths = [], []
    for row, column in zip(rows.double(), columns.double()):
        dx, dy = column[:, None] - u, row[:, None] - v
        power = yy * dx**2 - 2 * xy * dx * dy + xx * dy**2
        alpha = (-0.5 * power / (xx * yy - xy**2)).exp().clamp(max=0.99)
        alpha[alpha < 1 / 255] = 0
        after = (1 - alpha).cumprod(dim=1)
        alpha[after < 1e-4] = 0
        after = (1 - alpha).cumprod(dim=1)
        weight = alpha * after / (1 - alpha)
        image = torch.zeros(len(column), SPEC.num_classes).double()
        image.index_add_(1, labels, weight)
        image[:, free] += after[:, -1]
        classes.append(image.argmax(dim=1))
        depths.append((weight * z).sum(dim=1))
    return torch.stack(classes), torch.stack(depths)


def test_a_camera_by_brute_force(frames):
    pred, gt, rig = frames[1]
    rig = rig[3:4]
    metric = ImageMetric('occ3d', protocol='gaussrender', resize=0.05)
    metric.add('frame', pred, gt, rig)
    scores = metric.score()
    small = rig.scaled(0.05)
    (guess, near), (truth, depth) = (
        brute_force(occ, small, SPEC.grid, 0.27, SPEC.free)
        for occ in (pred, gt)
    )
    counts = count_voxels(guess, truth, SPEC)
    expected = counts.summary(SPEC, 'image_', unseen=1.0)
    for key, value in expected.items():
        assert scores[key] == pytest.approx(value, abs=2e-3), key
    seen = depth > 0.1
    error = (near - depth).abs()[seen].sum() / (seen.sum() + 1)
    assert scores['image_depth_L1'] == pytest.approx(error.item(), abs=2e-3)
    # none of this is what our own definition gives
    ours = ImageMetric('occ3d', resize=0.05)
    ours.add('frame', pred, gt, rig)
    for key in ('image_mIoU', 'image_IoU', 'image_depth_L1'):
        assert abs(ours.score()[key] - scores[key]) > 5e-3


def test_free_space_wins_a_pixel_by_its_weight(look, corridor):
    """Two classes share what a half-open pixel sees."""
    occ = torch.full(corridor.grid.shape, FREE, dtype=torch.uint8)
    rig = look((0.0, 0.5, 0.5), size=(128, 64), focal=200.0)
    occ[5, 8, 4] = CAR
    classes = {}
    for protocol in ('occsplat', 'gaussrender'):
        metric = ImageMetric(corridor, resize=1.0, protocol=protocol)
        metric.add('frame', occ, occ, rig)
        scores, counts = metric.score(), metric.frames['frame']
        classes[protocol] = counts.classes.truth[CAR]
        assert scores['image_mIoU_car'] == 1
        # there is no road in the truth
        road = scores['image_mIoU_road']
        assert road == 1 if protocol == 'gaussrender' else np.isnan(road)
    # of one voxel both see half: alpha above a half
    assert classes['occsplat'] == classes['gaussrender']
    occ[7, 8, 4] = ROAD
    metric = ImageMetric(corridor, protocol='gaussrender')
    metric.add('frame', occ, occ, rig)
    metric.add('other', occ, torch.full_like(occ, FREE), rig)
    # the truth of the second frame sees nothing: no depth to compare
    pixels = metric.frames['frame'].depth_pixels.sum()
    assert metric.frames['other'].depth_pixels.sum() == 0
    assert pixels > classes['occsplat']
    assert metric.score()['image_depth_L1'] == 0


def test_a_voxel_whose_centre_is_outside_is_not_seen(look, corridor):
    occ = torch.full(corridor.grid.shape, FREE, dtype=torch.uint8)
    # centres at y = +-0.5 and 5.5 m ahead: 18 pixels from the middle of 32
    occ[5, 7:9, 4] = CAR
    rig = look((0.0, 0.0, 0.5), size=(32, 32), focal=200.0)
    for protocol, seen in (('occsplat', True), ('gaussrender', False)):
        metric = ImageMetric(corridor, resize=1.0, protocol=protocol)
        metric.add('frame', occ, occ, rig)
        assert (metric.frames['frame'].classes.truth[CAR] > 0) == seen


def test_the_view_from_above_is_a_pinhole():
    rig = bev_camera(SPEC.grid)
    assert rig.K[0].tolist() == [[400, 0, 200], [0, 400, 200], [0, 0, 1]]
    points = torch.tensor([[0.0, 0, 0], [40, 0, 0], [0, 40, 0], [0, 20, 5.0]])
    uv, z = rig.project(points.double())
    assert z[0].tolist() == [80, 80, 80, 75]
    expected = [[200, 200], [400, 200], [200, 0], [200, 200 - 8000 / 75]]
    assert uv[0].tolist() == pytest.approx(np.array(expected))
    ahead = VoxelGrid(range=(0, -25.6, -2, 51.2, 25.6, 4.4), shape=(8, 8, 4))
    assert bev_camera(ahead).K[0, :2, 2].tolist() == [0, 200]


def test_the_sensors_images_are_asked_for(frames):
    pred, gt, rig = frames[0]
    network = rig[:1].scaled(0.08)
    metric = ImageMetric('occ3d', protocol='gaussrender')
    with pytest.raises(ValueError, match=r'image_size=\(1600, 900\)'):
        metric.add('frame', pred, gt, network)
    sensor = ImageMetric(
        'occ3d', protocol='gaussrender', image_size=(800, 450), resize=0.08
    )
    sensor.add('frame', pred, gt, network)
    same = ImageMetric('occ3d', protocol='gaussrender', resize=0.08)
    same.add('frame', pred, gt, rig[:1])
    assert sensor.score() == pytest.approx(same.score(), nan_ok=True)


@pytest.mark.parametrize(
    'metric, options, message',
    [
        (ImageMetric, dict(protocol='own'), 'protocol must be one of'),
        (BEVIoUMetric, dict(protocol='own'), 'protocol must be one of'),
        (
            ImageMetric,
            dict(protocol='gaussrender', empty_depth='exit'),
            'accumulates depth',
        ),
    ],
)
def test_bad_options(metric, options, message):
    with pytest.raises(ValueError, match=message):
        metric('occ3d', **options)
