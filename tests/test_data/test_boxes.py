"""Annotated boxes come into the reference frame of the labels."""

import math

import numpy as np
import pytest

from occsplat.data import NuScenesOccDataset
from occsplat.data.frame_records import frame_record
from occsplat.data.safe_pickle import load_plain
from occsplat.data.transforms import LoadBoxes, VolumeAug
from occsplat.data.transforms.volume_aug import fold
from occsplat.structures import LabelSpec, OccBatch

SPEC = LabelSpec.named('openocc')


def record(**changes):
    """A car, a cone, a person that no return is on, and a stranger."""
    lidar2ref = np.eye(4)
    # the LiDAR's y is forward, as on nuScenes
    lidar2ref[:2, :2] = [[0, 1], [-1, 0]]
    lidar2ref[:3, 3] = 0.9, 0, 1.8
    box = [3.0, 10.0, -1.0, 4.5, 1.9, 1.6, math.pi / 2]
    return dict(
        boxes=np.array([box] * 4, np.float32),
        box_velocities=np.array([[0, 5], [0, 0], [1, 1], [0, 0]], np.float32),
        box_names=['car', 'traffic_cone', 'pedestrian', ''],
        box_points=np.array([3, 9, 0, 9]),
        lidar2ref=lidar2ref,
        **changes,
    )


def test_boxes_and_velocities_turn_with_the_frame():
    results = LoadBoxes('occ3d')(record())
    (box,) = results['gt_boxes']
    assert box == pytest.approx([10.9, -3, 0.8, 4.5, 1.9, 1.6, 0], abs=1e-5)
    assert results['gt_box_velocities'] == pytest.approx(
        np.array([[5.0, 0]]), abs=1e-5
    )
    names = LabelSpec.named('occ3d').classes
    assert [names[i] for i in results['gt_box_labels']] == ['car']
    assert results['gt_box_labels'].dtype == np.int64


def test_boxes_are_not_augmented():
    results = VolumeAug(flip_x=1.0)(LoadBoxes(label_spec='openocc')(record()))
    with pytest.raises(ValueError, match='LoadBoxes and VolumeAug'):
        fold(dict(results, ref2global=np.eye(4)))


def test_packed_samples_have_boxes_that_hold_their_labels(minitown_infos):
    dataset = NuScenesOccDataset(
        str(minitown_infos),
        'occsplat_infos_val.pkl',
        'openocc',
        [
            dict(type='LoadMultiViewImages'),
            dict(type='LoadOccLabels', label_spec='openocc'),
            dict(type='LoadBoxes', label_spec='openocc'),
            dict(type='PackOccInputs'),
        ],
        test_mode=True,
    )
    sample = dataset[0]['data_samples']
    assert len(sample.gt_boxes) == len(sample.gt_box_labels) > 5
    inside = SPEC.grid.locate(sample.gt_boxes[:, :3])
    index, inside = inside[0][inside[1]], inside[1]
    label = sample.gt_occ[tuple(index.T)]
    # the middle of a car is in the car
    cars = sample.gt_box_labels[inside] == SPEC.classes.index('car')
    assert cars.sum() > 2
    assert (label[cars] == SPEC.classes.index('car')).float().mean() > 0.9
    # they stay in the samples: no network reads them
    assert 'gt_boxes' not in vars(OccBatch.collate([sample]))


def test_records_name_boxes_by_their_own_file(minitown_infos):
    content = load_plain(minitown_infos / 'occsplat_infos_val.pkl')
    info = content['data_list'][0]
    known = frame_record(info, minitown_infos)
    assert set(known['box_names']) <= {
        '',
        *content['metainfo']['categories'],
    }
    numbers = [thing['bbox_label_3d'] for thing in info['instances']]
    points = [thing['num_lidar_pts'] for thing in info['instances']]
    assert known['box_points'].tolist() == points
    other = frame_record(info, minitown_infos, categories=dict(tank=0))
    assert other['box_names'] == ['tank' if n == 0 else '' for n in numbers]
    nobody = frame_record(dict(info, instances=None), minitown_infos)
    assert nobody['box_names'] == [] and len(nobody['box_points']) == 0
