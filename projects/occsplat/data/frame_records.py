"""An info entry turned into what the transforms read.

Shape letters: N cameras, R ray origins, J boxes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from occsplat.structures import VoxelGrid
from occsplat.structures.label_spec import FRAMES

from .layout import CAMERAS, CATEGORIES, LABEL_SETS

#: at most so many ray origins a frame
MAX_ORIGINS = 8
#: decimals of their metres: poses of places far from the map's corner carry
#: an error of some 1e-13 m through the global frame
ORIGIN_DECIMALS = 6
_UNKNOWN = (np.nan, np.nan)


def frame_record(
    info: dict[str, Any],
    root: str | Path,
    frame: str = 'ego',
    cameras: Sequence[str] = CAMERAS,
    categories: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One entry of an info file, checked and in arrays.

    The entry of any mmdetection3d nuScenes info file will do; what
    OccSplat's own files add (scene, neighbours, label paths) is optional.

    Args:
        info: the entry.
        root: data root; paths are joined to it.
        frame: which frame at the LiDAR's key-frame time is the reference
            frame, 'ego' or 'lidar'; see ``LabelSpec.frame``.
        cameras: which cameras, and their order.
        categories: numbers of the names of annotated objects, as the
            file's metainfo has them; mmdetection3d's unless given.

    Returns:
        dict: ``token``, ``scene_token``, ``scene_name``, ``prev``,
        ``next``, ``timestamp`` (s), ``img_paths`` (N,), ``lidar_path``,
        ``num_pts_feats``, label paths (None where absent), and in float64
        ``cam2img`` (N, 3, 3), ``ref2cam`` (N, 4, 4), ``lidar2ref`` and
        ``ref2global`` (4, 4), and the name of the ``ref_frame``. Cameras
        are in the order of ``cameras``. Annotated objects are float32
        ``boxes`` (J, 7), x y z of the centre, length, width, height and
        yaw, and ``box_velocities`` (J, 2) in m/s, nan where unknown, both
        in the LiDAR frame; their ``box_names``, '' for none of the
        ``categories``; and ``box_points`` (J,), the LiDAR returns on each
        (one where nobody has counted). All are empty where the entry has
        no ``instances``.

    Raises:
        ValueError: when a field that must be there is not, or the frame
            is unknown.
    """
    if frame not in FRAMES:
        raise ValueError(f'frame must be one of {FRAMES}, got {frame!r}')
    try:
        return _record(info, Path(root), frame, cameras, categories)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'key frame {info.get("token", "?")!r}: no usable field '
            f'{error} in its info entry; expected the fields of '
            "mmdetection3d's nuScenes infos (version 1.1). Make the file "
            'anew with tools/create_data.py'
        ) from error


def _record(
    info: dict[str, Any],
    root: Path,
    frame: str,
    names: Sequence[str],
    categories: Mapping[str, int] | None,
) -> dict[str, Any]:
    lidar = info['lidar_points']
    cameras = [info['images'][name] for name in names]
    lidar2ego, ego2global = (
        _matrix(lidar['lidar2ego']),
        _matrix(info['ego2global']),
    )
    # The choice is made here and nowhere else: whatever is read later
    # reaches the reference frame through these matrices.
    if frame == 'lidar':
        lidar2ref, ref2global = np.eye(4), ego2global @ lidar2ego
    else:
        lidar2ref, ref2global = lidar2ego, ego2global
    lidar2cam = np.stack([_matrix(cam['lidar2cam']) for cam in cameras])
    cam2img = [np.asarray(cam['cam2img'])[:3, :3] for cam in cameras]
    # A folder without samples/ holds its files side by side.
    nested = (root / 'samples').is_dir()

    def sensor_file(channel: str, name: str) -> str:
        folder = root / 'samples' / channel if nested else root
        return str(folder / name)

    labels = {key: info.get(key) for key in LABEL_SETS}
    objects = info.get('instances') or ()
    boxes = [thing['bbox_3d'] for thing in objects]
    velocities = [thing.get('velocity', _UNKNOWN) for thing in objects]
    numbers = [thing.get('bbox_label_3d', -1) for thing in objects]
    named = dict(enumerate(CATEGORIES))
    if categories is not None:
        named = {number: name for name, number in categories.items()}
    points = [thing.get('num_lidar_pts', 1) for thing in objects]
    return dict(
        token=info['token'],
        # without a scene every frame stands alone
        scene_token=info.get('scene_token', info['token']),
        scene_name=info.get('scene_name', ''),
        prev=info.get('prev', ''),
        next=info.get('next', ''),
        timestamp=float(info['timestamp']),
        img_paths=[
            sensor_file(name, cam['img_path'])
            for name, cam in zip(names, cameras)
        ],
        lidar_path=sensor_file('LIDAR_TOP', lidar['lidar_path']),
        num_pts_feats=int(lidar['num_pts_feats']),
        cam2img=np.stack(cam2img).astype(np.float64),
        ref2cam=lidar2cam @ np.linalg.inv(lidar2ref),
        lidar2ref=lidar2ref,
        ref2global=ref2global,
        ref_frame=frame,
        boxes=np.array(boxes, np.float32).reshape(-1, 7),
        box_velocities=np.array(velocities, np.float32).reshape(-1, 2),
        box_names=[named.get(number, '') for number in numbers],
        box_points=np.array(points, np.int64),
        **{k: v and str(root / v) for k, v in labels.items()},
    )


def _matrix(value: Any) -> np.ndarray:
    return np.asarray(value, dtype=np.float64)


def ray_origins(
    records: Sequence[dict[str, Any]], index: int, grid: VoxelGrid
) -> np.ndarray:
    """Where RayIoU casts rays from, for one frame of a scene.

    SparseOcc (ECCV 2024), section 4, as its evaluation script does it:
    the places at which the LiDAR stood at each key frame of the scene, as
    far as they are inside the grid and a metre from its sides; of more
    than eight, eight evenly spaced ones.

    A LiDAR in the car's middle plane stands upon the border of two rows
    of voxels, and which of them a ray starts in must not be left to the
    rounding of its way through the global frame and back: the frame's own
    origin is that of ``lidar2ref``, the others are rounded.

    Args:
        records: all key frames of the scene in time order.
        index: position of the frame among them.
        grid: grid of the labels.

    Returns:
        ndarray: metres in the frame's reference frame, float32 (R, 3)
        with R <= 8.
    """
    lidar2global = np.stack(
        [r['ref2global'] @ r['lidar2ref'] for r in records]
    )
    global2ref = np.linalg.inv(records[index]['ref2global'])
    origins = (global2ref @ lidar2global)[:, :3, 3]
    # + 0.0 makes a zero of -0.0
    origins = np.round(origins, ORIGIN_DECIMALS) + 0.0
    origins[index] = records[index]['lidar2ref'][:3, 3]
    xy = origins[:, :2]
    inside = (xy > np.add(grid.min[:2], 1)) & (xy < np.add(grid.max[:2], -1))
    origins = origins[inside.all(axis=1)]
    if len(origins) > MAX_ORIGINS:
        picks = np.linspace(0, len(origins) - 1, MAX_ORIGINS)
        origins = origins[np.round(picks).astype(np.int64)]
    return origins.astype(np.float32)
