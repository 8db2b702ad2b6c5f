"""nuScenes-lidarseg: a class for each point of a key frame's sweep.

Categories become Occ3D's classes by name: the ids of the categories are
whatever the table says.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from .errors import DataError
from .pixel_files import SPEC
from .tables import Tables

#: id of what no category of the table has
UNKNOWN = 255

# by Occ3D class; what the lidarseg challenge ignores is 'others' here
_CATEGORIES_OF = dict(
    others=(
        'noise',
        'animal',
        'human.pedestrian.personal_mobility',
        'human.pedestrian.stroller',
        'human.pedestrian.wheelchair',
        'movable_object.debris',
        'movable_object.pushable_pullable',
        'static_object.bicycle_rack',
        'vehicle.emergency.ambulance',
        'vehicle.emergency.police',
        'static.other',
        'vehicle.ego',
    ),
    barrier=('movable_object.barrier',),
    bicycle=('vehicle.bicycle',),
    bus=('vehicle.bus.bendy', 'vehicle.bus.rigid'),
    car=('vehicle.car',),
    construction_vehicle=('vehicle.construction',),
    motorcycle=('vehicle.motorcycle',),
    pedestrian=(
        'human.pedestrian.adult',
        'human.pedestrian.child',
        'human.pedestrian.construction_worker',
        'human.pedestrian.police_officer',
    ),
    traffic_cone=('movable_object.trafficcone',),
    trailer=('vehicle.trailer',),
    truck=('vehicle.truck',),
    driveable_surface=('flat.driveable_surface',),
    other_flat=('flat.other',),
    sidewalk=('flat.sidewalk',),
    terrain=('flat.terrain',),
    manmade=('static.manmade',),
    vegetation=('static.vegetation',),
)
#: Occ3D id by nuScenes category name
CATEGORY_IDS = {
    category: SPEC.classes.index(name)
    for name, categories in _CATEGORIES_OF.items()
    for category in categories
}


def open_lidarseg(root: str | Path, version: str) -> Tables:
    """The tables of a version that has nuScenes-lidarseg.

    Args:
        root: folder with ``<version>/`` and ``lidarseg/<version>/``.
        version: such as 'v1.0-trainval'.

    Raises:
        FileNotFoundError: when the tables, the table ``lidarseg`` or one
            of its files are missing; says how many, and the first.
        DataError: when the tables don't fit each other.
    """
    root = Path(root)
    table = root / version / 'lidarseg.json'
    cure = (
        'Unpack the archive nuScenes-lidarseg of this version into '
        f'{root}, over the tables that are there (docs/data.md)'
    )
    if not table.is_file():
        raise FileNotFoundError(
            f'{table} is missing: without it LiDAR points have no classes. '
            f'{cure}'
        )
    try:
        records = json.loads(table.read_text())
        paths = [root / record['filename'] for record in records]
    except (
        KeyError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(
            f'{table} is damaged ({type(error).__name__}: {error}). {cure}'
        ) from error
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} files of the table {table} '
            f'are missing, the first is {missing[0]}. {cure}'
        )
    folder = root / 'lidarseg' / version
    count = sum(1 for path in folder.glob('*.bin'))
    if count != len(paths):
        raise DataError(
            f'{folder} has {count} label files, the table {table} names '
            f'{len(paths)}: they are of different versions. {cure}'
        )
    tables = Tables(root, version, lidarseg=True)
    if not all(isinstance(row.get('index'), int) for row in tables.category):
        raise DataError(
            f'{tables.path("category")} has rows without index: it is the '
            f'one of plain nuScenes. {cure}'
        )
    return tables


def class_table(categories: Sequence[dict[str, Any]]) -> np.ndarray:
    """Occ3D's classes by the ids in lidarseg files.

    Args:
        categories: rows of the table ``category``, with ``name`` and
            ``index``.

    Returns:
        ndarray: uint8 (256,); UNKNOWN where no category has the index.

    Raises:
        DataError: for a name that nuScenes does not have, or an index
            that is in no file.
    """
    table = np.full(256, UNKNOWN, np.uint8)
    for category in categories:
        name = category['name']
        if name not in CATEGORY_IDS:
            raise DataError(
                f'category {name!r} (index {category["index"]}) of the table '
                'category has no class: expected the names of '
                f'nuScenes-lidarseg, {sorted(CATEGORY_IDS)}'
            )
        if not 0 <= category['index'] < len(table):
            raise DataError(
                f'category {name!r} of the table category has the index '
                f'{category["index"]}; expected one of a byte, 0 to 255'
            )
        table[category['index']] = CATEGORY_IDS[name]
    return table


def lidarseg_file(nusc: Tables, token: str) -> str:
    """Path of the file with the classes of a key frame's points.

    Args:
        nusc: tables with lidarseg.
        token: of the key frame.

    Raises:
        DataError: when the tables don't know the key frame, or have no
            lidarseg file for it.
    """
    try:
        sweep = nusc.get('sample', token)['data']['LIDAR_TOP']
        # a row's token is that of the sweep
        record = nusc.get('lidarseg', sweep)
    except (DataError, KeyError) as error:
        raise DataError(
            f'key frame {token!r} has no lidarseg file in the tables of '
            f'{nusc.version}: are the info files of another version? Make '
            'them again with tools/create_data.py nuscenes, or name another '
            '--version'
        ) from error
    return os.path.join(nusc.dataroot, record['filename'])


def read_classes(
    path: str, table: np.ndarray, points: int, cloud: str
) -> np.ndarray:
    """Occ3D's class of each point.

    Args:
        path: a lidarseg file, a byte a point.
        table: see ``class_table``.
        points: how many the sweep has.
        cloud: the sweep's file, to name in errors.

    Returns:
        ndarray: uint8 (points,).

    Raises:
        FileNotFoundError: when the file is missing.
        DataError: when it has another length, or an id that is in no
            table.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'lidarseg file {path} is missing: the table names it. Unpack '
            'the archive nuScenes-lidarseg again (docs/data.md)'
        )
    try:
        ids = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(
            f'lidarseg file {path} cannot be read: {error.strerror or error}'
        ) from error
    if len(ids) != points:
        raise DataError(
            f'lidarseg file {path} has {len(ids)} bytes: expected {points}, '
            f'one for each point of {cloud}. One of the two is truncated or '
            'of another version; unpack or copy both again'
        )
    classes = table[ids]
    if (classes == UNKNOWN).any():
        strange = np.unique(ids[classes == UNKNOWN]).tolist()
        raise DataError(
            f'lidarseg file {path} has the ids {strange[:10]}, which no row '
            'of the table category has. Unpack the archive nuScenes-lidarseg '
            'again, with its own category.json'
        )
    return classes
