"""Fields that make no sense are refused, by frame and by name."""

import math

import numpy as np
import pytest
import torch

from occsplat.evaluation import (
    BEVIoUMetric,
    BoundaryIoUMetric,
    BoxMetric,
    DuplicateMetric,
    FrameRays,
    ImageMetric,
    InstanceMetric,
    OccIoUMetric,
    OffsetMetric,
    RayIoUMetric,
    VisibleIoUMetric,
    check_fields,
    detection_results,
    lidar_rays,
    read_volumes,
    write_detections,
    write_volumes,
)
from occsplat.ops import InstanceBoxes
from occsplat.structures import (
    DataError,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(SPEC.grid.range, (20, 20, 4))
CAR, ROAD, FREE, IGNORE = 0, 10, SPEC.free, SPEC.ignore
NAN, INF = math.nan, math.inf
METRICS = (
    BEVIoUMetric,
    BoundaryIoUMetric,
    BoxMetric,
    DuplicateMetric,
    ImageMetric,
    InstanceMetric,
    OccIoUMetric,
    OffsetMetric,
    RayIoUMetric,
    VisibleIoUMetric,
)


def street():
    occ = torch.full(GRID.shape, FREE, dtype=torch.uint8)
    occ[:, :, 0] = ROAD
    occ[4:7, 9, 1:3] = CAR
    return occ


@pytest.fixture
def fields(look):
    """All that a metric may take of a good frame."""
    occ = street()
    return dict(
        pred_occ=occ.clone(),
        gt_occ=occ.clone(),
        gt_visible=torch.ones(GRID.shape, dtype=torch.bool),
        pred_flow=torch.zeros(*GRID.shape, 2),
        gt_flow=torch.zeros(*GRID.shape, 2),
        pred_offsets=torch.ones(6, 10, 10, 2),
        ray_origins=torch.tensor([[0.0, 0.0, 1.8]]),
        gt_boxes=torch.tensor([[0.0, 0, 0, 4, 2, 1.5, 0.3]]),
        gt_box_labels=torch.tensor([CAR]),
        rig=look((1.0, 0.0, 1.5)),
    )


def make(kind):
    return kind(SPEC, GRID)


def process(metric, fields):
    meta = dict(token='frame-7', ray_origins=fields['ray_origins'])
    sample = OccDataSample(metainfo=meta)
    for key, value in fields.items():
        if key != 'ray_origins':
            setattr(sample, key, value)
    metric.process(None, [sample])
    return metric.score()


@pytest.mark.parametrize('kind', METRICS)
def test_good_fields_are_counted(kind, fields):
    scores = process(make(kind), fields)
    assert any(math.isfinite(value) for value in scores.values())


@pytest.mark.parametrize('kind', METRICS)
@pytest.mark.parametrize('value', [IGNORE, 17, 40, -1])
def test_predicted_ids_that_are_no_class(kind, fields, value):
    fields['pred_occ'] = fields['pred_occ'].to(torch.int16)
    # alone in the sky, where no ray, column or object meets it
    fields['pred_occ'][19, 19, 3] = value
    # also where the truth is unknown
    fields['gt_occ'][19, 19, 3] = IGNORE
    match = rf"'frame-7', pred_occ holds class id {value} at \(19, 19, 3\)"
    with pytest.raises(DataError, match=match):
        process(make(kind), fields)


@pytest.mark.parametrize('kind', [k for k in METRICS if k is not BoxMetric])
@pytest.mark.parametrize('value', [17, 254, -1])
def test_true_ids_that_are_no_class(kind, fields, value):
    fields['gt_occ'] = fields['gt_occ'].to(torch.int16)
    fields['gt_occ'][19, 19, 3] = value
    with pytest.raises(DataError, match=f"'frame-7', gt_occ .* id {value} "):
        process(make(kind), fields)
    fields['gt_occ'][19, 19, 3] = IGNORE
    process(make(kind), fields)


@pytest.mark.parametrize('value', [NAN, INF, -INF])
@pytest.mark.parametrize(
    ('kind', 'field'),
    [
        (RayIoUMetric, 'pred_flow'),
        (RayIoUMetric, 'ray_origins'),
        (BoxMetric, 'pred_flow'),
        (BoxMetric, 'pred_offsets'),
        (BoxMetric, 'gt_boxes'),
        (OffsetMetric, 'pred_offsets'),
    ],
)
def test_numbers_that_are_not_finite(kind, field, value, fields):
    """A nan in the sky poisoned mAVE, and improved mAVE_TP."""
    fields[field].view(-1)[-1] = value
    match = f"'frame-7', {field}: expected finite numbers, got nan or inf"
    with pytest.raises(DataError, match=match):
        process(make(kind), fields)


@pytest.mark.parametrize(
    'kind', [DuplicateMetric, ImageMetric, VisibleIoUMetric]
)
@pytest.mark.parametrize('part', ['ref2cam', 'K', 'img_aug'])
def test_cameras_that_are_not_finite(kind, part, fields):
    getattr(fields['rig'], part)[0, 0, 0] = NAN
    match = rf"'frame-7', rig\.{part}: expected finite"
    with pytest.raises(DataError, match=match):
        process(make(kind), fields)


def test_true_flow_may_be_unknown(fields):
    fields['gt_flow'][4:7, 9, 1:3] = NAN
    metric = make(RayIoUMetric)
    assert math.isnan(process(metric, fields)['mAVE_TP_car'])


def test_a_flow_that_is_not_scored_is_not_looked_at(fields):
    fields['pred_flow'][:] = NAN
    scores = process(RayIoUMetric(SPEC, GRID, flow=False), fields)
    assert scores['RayIoU'] == 1


@pytest.mark.parametrize(
    ('field', 'wrong', 'message'),
    [
        ('pred_occ', lambda v: v.float(), 'pred_occ: expected whole numbers'),
        ('pred_occ', lambda v: v.bool(), 'pred_occ: expected whole numbers'),
        ('gt_occ', lambda v: v.double(), 'gt_occ: expected whole numbers'),
        ('pred_occ', lambda v: v[None], r'pred_occ: expected shape \(20, 20'),
        ('pred_occ', lambda v: ['a'], 'pred_occ: expected a tensor or an'),
        ('pred_flow', lambda v: v.long(), 'pred_flow: expected floating'),
        ('pred_flow', lambda v: v + 0j, 'pred_flow: expected floating'),
        ('pred_flow', lambda v: v[..., :1], 'pred_flow: expected shape'),
        ('gt_flow', lambda v: v.movedim(-1, 0), 'gt_flow: expected shape'),
        ('gt_visible', lambda v: v * 2, 'gt_visible: expected bool, or 0 and'),
        ('gt_visible', lambda v: v / 0, 'gt_visible: expected bool, or 0 and'),
        ('pred_offsets', lambda v: v[:5], r'pred_offsets: .*\(6, X/s, Y/s'),
        ('pred_offsets', lambda v: v.int(), 'pred_offsets: expected floating'),
        ('ray_origins', lambda v: v[0], r'ray_origins: expected shape'),
        ('gt_boxes', lambda v: v[:, :6], r'gt_boxes: expected shape \(1, 7'),
        ('gt_box_labels', lambda v: v + 17, 'gt_box_labels holds class id 17'),
        ('rig', lambda v: v.K, 'rig: expected a CameraRig, got Tensor'),
    ],
)
def test_other_types_and_shapes(fields, field, wrong, message):
    fields[field] = wrong(fields[field])
    with pytest.raises(DataError, match=f'frame 7, {message}'):
        check_fields('frame 7', SPEC, GRID, **fields)


def test_what_is_good_passes_as_it_is(fields):
    for key, value in zip(fields, check_fields('a', SPEC, GRID, **fields)):
        assert value is fields[key] or torch.equal(value, fields[key])
    occ = street().numpy()
    for kind in (np.uint16, np.int8, np.int64, np.uint64):
        (back,) = check_fields('a', SPEC, GRID, pred_occ=occ.astype(kind))
        assert torch.equal(back, street().to(back.dtype))
    (visible,) = check_fields('a', SPEC, GRID, gt_visible=np.ones(GRID.shape))
    assert visible.dtype == torch.bool and visible.all()
    assert check_fields('a', SPEC, GRID, pred_flow=None) == [None]
    boxes, labels = check_fields(
        'a', SPEC, GRID, gt_boxes=np.zeros((0, 7)), gt_box_labels=[]
    )
    assert boxes.shape == (0, 7) and labels.shape == (0,)


def rays(**changes):
    count = len(lidar_rays())
    good = FrameRays(
        torch.full((count,), CAR),
        torch.full((count,), 9.0, dtype=torch.float64),
        torch.zeros(count, 2, dtype=torch.float64),
    )
    for key, value in changes.items():
        getattr(good, key).view(-1)[3] = value
    return good


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(label=IGNORE), 'pred holds class id 255'),
        (dict(label=-1), 'pred holds class id -1'),
        (dict(distance=NAN), 'pred distance: expected finite'),
        (dict(flow=INF), 'pred flow: expected finite'),
    ],
)
def test_rays(change, message):
    with pytest.raises(DataError, match=f"'frame-7', {message}"):
        RayIoUMetric(label_spec='openocc').add_rays(
            'frame-7', rays(**change), rays()
        )
    metric = RayIoUMetric(label_spec='openocc')
    metric.add_rays('frame-7', rays(), rays(flow=NAN))
    assert len(metric.frames) == 1


@pytest.mark.parametrize(
    ('field', 'change', 'message'),
    [
        ('semantics', 255, 'semantics holds class id 255'),
        ('semantics', 17, 'semantics holds class id 17'),
        ('flow', NAN, 'flow: expected finite'),
        ('offsets', -INF, 'offsets: expected finite'),
    ],
)
def test_volumes_are_refused_when_written_and_when_read(
    tmp_path, field, change, message
):
    path = tmp_path / 'scene' / 'frame-7' / 'preds.npz'
    arrays = dict(
        semantics=street().numpy(),
        flow=np.zeros((*GRID.shape, 2), np.float32),
        offsets=np.ones((6, 10, 10, 2), np.float32),
    )
    arrays[field].reshape(-1)[5] = change
    occ, flow, offsets = map(torch.from_numpy, arrays.values())
    with pytest.raises(DataError, match=f'frame-7.*{message}'):
        write_volumes(path, occ, flow, SPEC, offsets)
    assert not path.parent.exists()
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=f'frame-7.*{message}'):
        read_volumes(path, SPEC, GRID)


def test_ids_do_not_wrap_around_in_files(tmp_path):
    """An id of 300 was written as 44, one of 256 as a car."""
    occ = street().to(torch.int64)
    occ[0, 0, 0] = 256
    with pytest.raises(DataError, match='semantics holds class id 256'):
        write_volumes(tmp_path / 'preds.npz', occ, None, SPEC)
    np.savez(tmp_path / 'preds.npz', semantics=occ.numpy())
    with pytest.raises(DataError, match='semantics holds class id 256'):
        read_volumes(tmp_path / 'preds.npz', SPEC, GRID)


@pytest.mark.parametrize(
    ('field', 'change', 'message'),
    [
        ('boxes', NAN, 'boxes: expected finite'),
        ('velocities', INF, 'velocities: expected finite'),
        ('scores', NAN, 'scores: expected finite'),
        ('labels', 99, 'labels holds class id 99'),
    ],
)
def test_boxes(tmp_path, field, change, message):
    boxes = InstanceBoxes(
        boxes=torch.ones(2, 7),
        labels=torch.tensor([CAR, CAR]),
        scores=torch.ones(2),
        velocities=torch.zeros(2, 2),
        ids=torch.zeros(GRID.shape, dtype=torch.int32),
    )
    detection_results(boxes, 'frame-7', np.eye(4), SPEC)
    getattr(boxes, field).view(-1)[1] = change
    with pytest.raises(DataError, match=f"'frame-7', {message}"):
        detection_results(boxes, 'frame-7', np.eye(4), SPEC)
    path = tmp_path / 'boxes.json'
    with pytest.raises(DataError, match=r'boxes\.json.*nan'):
        write_detections(path, dict(a=[dict(velocity=[NAN, 0.0])]))
    assert not path.exists()
