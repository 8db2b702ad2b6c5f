"""An info entry turned into what the transforms read.

Shape letters: N cameras, R ray origins, J boxes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from occsplat.structures import VoxelGrid

from .calibration import check_time, read_calibration
from .errors import DataError
from .label_set import label_files
from .layout import CAMERAS, CATEGORIES

#: frames of nuScenes that labels live in: the car's, or its LiDAR's
FRAMES = ('ego', 'lidar')
#: at most so many ray origins per frame
MAX_ORIGINS = 8
#: decimals of their metres: poses of places far from the map's corner carry
#: an error of some 1e-13 m through the global frame
ORIGIN_DECIMALS = 6
_UNKNOWN = (np.nan, np.nan)


def frame_record(
    info: dict[str, Any],
    root: str | Path,
    frame: str = 'ego',
    cameras: Sequence[str] | None = CAMERAS,
    categories: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One entry of an info file, checked and in arrays.

    The entry of any mmdetection3d nuScenes info file will do; what
    OccSplat's own files add (scene, neighbours, label paths) is optional.
    ``calibration`` says which matrices and times are refused.

    Args:
        info: the entry.
        root: data root; paths are joined to it.
        frame: which frame at the LiDAR's key-frame time is the reference
            frame, 'ego' or 'lidar'; see ``LabelSpec.frame``.
        cameras: which cameras, and their order; None: all that the entry
            has, see ``camera_names``.
        categories: numbers of the names of annotated objects, as the
            file's metainfo has them; mmdetection3d's unless given.

    Returns:
        dict: ``token``, ``scene_token``, ``scene_name``, ``prev``,
        ``next``, ``timestamp`` (s), names of the ``cameras`` (N,) and of
        ``all_cameras`` of the entry, ``img_paths`` (N,),
        ``image_sizes`` (N,), (width, height) or None where the entry
        does not say it, their mounts ``cam2ego`` (N,), (4, 4), likewise,
        ``lidar_path``,
        ``num_pts_feats``, label paths (None where absent), and in float64
        ``cam2img`` (N, 3, 3), ``ref2cam`` (N, 4, 4), ``lidar2ref`` and
        ``ref2global`` (4, 4), and the name of the ``ref_frame``. Cameras
        are in the order of ``cameras``. Annotated objects are float32
        ``boxes`` (J, 7), x y z of the centre, length, width, height and
        yaw, and ``box_velocities`` (J, 2) in m/s, nan where unknown, both
        in the LiDAR frame; their ``box_names``, '' for none of the
        ``categories``; ``box_points`` (J,), the LiDAR returns on each
        (one where nobody has counted); and ``box_instances``, tokens that
        an object keeps from frame to frame, '' where there is none. All
        are empty where the entry has no ``instances``.

    Raises:
        ValueError: when the frame is unknown.
        DataError: when a field that must be there is not, or holds what
            it can't; names the key frame and the field.
    """
    if frame not in FRAMES:
        raise ValueError(f'frame must be one of {FRAMES}, got {frame!r}')
    token = info.get('token') if isinstance(info, Mapping) else None
    token = token if isinstance(token, str) else '?'
    try:
        return _record(info, Path(root), frame, cameras, categories)
    except DataError as error:
        raise DataError(f'key frame {token!r}: {error}') from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'key frame {token!r}: no usable field {error} in its info '
            "entry; expected the fields of mmdetection3d's nuScenes infos "
            '(version 1.1). Make the file anew with tools/create_data.py'
        ) from error


def camera_names(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Cameras of an info entry: nuScenes' in their order, then others'."""
    there = info['images']
    others = sorted(name for name in there if name not in CAMERAS)
    return (*(name for name in CAMERAS if name in there), *others)


def _record(
    info: dict[str, Any],
    root: Path,
    frame: str,
    names: Sequence[str] | None,
    categories: Mapping[str, int] | None,
) -> dict[str, Any]:
    token = _plain_name(info['token'], 'token')
    if not isinstance(info['images'], Mapping):
        raise DataError(
            f'images is a {type(info["images"]).__name__}; expected a dict '
            'of cameras by name'
        )
    every = camera_names(info)
    names = every if names is None else tuple(names)
    absent = [name for name in names if name not in every]
    if absent:
        raise DataError(
            f'there is no camera {", ".join(absent)}, but '
            f'{", ".join(every) or "none at all"}. Name the cameras to use '
            "with cameras=[...] in the dataset of each of the config's "
            'dataloaders'
        )
    lidar = info['lidar_points']
    matrices = read_calibration(info, names)
    lidar2ego, ego2global = matrices.lidar2ego, matrices.ego2global
    # The choice is made here and nowhere else: whatever is read later
    # reaches the reference frame through these matrices.
    if frame == 'lidar':
        lidar2ref, ref2global = np.eye(4), ego2global @ lidar2ego
    else:
        lidar2ref, ref2global = lidar2ego, ego2global
    # A folder without samples/ holds its files side by side.
    nested = (root / 'samples').is_dir()

    def sensor_file(channel: str, name: str) -> str:
        folder = root / 'samples' / channel if nested else root
        return str(folder / name)

    labels = {key: info.get(key) for key in label_files()}
    return dict(
        token=token,
        # without a scene every frame stands alone
        scene_token=_text(info, 'scene_token', token),
        scene_name=_plain_name(info.get('scene_name', ''), 'scene_name'),
        prev=_text(info, 'prev', ''),
        next=_text(info, 'next', ''),
        timestamp=check_time('timestamp', info['timestamp']),
        cameras=names,
        all_cameras=every,
        img_paths=[
            sensor_file(name, info['images'][name]['img_path'])
            for name in names
        ],
        image_sizes=matrices.sizes,
        cam2ego=matrices.cam2ego,
        lidar_path=sensor_file('LIDAR_TOP', lidar['lidar_path']),
        num_pts_feats=_point_features(lidar['num_pts_feats']),
        cam2img=matrices.cam2img,
        ref2cam=matrices.lidar2cam @ np.linalg.inv(lidar2ref),
        lidar2ref=lidar2ref,
        ref2global=ref2global,
        ref_frame=frame,
        **_objects(info.get('instances') or (), categories),
        **{k: v and str(root / v) for k, v in labels.items()},
    )


def _text(info: Mapping[str, Any], key: str, default: str) -> str:
    value = info.get(key, default)
    if not isinstance(value, str):
        raise DataError(f'{key} is {value!r}; expected a text')
    return value


def _plain_name(value: Any, key: str) -> str:
    """What may become the name of a file or folder."""
    if (
        not isinstance(value, str)
        or value in ('.', '..')
        or any(sign in value for sign in '/\\\0')
    ):
        raise DataError(
            f'{key} is {value!r}; expected a text without slashes: files '
            'are named after it'
        )
    return value


def _point_features(value: Any) -> int:
    whole = isinstance(value, (int, np.integer)) and value >= 3
    if not whole or isinstance(value, bool):
        raise DataError(
            f"lidar_points['num_pts_feats'] is {value!r}; expected the "
            'columns of a point in its file, 3 or more (5 for nuScenes)'
        )
    return int(value)


def _objects(
    instances: Sequence[Mapping[str, Any]],
    categories: Mapping[str, int] | None,
) -> dict[str, Any]:
    """The fields of annotated objects; see ``frame_record``."""
    boxes = [thing['bbox_3d'] for thing in instances]
    velocities = [thing.get('velocity') for thing in instances]
    velocities = [_UNKNOWN if v is None else v for v in velocities]
    numbers = [thing.get('bbox_label_3d', -1) for thing in instances]
    named = dict(enumerate(CATEGORIES))
    if categories is not None:
        named = {number: name for name, number in categories.items()}
    points = [thing.get('num_lidar_pts', 1) for thing in instances]
    record = dict(
        boxes=_column(boxes, 'bbox_3d', np.float32, (7,)),
        box_velocities=_column(velocities, 'velocity', np.float32, (2,)),
        box_names=[named.get(number, '') for number in numbers],
        box_points=_column(points, 'num_lidar_pts', np.int64, ()),
        box_instances=[_text(t, 'instance_token', '') for t in instances],
    )
    # velocities may be unknown
    if not np.isfinite(record['boxes']).all():
        raise DataError("instances: 'bbox_3d' has values that are not finite")
    return record


def _column(
    values: Sequence[Any], key: str, kind: type, shape: tuple[int, ...]
) -> np.ndarray:
    """A field of all annotated objects, (J, *shape)."""
    try:
        array = np.array(values, kind)
        if not values:
            array = array.reshape(0, *shape)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(
            f'instances: {key!r} holds no numbers: {error}'
        ) from error
    if array.shape != (len(values), *shape):
        raise DataError(
            f'instances: {key!r} of all objects has the shape {array.shape}; '
            f'expected {(len(values), *shape)}'
        )
    return array


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
