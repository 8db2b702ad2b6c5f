"""The two metrics as mmengine uses them, and without a model."""

import math

import numpy as np
import pytest
import torch
from mmdet3d.registry import METRICS
from mmengine.evaluator import Evaluator

from occsplat.evaluation import (
    BEVIoUMetric,
    BoundaryIoUMetric,
    ImageMetric,
    InstanceMetric,
    OccIoUMetric,
    OffsetMetric,
    RayCounts,
    RayIoUMetric,
    VisibleIoUMetric,
    count_metric,
)
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

OPENOCC = LabelSpec.named('openocc')
#: labels pooled to 0.8 m voxels, as the tiny configs have them
SMALL = dict(range=OPENOCC.grid.range, shape=(100, 100, 8))
ORIGINS = np.array([[0.9, 0.0, 1.84], [10.0, 2.0, 1.8]], np.float32)
CAR, ROAD, MANMADE, FREE = 0, 10, 14, OPENOCC.free


def scene(seed):
    """A road, a wall around it and boxes that move, as (occ, flow)."""
    occ = torch.full(SMALL['shape'], FREE, dtype=torch.uint8)
    flow = torch.zeros(*SMALL['shape'], 2)
    occ[:, :, 0] = ROAD
    occ[:, [10, 90], 1:6] = MANMADE
    make = torch.Generator().manual_seed(seed)
    for x, y in torch.randint(15, 85, (12, 2), generator=make).tolist():
        occ[x : x + 5, y : y + 2, 1:3] = CAR
        flow[x : x + 5, y : y + 2, 1:3] = torch.randn(2, generator=make)
    return occ, flow


def cameras():
    """Three cameras that look around, of two frames: (T, N) = (2, 3)."""
    views = []
    for angle in (0.0, 2.1, 4.2):
        cos, sin = math.cos(angle), math.sin(angle)
        turn = torch.eye(4)
        # rows: right, down and forward
        turn[:3, :3] = torch.tensor(
            [[sin, -cos, 0], [0, 0, -1], [cos, sin, 0]]
        )
        turn[:3, 3] = -turn[:3, :3] @ torch.tensor([1.0, 0.0, 1.6])
        views.append(turn)
    K = torch.tensor([[32.0, 0, 32], [0, 32, 16], [0, 0, 1]])
    now = CameraRig.from_matrices(
        torch.stack(views), K.expand(3, 3, 3), 64, 32
    )
    # that of the other frame is nonsense: no metric may look at it
    rig = CameraRig.stack([now, now])
    rig.ref2cam[1] = math.nan
    return rig


def sample(token, truth, pred):
    return OccDataSample(
        metainfo=dict(token=token, ray_origins=ORIGINS),
        rig=cameras(),
        gt_occ=truth[0],
        gt_flow=truth[1],
        gt_visible=torch.ones(SMALL['shape'], dtype=torch.bool),
        pred_occ=pred[0],
        pred_flow=pred[1],
    )


SCENES = [scene(seed) for seed in range(8)]
#: every frame is predicted to be the next one
SAMPLES = [
    sample(f'frame{i}', SCENES[i], SCENES[(i + 1) % 8]) for i in range(8)
]
KINDS = [
    RayIoUMetric,
    OccIoUMetric,
    ImageMetric,
    BEVIoUMetric,
    VisibleIoUMetric,
    InstanceMetric,
    BoundaryIoUMetric,
    OffsetMetric,
]


def fill(metric, samples):
    metric.process(None, samples)
    return metric


def test_identical_prediction_is_perfect():
    metric = RayIoUMetric(grid=SMALL, label_spec='openocc')
    occ, flow = SCENES[0]
    metric.add('frame', occ, occ, ORIGINS, flow, flow)
    scores = metric.score()
    for key in ('RayIoU', 'RayIoU@1', 'RayIoU_car', 'OccScore'):
        assert scores[key] == 1
    assert scores['mAVE'] == scores['mAVE_TP'] == scores['mAVE_car'] == 0
    assert math.isnan(scores['RayIoU_bicycle'])


def test_trivial_predictors_need_no_model():
    occ, flow = SCENES[0]
    nothing = np.full(SMALL['shape'], FREE, np.uint8)
    metric = RayIoUMetric(grid=SMALL, flow=False, label_spec='openocc')
    metric.add('frame', nothing, occ.numpy(), ORIGINS)
    assert metric.score()['RayIoU'] == 0
    ground = nothing.copy()
    ground[:, :, 0] = ROAD
    metric = RayIoUMetric(grid=SMALL, flow=False, label_spec='openocc')
    metric.add('frame', ground, occ.numpy(), ORIGINS)
    scores = metric.score()
    assert 0.1 < scores['RayIoU_driveable_surface'] < 1
    assert scores['RayIoU_car'] == 0


@pytest.mark.parametrize('as_dict', [True, False])
def test_process_takes_samples_and_their_dicts(as_dict):
    samples = [s.to_dict() if as_dict else s for s in SAMPLES[:1]]
    scores = fill(
        RayIoUMetric(grid=SMALL, label_spec='openocc'), samples
    ).score()
    direct = RayIoUMetric(grid=SMALL, label_spec='openocc')
    (gt_occ, gt_flow), (pred_occ, pred_flow) = SCENES[:2]
    direct.add('f', pred_occ, gt_occ, ORIGINS, pred_flow, gt_flow)
    assert scores == pytest.approx(direct.score(), nan_ok=True)


def test_through_the_evaluator():
    metrics = [
        METRICS.build(
            dict(type='RayIoUMetric', grid=SMALL, label_spec='openocc')
        ),
        METRICS.build(
            dict(
                type='OccIoUMetric',
                grid=SMALL,
                mask='camera',
                label_spec='openocc',
            )
        ),
        METRICS.build(
            dict(
                type='OccIoUMetric',
                grid=SMALL,
                prefix='all',
                label_spec='openocc',
            )
        ),
        METRICS.build(
            dict(type='ImageMetric', grid=SMALL, label_spec='openocc')
        ),
        METRICS.build(
            dict(type='BEVIoUMetric', grid=SMALL, label_spec='openocc')
        ),
        METRICS.build(
            dict(type='VisibleIoUMetric', grid=SMALL, label_spec='openocc')
        ),
        METRICS.build(
            dict(type='InstanceMetric', grid=SMALL, label_spec='openocc')
        ),
        METRICS.build(
            dict(type='BoundaryIoUMetric', grid=SMALL, label_spec='openocc')
        ),
        METRICS.build(
            dict(type='OffsetMetric', grid=SMALL, label_spec='openocc')
        ),
    ]
    evaluator = Evaluator(metrics)
    for start in (0, 2):
        evaluator.process(SAMPLES[start : start + 2], data_batch=None)
    scores = evaluator.evaluate(size=4)
    for key in (
        'RayIoU',
        'RayIoU@1',
        'RayIoU@2',
        'RayIoU@4',
        'mAVE',
        'mAVE_TP',
        'OccScore',
        'mIoU',
        'IoU',
        'all/mIoU',
        'RayIoU_car',
        'mAVE_car',
        'mIoU_car',
        'image_IoU',
        'image_mIoU',
        'image_depth_L1',
        'image_mIoU_car',
        'image_depth_L1_car',
        'bev_IoU',
        'bev_mIoU',
        'bev_mIoU_car',
        'visible_IoU',
        'visible_mIoU',
        'visible_mIoU_car',
        'Completeness',
        'Completeness_car',
        'Found@0.5',
        'Found@0.5_car',
        'BoundaryIoU',
        'BoundaryIoU_car',
        'OffsetError',
        'OffsetError_car',
        'OffsetError_x+',
        'OffsetError_z-_car',
    ):
        assert isinstance(scores[key], float), key
    assert 0 < scores['RayIoU@1'] <= scores['RayIoU@4'] < 1
    assert scores['mAVE'] > 0
    for key in ('image_mIoU', 'bev_mIoU', 'visible_mIoU', 'BoundaryIoU'):
        assert 0 < scores[key] < 1
    assert 0 < scores['image_depth_L1'] < 20
    assert scores['mIoU'] == scores['all/mIoU']


@pytest.mark.parametrize('kind', KINDS)
def test_a_frame_counts_once(kind):
    # the second time without the right history, and so worse
    again = [sample(f'frame{i}', SCENES[i], SCENES[i - 2]) for i in (0, 1)]
    padded = [*SAMPLES, *again]
    once = fill(kind('openocc', grid=SMALL), SAMPLES).evaluate(8)
    twice = fill(kind('openocc', grid=SMALL), padded).evaluate(8)
    assert once == pytest.approx(twice, nan_ok=True, abs=0)


@pytest.mark.parametrize('kind', KINDS[1:])
def test_size_of_batches_and_threads_do_not_matter(kind):
    whole = fill(kind('openocc', grid=SMALL), SAMPLES[:3]).evaluate(3)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        metric = kind('openocc', grid=SMALL)
        for start in (2, 0, 1):
            metric.process(None, SAMPLES[start : start + 1])
        scores = metric.evaluate(3)
    finally:
        torch.set_num_threads(threads)
    assert scores == pytest.approx(whole, nan_ok=True, rel=0, abs=0)


@pytest.mark.parametrize('kind', KINDS)
def test_ranks_add_up_to_one_pass(kind, monkeypatch):
    whole = fill(kind('openocc', grid=SMALL), SAMPLES).evaluate(8)
    # three ranks; the sampler served frame 0 twice to make them even
    ranks = [
        fill(kind('openocc', grid=SMALL), [SAMPLES[i] for i in part])
        for part in ((0, 3, 6), (1, 4, 7), (2, 5, 0))
    ]
    gathered = [dict(rank.frames) for rank in ranks]
    monkeypatch.setattr(
        count_metric, 'all_gather_object', lambda own: gathered
    )
    for rank in ranks:
        scores = rank.evaluate(8)
        assert scores == pytest.approx(whole, nan_ok=True, rel=0, abs=0)


def test_order_of_frames_does_not_matter_to_the_last_bit():
    frames = {}
    for token, error in dict(a=0.1, b=0.2, c=0.3).items():
        frames[token] = RayCounts.zeros(OPENOCC.num_classes)
        frames[token].frame_error[CAR] = error
        frames[token].frame_rays[CAR] = 1
    scores = set()
    for order in ('abc', 'bca', 'cba'):
        metric = RayIoUMetric(label_spec='openocc')
        metric.frames = {token: frames[token] for token in order}
        scores.add(metric.score()['mAVE'])
    assert len(scores) == 1


def test_evaluate_starts_afresh_and_names_missing_frames(monkeypatch):
    lines = []
    monkeypatch.setattr(
        count_metric, 'print_log', lambda text, **_: lines.append(text)
    )
    metric = fill(OccIoUMetric(grid=SMALL, label_spec='openocc'), SAMPLES[:1])
    metric.evaluate(size=3)
    assert 'saw 1 different key frames, the data set has 3' in lines[0]
    with pytest.raises(ValueError, match='no frame was processed'):
        metric.evaluate(size=3)


def test_result_lines_name_the_mask_policy(monkeypatch):
    lines = []
    monkeypatch.setattr(
        count_metric, 'print_log', lambda text, **_: lines.append(text)
    )
    fill(RayIoUMetric(grid=SMALL, label_spec='openocc'), SAMPLES[:2]).score()
    fill(
        OccIoUMetric(grid=SMALL, mask='camera', label_spec='openocc'),
        SAMPLES[:2],
    ).score()
    fill(
        ImageMetric(grid=SMALL, empty_depth='zero', label_spec='openocc'),
        SAMPLES[:2],
    ).score()
    fill(BEVIoUMetric(grid=SMALL, label_spec='openocc'), SAMPLES[:2]).score()
    visible = VisibleIoUMetric(
        grid=SMALL, stride=4, image_size=(60, 30), label_spec='openocc'
    )
    fill(visible, SAMPLES[:2]).score()
    fill(InstanceMetric('openocc', grid=SMALL), SAMPLES[:2]).score()
    fill(
        BoundaryIoUMetric(grid=SMALL, label_spec='openocc'), SAMPLES[:2]
    ).score()
    fill(OffsetMetric(grid=SMALL, label_spec='openocc'), SAMPLES[:2]).score()
    assert 'mask policy: none' in lines[0] and '2 frames' in lines[0]
    assert 'AVE_TP' in lines[0] and 'pedestrian' in lines[0]
    assert 'mask policy: camera' in lines[1] and '2 frames' in lines[1]
    assert 'mask policy: none' in lines[2] and 'at 0.25 of' in lines[2]
    # 3 cameras of 16 x 8 pixels, in each of two frames
    assert '(empty depth: zero)' in lines[2] and '768 pixels' in lines[2]
    assert 'mask policy: none' in lines[3] and '20000 columns' in lines[3]
    assert 'mask policy: rays of the cameras' in lines[4]
    assert 'one every 4 pixels of the 60x30 sensor images' in lines[4]
    assert 'mask policy: none, every known voxel of a mov' in lines[5]
    assert 'mask policy: none, known voxels within 0.8 m' in lines[6]
    assert 'mask policy: none, every cell whose label' in lines[7]
    assert '2 frames, 0 of them with predicted offsets' in lines[7]


def test_camera_mask_hides_voxels():
    occ = SCENES[0][0]
    wrong = occ.clone()
    wrong[50:] = CAR
    visible = torch.zeros(SMALL['shape'], dtype=torch.bool)
    visible[:50] = True
    scores = {}
    for mask in ('camera', 'none'):
        metric = OccIoUMetric(grid=SMALL, mask=mask, label_spec='openocc')
        metric.add('frame', wrong, occ, visible)
        scores[mask] = metric.score()
    assert scores['camera']['mIoU'] == scores['camera']['IoU'] == 1
    assert scores['none']['mIoU'] < 1


def test_occ3d_has_no_flow_and_seventeen_classes():
    spec = LabelSpec.named('occ3d')
    occ = torch.full(spec.grid.shape, spec.free, dtype=torch.uint8)
    occ[:, :, 0] = torch.arange(200)[:, None].fmod(17).to(torch.uint8)
    pred = occ.clone()
    pred[occ == 0] = 1
    metric = OccIoUMetric('occ3d')
    metric.add('frame', pred, occ)
    scores = metric.score()
    # 16 classes but 'others' and the barriers that took its place
    n = torch.bincount(occ[:, 0, 0].long(), minlength=17)
    barrier = n[1].item() / (n[0] + n[1]).item()
    assert scores['mIoU'] == pytest.approx((15 + barrier) / 17)
    assert scores['IoU'] == 1
    rays = RayIoUMetric('occ3d')
    rays.add('frame', occ, occ, ORIGINS)
    assert rays.score()['RayIoU'] == 1
    assert not any('AVE' in key or 'Score' in key for key in rays.score())


def test_missing_fields_are_named():
    bare = OccDataSample(metainfo=dict(token='t'), gt_occ=SCENES[0][0])
    with pytest.raises(ValueError, match=r"pred_occ', 'ray_origins"):
        RayIoUMetric(grid=SMALL, label_spec='openocc').process(None, [bare])
    for kind in (ImageMetric, VisibleIoUMetric):
        with pytest.raises(ValueError, match=r"\['pred_occ', 'rig'\]"):
            kind('openocc', grid=SMALL).process(None, [bare])
    occ = SCENES[0][0]
    with pytest.raises(ValueError, match='no pred_flow, which'):
        RayIoUMetric(grid=SMALL, label_spec='openocc').add(
            't', occ, occ, ORIGINS, gt_flow=SCENES[0][1]
        )
    with pytest.raises(ValueError, match='no gt_visible'):
        OccIoUMetric(grid=SMALL, mask='camera', label_spec='openocc').add(
            't', occ, occ
        )
    with pytest.raises(ValueError, match=r'\(200, 200, 16\), got \(100'):
        OccIoUMetric(label_spec='openocc').add('t', occ, occ)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="got 'lidar'"):
        OccIoUMetric(mask='lidar', label_spec='openocc')
    with pytest.raises(ValueError, match='occ3d has no flow'):
        RayIoUMetric('occ3d', flow=True)
    assert RayIoUMetric(grid=SMALL, label_spec='openocc').grid == VoxelGrid(
        **SMALL
    )
