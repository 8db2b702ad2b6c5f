"""Where the files of a nuScenes-like data set lie below its root."""

from __future__ import annotations

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


def info_file(split: str) -> str:
    """Name of the info file of 'train', 'val' or 'test'."""
    return f'occsplat_infos_{split}.pkl'


def statistics_file(label_set: str, split: str) -> str:
    """Name of the file that holds the statistics of a label set."""
    return f'{label_set}_statistics_{split}.json'
