"""Boxes in nuScenes' format for detection results.

Shape letters: M boxes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

import numpy as np
import torch
from pyquaternion import Quaternion

from occsplat.ops import InstanceBoxes
from occsplat.structures import DataError, LabelSpec, whole_file

from .fields import check_finite, check_ids

#: m/s from which nuScenes' attributes call something moving
_MOVING = 0.5
#: attribute by detection name, of what moves and of what does not; the
#: names that are missing have none
_VEHICLE = ('vehicle.moving', 'vehicle.parked')
_CYCLE = ('cycle.with_rider', 'cycle.without_rider')
ATTRIBUTES = dict(
    car=_VEHICLE,
    truck=_VEHICLE,
    bus=_VEHICLE,
    trailer=_VEHICLE,
    construction_vehicle=_VEHICLE,
    pedestrian=('pedestrian.moving', 'pedestrian.standing'),
    motorcycle=_CYCLE,
    bicycle=_CYCLE,
    traffic_cone=('', ''),
    barrier=('', ''),
)
#: what the boxes were made of
_META = dict(
    use_camera=True,
    use_lidar=False,
    use_radar=False,
    use_map=False,
    use_external=False,
)


def detection_results(
    boxes: InstanceBoxes,
    token: str,
    ref2global: np.ndarray,  # (4, 4)
    spec: LabelSpec,
) -> tuple[list[dict[str, Any]], int]:
    """The boxes of a key frame as nuScenes' detection benchmark takes them.

    Args:
        boxes: in the reference frame.
        token: of the key frame.
        ref2global: reference frame to global frame.
        spec: names of the classes.

    Returns:
        tuple: plain dicts in the global frame, with size as width, length,
        height and rotation as quaternion w x y z; and how many boxes
        are of classes that the benchmark does not know, left out.

    Raises:
        DataError: when a number is not finite, or a class is not in the
            label spec; names the key frame.
    """
    try:
        check_ids('labels', boxes.labels, spec)
        check_finite('ref2global', torch.as_tensor(ref2global))
        for name in ('boxes', 'scores', 'velocities'):
            check_finite(name, getattr(boxes, name))
    except ValueError as error:
        raise DataError(f'boxes of sample {token!r}, {error}') from error
    turn = ref2global[:3, :3]
    # rotations of poses may have lost digits on their way through files
    frame = Quaternion(matrix=turn, rtol=1e-4, atol=1e-4)
    rows = []
    for box, label, score, velocity in zip(
        boxes.boxes.double().tolist(),
        boxes.labels.tolist(),
        boxes.scores.tolist(),
        boxes.velocities.double().tolist(),
    ):
        name = spec.classes[label]
        if name not in ATTRIBUTES:
            continue
        center = turn @ box[:3] + ref2global[:3, 3]
        rotation = frame * Quaternion(axis=(0, 0, 1), radians=box[6])
        speed = turn @ [*velocity, 0.0]
        rows.append(
            dict(
                sample_token=token,
                translation=center.tolist(),
                size=[box[4], box[3], box[5]],
                rotation=rotation.q.tolist(),
                velocity=speed[:2].tolist(),
                detection_name=name,
                detection_score=score,
                attribute_name=ATTRIBUTES[name][
                    int(np.hypot(*velocity) < _MOVING)
                ],
            )
        )
    return rows, len(boxes) - len(rows)


def write_detections(
    path: str | Path, results: Mapping[str, list[dict[str, Any]]]
) -> None:
    """Write a results file, whole or not at all; folders are made.

    Args:
        path: the file, JSON.
        results: boxes by token, see ``detection_results``; tokens are
            written in order.

    Raises:
        DataError: when a number in them is not finite, which JSON has none
            for, or the file can't be written.
    """
    rows = {token: results[token] for token in sorted(results)}
    try:
        text = json.dumps(dict(meta=_META, results=rows), allow_nan=False)
    except ValueError as error:
        raise DataError(f'{path}: boxes hold nan or infinity') from error
    with whole_file(path) as part:
        part.write_text(text)
