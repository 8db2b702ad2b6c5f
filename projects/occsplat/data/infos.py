"""Make the info files that NuScenesOccDataset reads."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Sequence

from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes

from .info_files import write_infos
from .info_records import key_frame_info
from .layout import CATEGORIES, LABEL_SETS, info_file

#: info splits of each version, with the devkit's names for them
_SPLITS = {
    'v1.0-mini': dict(train='mini_train', val='mini_val'),
    'v1.0-trainval': dict(train='train', val='val'),
    'v1.0-test': dict(test='test'),
}


def create_infos(root: str | Path, version: str) -> list[Path]:
    """Write ``occsplat_infos_{train,val,test}.pkl`` into the root.

    Reads the tables, checks that every image and point cloud is there,
    and notes which label files are. Scenes go to the devkit's splits; one
    that is not among the tables is left out, so parts of the data set
    work, too.

    Args:
        root: folder with ``<version>/``, ``samples/`` and the labels.
        version: 'v1.0-mini' or 'v1.0-trainval' (train and val infos), or
            'v1.0-test' (test infos; there are no labels for them).

    Returns:
        list: paths of the files written.

    Raises:
        ValueError: for an unknown version.
        FileNotFoundError: when the tables, an image or a point cloud are
            missing; says how many, and the first of them.
    """
    root = Path(root)
    if version not in _SPLITS:
        raise ValueError(
            f'unknown nuScenes version {version!r}, expected one of '
            f'{sorted(_SPLITS)}'
        )
    if not (root / version).is_dir():
        raise FileNotFoundError(
            f'{root / version} does not exist: expected the tables of '
            f'nuScenes {version} there. Unpack its metadata archive into '
            f'{root}, or name another --root or --version'
        )
    nusc = NuScenes(version=version, dataroot=str(root), verbose=False)
    scenes = create_splits_scenes()
    data_lists = {
        split: _data_list(nusc, set(scenes[devkit_split]), split)
        for split, devkit_split in _SPLITS[version].items()
    }
    # all of it before the first file is written
    _check_sensor_files(
        root, [i for part in data_lists.values() for i in part]
    )
    metainfo = dict(
        categories={name: i for i, name in enumerate(CATEGORIES)},
        dataset='nuscenes',
        version=version,
        info_version='1.1',
    )
    paths = []
    for split, data_list in data_lists.items():
        if split != 'test':
            _report_labels(root, data_list, split)
        path = root / info_file(split)
        write_infos(path, dict(metainfo=metainfo, data_list=data_list))
        _log(f'{path}: {len(data_list)} key frames')
        paths.append(path)
    return paths


def _data_list(
    nusc: NuScenes, scene_names: set[str], split: str
) -> list[dict[str, Any]]:
    """Entries of a split: scenes in table order, frames in time order."""
    scenes = [s for s in nusc.scene if s['name'] in scene_names]
    frames = []
    for scene in scenes:
        token = scene['first_sample_token']
        while token:
            sample = nusc.get('sample', token)
            frames.append((sample, scene))
            token = sample['next']
    if not frames:
        _log(
            f'no scene of the {split} split is among the tables of '
            f'{nusc.version}: its info file will be empty',
            logging.WARNING,
        )
        return []
    _log(f'{split}: {len(frames)} key frames of {len(scenes)} scenes')
    data_list = []
    for index, (sample, scene) in enumerate(track_iter_progress(frames)):
        info = key_frame_info(nusc, sample, scene)
        data_list.append(dict(sample_idx=index, **info))
    return data_list


def _check_sensor_files(root: Path, data_list: list[dict[str, Any]]) -> None:
    """Raise when a key frame's image or point cloud is not on disk."""
    samples = root / 'samples'
    images, clouds = [], []
    for info in data_list:
        for channel, camera in info['images'].items():
            images.append(samples / channel / camera['img_path'])
        clouds.append(
            samples / 'LIDAR_TOP' / info['lidar_points']['lidar_path']
        )
    problems = [
        _missing(kind, paths)
        for kind, paths in (('images', images), ('point clouds', clouds))
    ]
    if any(problems):
        raise FileNotFoundError(
            '; '.join(filter(None, problems))
            + '. Unpack all sensor archives of this version into '
            f'{root}, so that {samples} is complete, and run this again'
        )


def _missing(kind: str, paths: Sequence[Path]) -> str:
    """How many of the files are missing, '' if none."""
    missing = [path for path in paths if not path.is_file()]
    if not missing:
        return ''
    return (
        f'{len(missing)} of {len(paths)} {kind} are missing, the first is '
        f'{missing[0]}'
    )


def _report_labels(
    root: Path, data_list: list[dict[str, Any]], split: str
) -> None:
    """Log how complete each label set is."""
    for key, labels in LABEL_SETS.items():
        missing = [info for info in data_list if info[key] is None]
        found = len(data_list) - len(missing)
        if not missing:
            _log(f'{split}: {labels.title}: all {found} found')
            continue
        if labels.command:
            _log(
                f'{split}: {labels.title}: {found} of {len(data_list)} '
                f'made; tools/create_data.py {labels.command} makes them'
            )
            continue
        first = labels.path(
            missing[0]['scene_name'],
            missing[0]['token'],
            missing[0]['lidar_points']['lidar_path'],
        )
        _log(
            f'{split}: {labels.title}: {found} of {len(data_list)} found, '
            f'the first missing is {root / first}',
            logging.WARNING,
        )


def _log(message: str, level: int = logging.INFO) -> None:
    print_log(message, logger='current', level=level)
