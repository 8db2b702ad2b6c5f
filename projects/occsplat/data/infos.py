"""Make the info files that NuScenesOccDataset reads."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Iterator

from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from nuscenes.utils.splits import create_splits_scenes

from occsplat.structures import check_writable

from .errors import DataError
from .info_files import records_of, write_infos
from .info_records import key_frame_info
from .label_set import label_files
from .layout import CAMERAS, CATEGORIES, info_file
from .tables import Tables
from .visibility import record_cameras

#: info splits of each version, with the devkit's names for them
_SPLITS = {
    'v1.0-mini': dict(train='mini_train', val='mini_val'),
    'v1.0-trainval': dict(train='train', val='val'),
    'v1.0-test': dict(test='test'),
}
#: a scene's record with its key frames' ones, in time order
_Scene = tuple[dict[str, Any], list[dict[str, Any]]]


def create_infos(
    root: str | Path, version: str, skip_missing: bool = False
) -> list[Path]:
    """Write ``occsplat_infos_{train,val,test}.pkl`` into the root.

    Reads the tables, checks that every image and point cloud is there and
    that calibrations can be ones, and notes which label files are. Scenes
    go to the devkit's splits; one that is not among the tables is left
    out, so parts of the data set work, too.

    Args:
        root: folder with ``<version>/``, ``samples/`` and the labels.
        version: 'v1.0-mini' or 'v1.0-trainval' (train and val infos), or
            'v1.0-test' (test infos; there are no labels for them).
        skip_missing: leave scenes out of which an image or a point cloud
            is missing, for roots with some of the archives.

    Returns:
        list: paths of the files written.

    Raises:
        ValueError: for an unknown version.
        FileNotFoundError: when the tables, an image or a point cloud are
            missing (all of them, with ``skip_missing``); says how many,
            and the first of them.
        DataError: when a table is damaged or holds what can't be, images
            have another size than it says, or the root can't be written.
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
    check_writable(root)
    nusc = Tables(root, version)
    names = create_splits_scenes()
    splits = {
        split: _scenes(nusc, set(names[devkit_split]), split)
        for split, devkit_split in _SPLITS[version].items()
    }
    # all of it before the first file is written
    splits = _with_files(nusc, splits, skip_missing)
    metainfo = dict(
        categories={name: i for i, name in enumerate(CATEGORIES)},
        dataset='nuscenes',
        version=version,
        info_version='1.1',
    )
    contents = {
        split: dict(metainfo=metainfo, data_list=_data_list(nusc, scenes))
        for split, scenes in splits.items()
    }
    for split, infos in contents.items():
        _check(infos, root, version)
        _report_cameras(infos['data_list'], split)
    paths = []
    for split, infos in contents.items():
        data_list = infos['data_list']
        if split != 'test':
            _report_labels(root, data_list, split)
        path = root / info_file(split)
        write_infos(path, infos)
        _log(f'{path}: {len(data_list)} key frames')
        paths.append(path)
    return paths


def _scenes(nusc: Tables, names: set[str], split: str) -> list[_Scene]:
    """Scenes of a split in table order, frames in time order."""
    scenes = []
    for scene in nusc.scene:
        if scene['name'] not in names:
            continue
        frames: dict[str, dict[str, Any]] = {}
        token = scene['first_sample_token']
        while token:
            if token in frames:
                raise DataError(
                    f'table {nusc.path("sample")}: the key frames of scene '
                    f'{scene["name"]} go in a circle, {token!r} comes twice'
                )
            frames[token] = nusc.get('sample', token)
            token = frames[token]['next']
        scenes.append((scene, [*frames.values()]))
    if not scenes:
        _log(
            f'no scene of the {split} split is among the tables of '
            f'{nusc.version}: its info file will be empty',
            logging.WARNING,
        )
    return scenes


def sensor_files(
    nusc: Tables, sample: dict[str, Any]
) -> Iterator[tuple[str, Path]]:
    """'image' or 'point cloud', and where it is, for what infos name.

    Args:
        nusc: the tables.
        sample: row of a key frame.

    Raises:
        DataError: when it has no LiDAR sweep.
    """
    if 'LIDAR_TOP' not in sample['data']:
        raise DataError(
            f'table {nusc.path("sample_data")} has no LIDAR_TOP of key frame '
            f'{sample["token"]!r}, whose frame everything is expressed in'
        )
    for channel, token in sample['data'].items():
        if channel.startswith('CAM_') or channel == 'LIDAR_TOP':
            name = Path(nusc.get('sample_data', token)['filename']).name
            path = Path(nusc.dataroot) / 'samples' / channel / name
            kind = 'image' if channel != 'LIDAR_TOP' else 'point cloud'
            yield kind, path


def _with_files(
    nusc: Tables, splits: dict[str, list[_Scene]], skip_missing: bool
) -> dict[str, list[_Scene]]:
    """The scenes whose images and point clouds are on disk.

    Raises:
        FileNotFoundError: when one is missing and shall not be skipped,
            or when nothing is left.
    """
    count = dict.fromkeys(('image', 'point cloud'), 0)
    missing: dict[str, list[Path]] = {kind: [] for kind in count}
    kept: dict[str, list[_Scene]] = {}
    for split, scenes in splits.items():
        kept[split] = []
        for scene, frames in scenes:
            whole = True
            for frame in frames:
                for kind, path in sensor_files(nusc, frame):
                    count[kind] += 1
                    if not path.is_file():
                        missing[kind].append(path)
                        whole = False
            if whole:
                kept[split].append((scene, frames))
    if not any(missing.values()):
        return splits
    said = '; '.join(
        f'{len(paths)} of {count[kind]} {kind}s are missing, the first is '
        f'{paths[0]}'
        for kind, paths in missing.items()
        if paths
    )
    if not skip_missing or not any(kept.values()):
        samples = Path(nusc.dataroot) / 'samples'
        raise FileNotFoundError(
            f'{said}. Unpack all sensor archives of this version into '
            f'{nusc.dataroot}, so that {samples} is complete, and run this '
            'again'
            + (
                ': there is no scene of which all files are there'
                if skip_missing
                else ', or leave scenes without files out with --skip-missing'
            )
        )
    for split, scenes in splits.items():
        _log(
            f'{split}: {len(scenes) - len(kept[split])} of {len(scenes)} '
            'scenes are left out, as files of theirs are missing',
            logging.WARNING,
        )
    _log(said, logging.WARNING)
    return kept


def _data_list(nusc: Tables, scenes: list[_Scene]) -> list[dict[str, Any]]:
    """Entries of a split."""
    frames = [(frame, scene) for scene, part in scenes for frame in part]
    if not frames:
        return []
    _log(f'{len(frames)} key frames of {len(scenes)} scenes')
    data_list = []
    for index, (sample, scene) in enumerate(track_iter_progress(frames)):
        info = key_frame_info(nusc, sample, scene)
        data_list.append(dict(sample_idx=index, **info))
    return data_list


def _check(infos: dict[str, Any], root: Path, version: str) -> None:
    """Raise for what a reader of the file would refuse.

    Sizes of images are looked at in the first key frame of each scene:
    one car, one calibration.
    """
    tables = f'the tables in {root / version}'
    records = records_of(infos, tables, root, cameras=None)
    first = {record['scene_token']: record for record in reversed(records)}
    for record in first.values():
        record_cameras(record)


def _report_cameras(data_list: list[dict[str, Any]], split: str) -> None:
    """Say which scenes lack one of the usual cameras."""
    lacking: dict[tuple[str, ...], dict[str, None]] = {}
    for info in data_list:
        absent = tuple(name for name in CAMERAS if name not in info['images'])
        if absent:
            lacking.setdefault(absent, {})[info['scene_name']] = None
    for absent, scenes in lacking.items():
        _log(
            f'{split}: {len(scenes)} scenes, the first is '
            f'{next(iter(scenes))}, have key frames without '
            f'{", ".join(absent)}: a config needs cameras=[...] with those '
            'that all have, in the dataset of each dataloader',
            logging.WARNING,
        )


def _report_labels(
    root: Path, data_list: list[dict[str, Any]], split: str
) -> None:
    """Log how complete each label set is."""
    for key, labels in label_files().items():
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
