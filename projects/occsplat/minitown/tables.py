"""The tables of nuScenes v1.0-mini for a MiniTown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pyquaternion import Quaternion

from occsplat.structures import DataError

from .classes import ATTRIBUTES, CATEGORIES
from .frames import Job, Settings
from .sensors import CAMERA_NAMES, Camera, camera_rig, lidar_to_ego
from .tokens import (
    image_path,
    lidarseg_path,
    sweep_path,
    timestamp_of,
    token_of,
)
from .world import FRAME_STEP, SCENES, World, build_world

VERSION = 'v1.0-mini'
CHANNELS = (*CAMERA_NAMES, 'LIDAR_TOP')
MAP_FILE = 'maps/minitown.png'

#: metres; what never comes closer to the ego vehicle is not annotated
ANNOTATED = 75.0
#: lower bounds of the visible share of nuScenes' visibility levels 1 to 4
_LEVELS = (0.0, 0.4, 0.6, 0.8)


class Tables:
    """Collects the records of all scenes.

    Args:
        root: of the data set.
        settings: what decides its content.

    Attributes:
        tables: records by table name.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self._root, self._settings = root, settings
        seed = settings.seed
        names = (
            'instance calibrated_sensor ego_pose log scene sample '
            'sample_data sample_annotation lidarseg'
        )
        self.tables: dict[str, list[dict]] = {n: [] for n in names.split()}
        self.tables['category'] = [
            dict(
                token=token_of(seed, 'category', name),
                name=name,
                description='',
                index=index,
            )
            for index, name in enumerate(CATEGORIES)
        ]
        self.tables['attribute'] = [
            dict(
                token=token_of(seed, 'attribute', name),
                name=name,
                description='',
            )
            for name in ATTRIBUTES
        ]
        self.tables['visibility'] = [
            dict(
                token=str(n + 1),
                level=level,
                description='visible share of the object in all images',
            )
            for n, level in enumerate(('v0-40', 'v40-60', 'v60-80', 'v80-100'))
        ]
        self.tables['sensor'] = [
            dict(
                token=token_of(seed, 'sensor', channel),
                channel=channel,
                modality='lidar' if channel == 'LIDAR_TOP' else 'camera',
            )
            for channel in CHANNELS
        ]

    def add_scene(self, scene: int) -> None:
        """Add a scene whose frames are all on disk."""
        settings = self._settings
        world = build_world(scene, settings.seed)
        size = (settings.width, settings.height)
        rig = camera_rig(scene, size, settings.seed)
        self._add_scene(scene, world)
        self._add_sensors(scene, rig)
        for frame in range(settings.frames):
            self._add_frame(scene, frame, world)
        self._add_annotations(scene, world)

    def finished(self) -> dict[str, bytes]:
        """Every table as a JSON file, by table name."""
        seed = self._settings.seed
        logs = [log['token'] for log in self.tables['log']]
        maps = [
            dict(
                token=token_of(seed, 'map'),
                category='semantic_prior',
                filename=MAP_FILE,
                log_tokens=logs,
            )
        ]
        tables = {**self.tables, 'map': maps}
        return {
            name: json.dumps(records, indent=0).encode()
            for name, records in tables.items()
        }

    def _token(self, *parts: object) -> str:
        return token_of(self._settings.seed, *parts)

    def _chain(self, kind: str, frame: int, *parts: object) -> dict:
        """The prev and next tokens of a record of a key frame."""
        last = self._settings.frames - 1
        scene, *rest = parts
        before = self._token(kind, scene, frame - 1, *rest)
        after = self._token(kind, scene, frame + 1, *rest)
        return dict(
            prev=before if frame else '', next=after if frame < last else ''
        )

    def _add_scene(self, scene: int, world: World) -> None:
        last = self._settings.frames - 1
        self.tables['log'].append(
            dict(
                token=self._token('log', scene),
                logfile=f'minitown-{SCENES[scene][6:]}',
                vehicle='minitown',
                date_captured='2018-07-24',
                location='minitown',
            )
        )
        self.tables['scene'].append(
            dict(
                token=self._token('scene', scene),
                log_token=self._token('log', scene),
                nbr_samples=last + 1,
                first_sample_token=self._token('sample', scene, 0),
                last_sample_token=self._token('sample', scene, last),
                name=world.name,
                description=f'MiniTown, {world.plan}, {world.light.name}',
            )
        )

    def _add_sensors(self, scene: int, rig: tuple[Camera, ...]) -> None:
        mounts = {camera.name: camera.cam2ego for camera in rig}
        mounts['LIDAR_TOP'] = lidar_to_ego()
        lenses = {camera.name: camera.intrinsic.tolist() for camera in rig}
        for channel in CHANNELS:
            self.tables['calibrated_sensor'].append(
                dict(
                    token=self._token('calibrated_sensor', scene, channel),
                    sensor_token=self._token('sensor', channel),
                    **_pose(mounts[channel]),
                    camera_intrinsic=lenses.get(channel, []),
                )
            )

    def _add_frame(self, scene: int, frame: int, world: World) -> None:
        sample = self._token('sample', scene, frame)
        key = timestamp_of(scene, frame)
        self.tables['sample'].append(
            dict(
                token=sample,
                timestamp=key,
                **self._chain('sample', frame, scene),
                scene_token=self._token('scene', scene),
            )
        )
        for channel in CHANNELS:
            camera = channel != 'LIDAR_TOP'
            stamp = timestamp_of(scene, frame, channel)
            # the sensor's own time, exactly as it was rendered
            pose = world.ego_pose(frame * FRAME_STEP + (stamp - key) * 1e-6)
            token = self._token('sample_data', scene, frame, channel)
            self.tables['ego_pose'].append(
                dict(token=token, timestamp=stamp, **_pose(pose))
            )
            self.tables['sample_data'].append(
                dict(
                    token=token,
                    sample_token=sample,
                    ego_pose_token=token,
                    calibrated_sensor_token=self._token(
                        'calibrated_sensor', scene, channel
                    ),
                    timestamp=stamp,
                    fileformat='jpg' if camera else 'pcd',
                    is_key_frame=True,
                    height=self._settings.height if camera else 0,
                    width=self._settings.width if camera else 0,
                    filename=image_path(scene, frame, channel)
                    if camera
                    else sweep_path(scene, frame),
                    **self._chain('sample_data', frame, scene, channel),
                )
            )
        seed = self._settings.seed
        self.tables['lidarseg'].append(
            dict(
                token=token,
                sample_data_token=token,
                filename=lidarseg_path(seed, scene, frame),
            )
        )

    def _add_annotations(self, scene: int, world: World) -> None:
        frames = self._settings.frames
        records = [
            _read(Job(self._root, self._settings, scene, f).record)
            for f in range(frames)
        ]
        egos = [world.ego_pose(f * FRAME_STEP)[:2, 3] for f in range(frames)]
        for index, thing in enumerate(world.things):
            boxes = [world.box(index, f * FRAME_STEP) for f in range(frames)]
            gaps = [
                np.linalg.norm(pose[:2, 3] - ego)
                for (pose, _), ego in zip(boxes, egos)
            ]
            if min(gaps) > ANNOTATED:
                continue
            category = self._token('category', thing.actor.category)
            first = self._token('annotation', scene, 0, index)
            last = self._token('annotation', scene, frames - 1, index)
            self.tables['instance'].append(
                dict(
                    token=self._token('instance', scene, index),
                    category_token=category,
                    nbr_annotations=frames,
                    first_annotation_token=first,
                    last_annotation_token=last,
                )
            )
            for frame, (pose, size) in enumerate(boxes):
                self._annotate(
                    scene, frame, index, world, pose, size, records[frame]
                )

    def _annotate(self, scene, frame, index, world, pose, size, record):
        """One box in one key frame."""
        velocity = world.velocity(index, frame, self._settings.frames)
        attribute = world.attribute(index, float(np.linalg.norm(velocity)))
        level = np.searchsorted(_LEVELS, record['visible'][index], 'right')
        length, width, height = size.tolist()
        self.tables['sample_annotation'].append(
            dict(
                token=self._token('annotation', scene, frame, index),
                sample_token=self._token('sample', scene, frame),
                instance_token=self._token('instance', scene, index),
                visibility_token=str(int(level)),
                attribute_tokens=[self._token('attribute', attribute)]
                if attribute
                else [],
                **_pose(pose),
                size=[width, length, height],
                **self._chain('annotation', frame, scene, index),
                num_lidar_pts=record['num_lidar_pts'][index],
                num_radar_pts=0,
            )
        )


def _read(path: Path) -> dict:
    """What was noted of a frame that is finished."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f'{path} cannot be read ({error}): delete it, and the next run '
            'makes it anew'
        ) from error


def _pose(matrix: np.ndarray) -> dict:
    """Translation and rotation (w x y z) of a pose."""
    rotation = Quaternion(matrix=matrix, rtol=1e-6, atol=1e-6)
    return dict(
        translation=matrix[:3, 3].tolist(), rotation=rotation.q.tolist()
    )
