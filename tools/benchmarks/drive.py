"""A short drive on disk, in nuScenes' layout, made of nothing but numpy.

For measurements where there is no data set, and no numba to make MiniTown:
images of noise, a straight street of boxes in every label set, LiDAR returns
on it and their 2D labels. Networks learn nothing from it, but work as hard.

Shape letters: P points, X Y Z voxels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from occsplat.data.frame_records import frame_record
from occsplat.data.info_files import write_infos
from occsplat.data.label_set import label_files
from occsplat.data.layout import CAMERAS, info_file
from occsplat.data.lidar2d import project_sweep
from occsplat.data.pixel_files import SPEC as PIXEL_SPEC
from occsplat.data.pixel_files import write_packed
from occsplat.data.sets import lidar2d
from occsplat.data.transforms import LoadLidarPoints
from occsplat.structures import LabelSpec, transform_points

from .rows import SEED

#: directions in which the cameras look, degrees to the left of forward
YAWS = dict(zip(CAMERAS, (55, 0, -55, 110, 180, -110)))
SCENE = 'scene-0061'
#: metres per key frame, and seconds
STEP, SECONDS = 4.0, 0.5
#: m/s of the car that drives ahead
SPEED = 10.0
RETURNS = 30_000


def pose(x: float, y: float, z: float, yaw: float) -> np.ndarray:
    """4x4 of a frame at (x, y, z), turned left by yaw (degrees)."""
    cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    matrix = np.eye(4)
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    matrix[:3, 3] = x, y, z
    return matrix


LIDAR2EGO = pose(0.9, 0.0, 1.8, -90.0)
# columns: a camera's right, down and forward in the axes of a car
CAM_AXES = np.array(
    [[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
)


def write_drive(root: Path, frames: int, image_size: tuple[int, int]) -> Path:
    """Write sensors, labels and info files of both splits.

    Args:
        root: folder.
        frames: key frames of the only scene.
        image_size: (width, height) in pixels.

    Returns:
        Path: the root.
    """
    rng = np.random.default_rng(SEED)
    data_list = []
    for frame in range(frames):
        info = _info(frame, frames, image_size)
        _write_images(root, info, image_size, rng)
        _write_labels(root, frame, info, rng)
        data_list.append(info)
    infos = dict(metainfo=dict(version='v1.0-mini'), data_list=data_list)
    for split in ('train', 'val'):
        write_infos(root / info_file(split), infos)
    return root


def street(points: np.ndarray, seconds: float) -> np.ndarray:
    """Class names at global points (P, 3), '' where the air is."""
    x, y, z = points.T
    side = np.abs(y)
    names = np.full(len(points), '', dtype='U24')
    floor = (z > -0.4) & (z < 0.0)
    names[floor & (side < 7)] = 'driveable_surface'
    names[floor & (side >= 7) & (side < 11)] = 'sidewalk'
    names[floor & (side >= 11)] = 'terrain'
    house = (side > 14) & (side < 28) & (x % 30 < 20)
    names[house & (z >= 0) & (z < 4.8)] = 'manmade'
    tree = (np.abs(x % 15 - 7) < 1) & (np.abs(side - 9) < 1)
    names[tree & (z >= 0) & (z < 4)] = 'vegetation'
    body = (z >= 0) & (z < 1.6)
    parked = (x % 12 < 4.5) & (np.abs(y + 5.5) < 1)
    names[body & parked] = 'car'
    names[body & _driving(points, seconds)] = 'car'
    return names


def _driving(points: np.ndarray, seconds: float) -> np.ndarray:
    """Where the moving car is, bool (P,)."""
    ahead = points[:, 0] - 12 - SPEED * seconds
    return (np.abs(ahead) < 2.3) & (np.abs(points[:, 1] - 2) < 1)


def _info(
    frame: int, frames: int, image_size: tuple[int, int]
) -> dict[str, Any]:
    """Entry of an info file, see docs/data.md."""
    width, height = image_size
    focal = 0.79 * width
    K = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
    token, lidar_file = f'key-frame-{frame:02d}', f'{frame:02d}.pcd.bin'
    ego2global = pose(STEP * frame, 0.0, 0.0, 0.0)
    images = {}
    for name, yaw in YAWS.items():
        cam2ego = pose(1.0, 0.0, 1.5, yaw) @ CAM_AXES
        images[name] = dict(
            img_path=f'{token}.jpg',
            cam2img=K,
            cam2ego=cam2ego.tolist(),
            lidar2cam=(np.linalg.inv(cam2ego) @ LIDAR2EGO).tolist(),
            ego2global=ego2global.tolist(),
        )
    labels = {
        key: kind.path(SCENE, token, lidar_file)
        for key, kind in label_files().items()
    }
    return dict(
        token=token,
        timestamp=SECONDS * frame,
        ego2global=ego2global.tolist(),
        images=images,
        lidar_points=dict(
            num_pts_feats=5,
            lidar_path=lidar_file,
            lidar2ego=LIDAR2EGO.tolist(),
        ),
        instances=[],
        scene_token=SCENE,
        scene_name=SCENE,
        prev=f'key-frame-{frame - 1:02d}' if frame else '',
        next=f'key-frame-{frame + 1:02d}' if frame + 1 < frames else '',
        **labels,
    )


def _write_images(
    root: Path,
    info: dict[str, Any],
    image_size: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    for name, camera in info['images'].items():
        path = root / 'samples' / name / camera['img_path']
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 255, (45, 80, 3), np.uint8)
        Image.fromarray(small).resize(image_size).save(path)


def _write_labels(
    root: Path, frame: int, info: dict[str, Any], rng: np.random.Generator
) -> None:
    """Every label set, the visibility masks and the point cloud."""
    occ, points, moving = _volume(LabelSpec.named('openocc'), frame)
    flow = np.zeros((*occ.shape, 2), np.float32)
    flow[moving] = SPEED, 0
    everything = np.ones(occ.shape, np.uint8)
    _write_npz(root / info['openocc_path'], semantics=occ, flow=flow)
    _write_npz(root / info['visibility_path'], ray_mask2=everything > 0)
    occ3d, _, _ = _volume(LabelSpec.named('occ3d'), frame)
    _write_npz(
        root / info['occ3d_path'],
        semantics=occ3d,
        mask_lidar=everything,
        mask_camera=everything,
    )
    spec = LabelSpec.named('surroundocc')
    sparse, _, _ = _volume(spec, frame)
    index = np.argwhere(sparse != spec.free)
    rows = np.column_stack([index, sparse[tuple(index.T)]])
    path = root / info['surroundocc_path']
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows.astype(np.int64))
    # returns on what is there, in the LiDAR's frame
    there = points[occ != LabelSpec.named('openocc').free]
    there = there[rng.integers(0, len(there), RETURNS)]
    back = np.linalg.inv(pose(STEP * frame, 0, 0, 0) @ LIDAR2EGO)
    cloud = np.zeros((RETURNS, 5), np.float32)
    cloud[:, :3] = transform_points(back, there)
    path = root / 'samples/LIDAR_TOP' / info['lidar_points']['lidar_path']
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud.tofile(path)
    _write_pixels(root, info, street(there, SECONDS * frame))


def _write_pixels(root: Path, info: dict[str, Any], names: np.ndarray) -> None:
    """2D labels of the returns, whose class names are given, (P,)."""
    record = frame_record(info, root)
    points = LoadLidarPoints()(dict(record))['points']
    labels = np.array([PIXEL_SPEC.classes.index(name) for name in names])
    write_packed(
        root / info[lidar2d.FILE.key],
        project_sweep(record, points, labels.astype(np.uint8)),
    )


def _volume(
    spec: LabelSpec, frame: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids uint8 (X, Y, Z), global centres (X, Y, Z, 3), what moves."""
    centers = spec.grid.centers(dtype=torch.float64).numpy()
    to_global = pose(STEP * frame, 0.0, 0.0, 0.0)
    if spec.frame == 'lidar':
        to_global = to_global @ LIDAR2EGO
    points = transform_points(to_global, centers)
    flat, seconds = points.reshape(-1, 3), SECONDS * frame
    names = street(flat, seconds)
    ids = np.full(len(flat), spec.free, np.uint8)
    for name in set(names.tolist()) - {''}:
        ids[names == name] = spec.classes.index(name)
    moving = (names == 'car') & _driving(flat, seconds)
    shape = spec.grid.shape
    return ids.reshape(shape), points, moving.reshape(shape)


def _write_npz(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
