"""Takes one key frame of a scene to disk: images, sweep and labels."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from occsplat.structures import (
    PART,
    transform_points,
    whole_file,
    write_errors,
)

from .labels import make_labels, surroundocc_rows
from .lidar import take_sweep
from .render import Image, Renderer
from .sensors import CAMERA_NAMES, Camera, camera_rig
from .tokens import (
    image_path,
    lidarseg_path,
    surroundocc_path,
    sweep_path,
    token_of,
)
from .world import FRAME_STEP, SCENES, World, build_world

JPEG_QUALITY = 92

#: where the progress of a run is kept, inside the root
STATE = '.minitown'
#: ending of files that are being written
UNFINISHED = PART


@dataclass(frozen=True)
class Settings:
    """What decides the content of a data set.

    Attributes:
        frames: key frames per scene.
        width: of the images, pixels.
        height: of the images, pixels.
        seed: of all randomness.
    """

    frames: int
    width: int
    height: int
    seed: int


@dataclass(frozen=True)
class Job:
    """One key frame to write."""

    root: Path
    settings: Settings
    scene: int
    frame: int

    @property
    def record(self) -> Path:
        """File that holds what the annotation tables need to know."""
        name = f'{SCENES[self.scene]}_{self.frame:03d}.json'
        return self.root / STATE / name

    def files(self) -> dict[str, Path]:
        """Every other file of the frame, by what it holds."""
        scene, frame, seed = self.scene, self.frame, self.settings.seed
        place = Path(SCENES[scene]) / token_of(seed, 'sample', scene, frame)
        files = {
            name: self.root / image_path(scene, frame, name)
            for name in CAMERA_NAMES
        }
        files['sweep'] = self.root / sweep_path(scene, frame)
        files['lidarseg'] = self.root / lidarseg_path(seed, scene, frame)
        for kind, folder in (
            ('occ3d', 'gts'),
            ('openocc', 'openocc_v2'),
            ('visibility', 'openocc_v2_ray_mask'),
        ):
            files[kind] = self.root / folder / place / 'labels.npz'
        files['surroundocc'] = self.root / surroundocc_path(scene, frame)
        return files


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave an equal one alone.

    Args:
        path: the file.
        content: what it shall hold.

    Raises:
        DataError: when it can't be written.
    """
    with write_errors(path):
        if path.exists() and path.read_bytes() == content:
            return
    with whole_file(path) as part:
        part.write_bytes(content)


@lru_cache(maxsize=1)
def _scene(
    scene: int, settings: Settings
) -> tuple[World, Renderer, tuple[Camera, ...]]:
    """The scene that this process works on."""
    world = build_world(scene, settings.seed)
    size = (settings.width, settings.height)
    return world, Renderer(world), camera_rig(scene, size, settings.seed)


def write_frame(job: Job) -> None:
    """Write what a key frame lacks; touch nothing that is there.

    Args:
        job: the key frame.
    """
    missing = {k: p for k, p in job.files().items() if not p.exists()}
    unrecorded = not job.record.exists()
    if not missing and not unrecorded:
        return
    world, renderer, rig = _scene(job.scene, job.settings)
    t = job.frame * FRAME_STEP
    images = {
        camera.name: renderer.render(camera, t)
        for camera in rig
        if unrecorded or camera.name in missing
    }
    content: dict[str, bytes] = {
        name: _jpeg(images[name]) for name in CAMERA_NAMES if name in missing
    }
    sweep = take_sweep(world, t)
    content['sweep'] = sweep.points.tobytes()
    content['lidarseg'] = sweep.category.tobytes()
    if {'occ3d', 'openocc', 'visibility'} & missing.keys():
        content.update(_label_files(world, job, rig))
    if 'surroundocc' in missing:
        content['surroundocc'] = _npy(surroundocc_rows(world, job.frame))
    for kind, path in missing.items():
        write_bytes(path, content[kind])
    if unrecorded:
        owners = sweep.owner[sweep.owner >= 0]
        points = np.bincount(owners, minlength=len(world.things))
        visible = visible_share(world, rig, images, t)
        record = dict(
            num_lidar_pts=points.tolist(),
            visible=visible.round(4).tolist(),
        )
        # last: it says that the frame is finished
        write_bytes(job.record, json.dumps(record).encode())


def _jpeg(image: Image) -> bytes:
    """An image as a JPEG file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    bgr = np.ascontiguousarray(image.rgb[..., ::-1])
    done, data = cv2.imencode('.jpg', bgr, options)
    if not done:
        raise RuntimeError('OpenCV could not encode an image as JPEG')
    return data.tobytes()


def _label_files(
    world: World, job: Job, rig: tuple[Camera, ...]
) -> dict[str, bytes]:
    """The three label files of a frame that are in the ego frame."""
    labels = make_labels(world, job.frame, job.settings.frames, rig)
    return dict(
        occ3d=_npz(
            semantics=labels.occ3d,
            mask_lidar=labels.mask_lidar,
            mask_camera=labels.mask_camera,
        ),
        openocc=_npz(
            semantics=labels.openocc,
            flow=labels.flow,
            instances=labels.instances,
        ),
        # the same voxels are occupied in both label sets
        visibility=_npz(ray_mask2=labels.mask_camera.astype(bool)),
    )


def _npz(**arrays: np.ndarray) -> bytes:
    """Arrays as a compressed npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    """An array as an npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def visible_share(
    world: World,
    rig: tuple[Camera, ...],
    images: dict[str, Image],
    t: float,
) -> np.ndarray:
    """How much of each thing the six images show.

    A lattice of points in the thing's box is projected into the images; a
    point counts as visible where the image shows the thing itself or
    something farther away.

    Args:
        world: the scene.
        rig: the cameras.
        images: by camera name.
        t: seconds, time of the key frame.

    Returns:
        np.ndarray: visible points over points inside any image, zero where
            there are none; shape (len(world.things),).
    """
    steps = np.linspace(-0.45, 0.45, 5)
    lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    count = len(world.things)
    inside, visible = np.zeros(count), np.zeros(count)
    for camera in rig:
        when = t + camera.delay
        boxes = [world.box(i, when) for i in range(count)]
        poses = np.stack([pose for pose, _ in boxes])
        local = lattice * np.stack([size for _, size in boxes])[:, None]
        points = local @ poses[:, :3, :3].transpose(0, 2, 1)
        points = points + poses[:, None, :3, 3]
        view = np.linalg.inv(world.ego_pose(when) @ camera.cam2ego)
        seen = transform_points(view, points)
        depth = np.maximum(seen[..., 2], 1e-6)
        pixels = seen @ camera.intrinsic.T / depth[..., None]
        inner = (
            (seen[..., 2] > 0.5)
            & (pixels[..., :2] >= 0).all(-1)
            & (pixels[..., 0] < camera.width)
            & (pixels[..., 1] < camera.height)
        )
        thing, which = np.nonzero(inner)
        u, v = pixels[thing, which, :2].astype(int).T
        image = images[camera.name]
        shown = (image.owner[v, u] == thing) | (
            image.depth[v, u] >= depth[thing, which]
        )
        inside += np.bincount(thing, minlength=count)
        visible += np.bincount(thing, shown, minlength=count)
    return visible / np.maximum(inside, 1)
