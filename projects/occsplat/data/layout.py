"""Where the files of a nuScenes-like data set lie below its root."""

from __future__ import annotations

from dataclasses import dataclass

#: order of the cameras in every tensor
CAMERAS = (
    'CAM_FRONT_LEFT',
    'CAM_FRONT',
    'CAM_FRONT_RIGHT',
    'CAM_BACK_LEFT',
    'CAM_BACK',
    'CAM_BACK_RIGHT',
)
#: the ten classes of mmdetection3d's nuScenes infos, in its order
CATEGORIES = (
    'car',
    'truck',
    'trailer',
    'bus',
    'construction_vehicle',
    'bicycle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'barrier',
)


@dataclass(frozen=True)
class LabelSet:
    """One set of label files, a file a key frame.

    Attributes:
        title: what people call it.
        pattern: a key frame's file relative to the root, with the fields
            ``scene_name``, ``token`` and ``lidar_file``.
        command: of tools/create_data.py, which makes the files; '' where
            they are downloaded.
    """

    title: str
    pattern: str
    command: str = ''

    def path(self, scene_name: str, token: str, lidar_file: str) -> str:
        """A key frame's file, relative to the root.

        Args:
            scene_name: such as 'scene-0061'.
            token: the key frame's sample token.
            lidar_file: name of its point cloud, without folders.
        """
        return self.pattern.format(
            scene_name=scene_name, token=token, lidar_file=lidar_file
        )


_NPZ = '{scene_name}/{token}/labels.npz'

#: by the info field that holds the path
LABEL_SETS = dict(
    occ3d_path=LabelSet('Occ3D labels', f'gts/{_NPZ}'),
    openocc_path=LabelSet('OpenOcc labels', f'openocc_v2/{_NPZ}'),
    visibility_path=LabelSet(
        'visibility masks', f'openocc_v2_ray_mask/{_NPZ}'
    ),
    surroundocc_path=LabelSet(
        'SurroundOcc labels', 'surroundocc/samples/{lidar_file}.npy'
    ),
    lidar2d_path=LabelSet(
        '2D labels', 'lidar2d/{scene_name}/{token}.npz', 'lidar2d'
    ),
)


def info_file(split: str) -> str:
    """Name of the info file of 'train', 'val' or 'test'."""
    return f'occsplat_infos_{split}.pkl'


def statistics_file(label_set: str, split: str) -> str:
    """Name of the file that holds the statistics of a label set."""
    return f'{label_set}_statistics_{split}.json'
