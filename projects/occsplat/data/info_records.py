"""One nuScenes key frame as an entry of an info file.

Entries follow mmdetection3d's info format, version 1.1, and add the scene,
the neighbours in time and the label files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion

from .label_set import label_files
from .layout import CATEGORIES
from .tables import Tables


def key_frame_info(
    nusc: Tables, sample: dict[str, Any], scene: dict[str, Any]
) -> dict[str, Any]:
    """The entry of one key frame.

    Args:
        nusc: the data set.
        sample: its record in the ``sample`` table.
        scene: its scene's record.

    Returns:
        dict: plain lists, numbers and strings; ``docs/data.md`` lists the
        fields. Matrices are computed in float64 from the tables.

    Raises:
        DataError: when the tables name what they don't have.
    """
    lidar = nusc.get('sample_data', sample['data']['LIDAR_TOP'])
    lidar2ego, ego2global = _poses(nusc, lidar)
    lidar2global = ego2global @ lidar2ego
    lidar_file = Path(lidar['filename']).name
    cameras = {
        channel: _camera_info(nusc, token, lidar2global)
        for channel, token in sample['data'].items()
        if channel.startswith('CAM_')
    }
    return dict(
        token=sample['token'],
        timestamp=sample['timestamp'] / 1e6,
        ego2global=ego2global.tolist(),
        images=cameras,
        lidar_points=dict(
            num_pts_feats=5,
            lidar_path=lidar_file,
            lidar2ego=lidar2ego.tolist(),
        ),
        instances=_instances(nusc, sample, lidar2global),
        scene_token=scene['token'],
        scene_name=scene['name'],
        prev=sample['prev'],
        next=sample['next'],
        **_label_paths(
            nusc.dataroot, scene['name'], sample['token'], lidar_file
        ),
    )


def _poses(
    nusc: Tables, data: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """sensor2ego and ego2global at the sensor's own time, (4, 4)."""
    mount = nusc.get('calibrated_sensor', data['calibrated_sensor_token'])
    ego = nusc.get('ego_pose', data['ego_pose_token'])
    return tuple(
        transform_matrix(pose['translation'], Quaternion(pose['rotation']))
        for pose in (mount, ego)
    )


def _camera_info(
    nusc: Tables, token: str, lidar2global: np.ndarray
) -> dict[str, Any]:
    data = nusc.get('sample_data', token)
    mount = nusc.get('calibrated_sensor', data['calibrated_sensor_token'])
    cam2ego, ego2global = _poses(nusc, data)
    # Camera and LiDAR fire up to 50 ms apart and the car has moved in
    # between: only the way through the global frame is right.
    lidar2cam = np.linalg.inv(ego2global @ cam2ego) @ lidar2global
    return dict(
        img_path=Path(data['filename']).name,
        cam2img=mount['camera_intrinsic'],
        cam2ego=cam2ego.tolist(),
        lidar2cam=lidar2cam.tolist(),
        width=data['width'],
        height=data['height'],
        ego2global=ego2global.tolist(),
        timestamp=data['timestamp'] / 1e6,
        sample_data_token=token,
    )


def _instances(
    nusc: Tables, sample: dict[str, Any], lidar2global: np.ndarray
) -> list[dict[str, Any]]:
    """Annotated boxes, in the LiDAR frame."""
    _, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
    instances = []
    for box in boxes:
        record = nusc.get('sample_annotation', box.token)
        name = category_to_detection_name(record['category_name'])
        label = CATEGORIES.index(name) if name else -1
        # nan where an object was annotated once only
        velocity = lidar2global[:3, :3].T @ nusc.box_velocity(box.token)
        points = record['num_lidar_pts'], record['num_radar_pts']
        instances.append(
            dict(
                bbox_3d=[
                    *box.center.tolist(),
                    *box.wlh[[1, 0, 2]].tolist(),
                    float(box.orientation.yaw_pitch_roll[0]),
                ],
                bbox_label=label,
                bbox_label_3d=label,
                velocity=velocity[:2].tolist(),
                num_lidar_pts=points[0],
                num_radar_pts=points[1],
                bbox_3d_isvalid=sum(points) > 0,
                instance_token=record['instance_token'],
            )
        )
    return instances


def _label_paths(
    root: str, scene_name: str, token: str, lidar_file: str
) -> dict[str, str | None]:
    """Label files relative to the root; None where there is no file."""
    paths = {}
    for key, labels in label_files().items():
        path = labels.path(scene_name, token, lidar_file)
        paths[key] = path if (Path(root) / path).is_file() else None
    return paths
