"""A drive of a few key frames on disk, small and known by heart."""

import json
import math

import numpy as np
from PIL import Image

from occsplat.data.layout import CAMERAS

#: width and height of the images
SIZE = (160, 90)
#: directions in which the cameras look, degrees to the left of forward
YAWS = dict(zip(CAMERAS, (55, 0, -55, 110, 180, -110)))


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    """4x4 of a frame that stands at (x, y, z), turned left by yaw (deg)."""
    angle = math.radians(yaw)
    matrix = np.eye(4)
    matrix[:2, :2] = [
        [math.cos(angle), -math.sin(angle)],
        [math.sin(angle), math.cos(angle)],
    ]
    matrix[:3, 3] = x, y, z
    return matrix


def cam2ego(name):
    """Pose of a camera on the car."""
    # columns: the camera's right, down and forward in the car's axes
    axes = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0]])
    turned = pose(1.0, 0.2, 1.5, YAWS[name]) @ np.vstack([axes, [0, 0, 0, 1]])
    return turned


def ego2global(frame):
    """The car drives a gentle bend, 4 m a key frame."""
    return pose(600 + 4.0 * frame, 1200 + 0.1 * frame**2, 0.0, 3.0 * frame)


LIDAR2EGO = pose(0.9, 0.0, 1.8, -90.0)
CAM2IMG = [[80.0, 0, 80.0], [0, 80.0, 45.0], [0, 0, 1]]


def make_info(scene, frame, last, start=0):
    """Info entry of a key frame; frames are half a second apart."""
    now = ego2global(frame)
    images = {}
    for i, name in enumerate(CAMERAS):
        # cameras fire up to 50 ms away from the LiDAR: the car moves on
        at_image = ego2global(frame - 0.02 * i)
        cam2global = at_image @ cam2ego(name)
        lidar2cam = np.linalg.inv(cam2global) @ now @ LIDAR2EGO
        images[name] = dict(
            img_path=f'{scene}_{frame}_{name}.png',
            cam2img=CAM2IMG,
            cam2ego=cam2ego(name).tolist(),
            lidar2cam=lidar2cam.tolist(),
            ego2global=at_image.tolist(),
        )
    token = f'{scene}-{frame}'
    return dict(
        token=token,
        timestamp=start + 0.5 * frame,
        ego2global=now.tolist(),
        images=images,
        lidar_points=dict(
            num_pts_feats=5,
            lidar_path=f'{token}.pcd.bin',
            lidar2ego=LIDAR2EGO.tolist(),
        ),
        scene_token=scene,
        scene_name=f'name-{scene}',
        prev=f'{scene}-{frame - 1}' if frame else '',
        next=f'{scene}-{frame + 1}' if frame < last else '',
        openocc_path=f'openocc_v2/name-{scene}/{token}/labels.npz',
        occ3d_path=f'gts/name-{scene}/{token}/labels.npz',
        visibility_path=f'openocc_v2_ray_mask/name-{scene}/{token}/labels.npz',
    )


def write_drive(root, scenes=(('a', 5),), sensors=True):
    """Write infos.json and the sensors' files; labels are up to tests."""
    data_list = [
        make_info(scene, frame, count - 1, 1000 * start)
        for start, (scene, count) in enumerate(scenes)
        for frame in range(count)
    ]
    rng = np.random.default_rng(0)
    for info in data_list if sensors else ():
        for name, camera in info['images'].items():
            path = root / 'samples' / name / camera['img_path']
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
            Image.fromarray(pixels).save(path)
        path = root / 'samples/LIDAR_TOP' / info['lidar_points']['lidar_path']
        path.parent.mkdir(parents=True, exist_ok=True)
        points = rng.uniform(-20, 20, (500, 5)).astype(np.float32)
        # intensity and beam
        points[:, 3:] = np.floor(np.abs(points[:, 3:]))
        points.tofile(path)
    write_infos(root, data_list)
    return data_list


def write_infos(root, data_list):
    """Write infos.json."""
    infos = dict(metainfo=dict(version='v1.0-mini'), data_list=data_list)
    (root / 'infos.json').write_text(json.dumps(infos))


def write_npz(path, **arrays):
    """Write a label file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
