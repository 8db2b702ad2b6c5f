"""nuscenes-devkit reads the boxes, and they are where they were."""

import json

import numpy as np
import pytest
import torch
from nuscenes.eval.common.loaders import load_prediction
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, DETECTION_NAMES
from nuscenes.eval.detection.data_classes import DetectionBox
from pyquaternion import Quaternion

from occsplat.evaluation import detection_results, write_detections
from occsplat.evaluation.box_files import ATTRIBUTES
from occsplat.ops import InstanceBoxes
from occsplat.structures import LabelSpec

SPEC = LabelSpec.named('openocc')
CAR, PERSON = SPEC.classes.index('car'), SPEC.classes.index('pedestrian')


def pose():
    """Reference to global frame: uphill, turned, far away."""
    turn = Quaternion(axis=(0, 0, 1), radians=2.0)
    turn = turn * Quaternion(axis=(0, 1, 0), radians=0.01)
    matrix = turn.transformation_matrix
    matrix[:3, 3] = 410.0, -1180.0, 2.5
    return matrix


def found(labels=(CAR, PERSON)):
    return InstanceBoxes(
        boxes=torch.tensor(
            [
                [4.0, -3.0, 0.8, 4.5, 1.9, 1.6, 0.3],
                [-9.0, 7.0, 0.9, 0.6, 0.5, 1.7, -2.9],
            ]
        ),
        labels=torch.tensor(labels),
        scores=torch.tensor([0.75, 0.25]),
        velocities=torch.tensor([[3.0, 1.0], [0.0, 0.1]]),
        ids=torch.zeros(2, 2, 2, dtype=torch.int32),
    )


def test_the_devkit_reads_them_and_the_way_back_is_exact(tmp_path):
    boxes, ref2global = found(), pose()
    rows, skipped = detection_results(boxes, 'b', ref2global, SPEC)
    path = tmp_path / 'new' / 'boxes.json'
    write_detections(path, dict(b=rows, a=[]))
    results, meta = load_prediction(str(path), 500, DetectionBox)
    assert skipped == 0 and meta['use_camera'] and not meta['use_lidar']
    assert list(json.loads(path.read_text())['results']) == ['a', 'b']
    assert [p.name for p in path.parent.iterdir()] == ['boxes.json']
    back = np.linalg.inv(ref2global)
    for n, box in enumerate(results['b']):
        x, y, z, length, width, height, yaw = boxes.boxes[n].tolist()
        center = back[:3, :3] @ box.translation + back[:3, 3]
        assert center == pytest.approx([x, y, z], abs=1e-5)
        assert box.size == pytest.approx((width, length, height))
        heading = Quaternion(box.rotation).rotation_matrix[:, 0]
        heading = back[:3, :3] @ heading
        assert heading[:2] == pytest.approx([np.cos(yaw), np.sin(yaw)])
        # the hill takes a little of a speed
        speed = back[:3, :3] @ [*box.velocity, 0]
        expected = boxes.velocities[n].tolist()
        assert speed[:2] == pytest.approx(expected, abs=0.001 * 3.2)
    names = [box.detection_name for box in results['b']]
    scores = [box.detection_score for box in results['b']]
    attributes = [box.attribute_name for box in results['b']]
    assert names == ['car', 'pedestrian'] and scores == [0.75, 0.25]
    assert attributes == ['vehicle.moving', 'pedestrian.standing']


def test_classes_and_attributes_are_those_of_the_benchmark():
    assert set(ATTRIBUTES) == set(DETECTION_NAMES)
    assert set(sum(ATTRIBUTES.values(), ())) <= {*ATTRIBUTE_NAMES, ''}
    for spec in map(LabelSpec.named, ('openocc', 'occ3d', 'surroundocc')):
        assert {spec.classes[i] for i in spec.movable} <= set(ATTRIBUTES)


def test_what_the_benchmark_does_not_know_is_counted():
    road = SPEC.classes.index('driveable_surface')
    rows, skipped = detection_results(found((road, CAR)), 'a', pose(), SPEC)
    assert skipped == 1 and [r['detection_name'] for r in rows] == ['car']
