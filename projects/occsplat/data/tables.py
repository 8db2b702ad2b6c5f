"""nuScenes' tables, as far as OccSplat reads them.

The devkit's own class loads every table and every map before it answers
anything, and stops with a bare assertion when lidarseg is half unpacked,
which info files don't need. Here are its look-ups over the tables that are
wanted, and whatever is wrong with one of them is said in a line.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Mapping

from nuscenes.nuscenes import NuScenes

from .errors import DataError


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool)
    return whole and math.isfinite(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _vector(value: Any) -> bool:
    listed = isinstance(value, list) and len(value) == 3
    return listed and all(map(_number, value))


def _rotation(value: Any) -> bool:
    """A quaternion of length one: others turn, too, but are no pose."""
    listed = isinstance(value, list) and len(value) == 4
    if not listed or not all(map(_number, value)):
        return False
    return abs(math.hypot(*value) - 1) < 1e-3


def _list(value: Any) -> bool:
    return isinstance(value, list)


_POSE = dict(translation=_vector, rotation=_rotation)
#: what is read: columns by table, with what they hold
_COLUMNS: dict[str, dict[str, Any]] = dict(
    scene=dict(name=_text, first_sample_token=_text),
    sample=dict(timestamp=_number, prev=_text, next=_text),
    sample_data=dict(
        sample_token=_text,
        ego_pose_token=_text,
        calibrated_sensor_token=_text,
        timestamp=_number,
        is_key_frame=_flag,
        filename=_text,
        width=_number,
        height=_number,
    ),
    sensor=dict(channel=_text, modality=_text),
    calibrated_sensor=dict(
        sensor_token=_text, camera_intrinsic=_list, **_POSE
    ),
    ego_pose=_POSE,
    sample_annotation=dict(
        sample_token=_text,
        instance_token=_text,
        size=_vector,
        prev=_text,
        next=_text,
        num_lidar_pts=_number,
        num_radar_pts=_number,
        **_POSE,
    ),
    instance=dict(category_token=_text),
    category=dict(name=_text),
)
_LIDARSEG = dict(lidarseg=dict(filename=_text))
_EXPECTED = {
    _text: 'a text',
    _number: 'a finite number',
    _flag: 'true or false',
    _vector: 'three finite numbers',
    _rotation: 'a quaternion w x y z of length 1',
    _list: 'a list',
}


class Tables(NuScenes):
    """The devkit's look-ups over tables that have been looked at.

    Of ``sample_data`` the key frames are kept, and of ``ego_pose`` their
    poses. Maps, panoptic and, unless asked for, lidarseg are not touched.

    Args:
        root: folder with ``<version>/``.
        version: such as 'v1.0-trainval'.
        lidarseg: whether to read the table of nuScenes-lidarseg.

    Raises:
        FileNotFoundError: when a table is missing.
        DataError: when one is damaged or lacks a column, or when tables
            don't fit each other; names the table.
    """

    def __init__(
        self, root: str | Path, version: str, lidarseg: bool = False
    ) -> None:
        # not the devkit's constructor, which is what can't be had
        self.version, self.dataroot = version, str(root)
        self.verbose = False
        columns = {**_COLUMNS, **(_LIDARSEG if lidarseg else {})}
        self.table_names = [*columns]
        self._token2ind: dict[str, dict[str, int]] = {}
        for name in columns:
            rows = _read(self.path(name))
            if name == 'sample_data':
                rows = [r for r in rows if r.get('is_key_frame') is not False]
            elif name == 'ego_pose':
                used = {row['ego_pose_token'] for row in self.sample_data}
                rows = [row for row in rows if row.get('token') in used]
            _check(rows, columns[name], self.path(name))
            setattr(self, name, rows)
            self._token2ind[name] = {r['token']: i for i, r in enumerate(rows)}
        self._link()

    def path(self, table: str) -> Path:
        """The file of a table."""
        return Path(self.dataroot) / self.version / f'{table}.json'

    def getind(self, table_name: str, token: str) -> int:
        """Position of a row in its table.

        Raises:
            DataError: when the table has no such row.
        """
        try:
            return self._token2ind[table_name][token]
        except KeyError:
            raise DataError(
                f'table {self.path(table_name)} has no row with the token '
                f'{token!r}, which another table names. The tables are '
                f'incomplete or of different versions: {_cure(self.version)}'
            ) from None

    def _link(self) -> None:
        """What samples have, and names in place of tokens, as the devkit."""
        for row in self.sample:
            row['data'], row['anns'] = {}, []
        for row in self.sample_data:
            mount = self.get(
                'calibrated_sensor', row['calibrated_sensor_token']
            )
            sensor = self.get('sensor', mount['sensor_token'])
            row['channel'] = sensor['channel']
            row['sensor_modality'] = sensor['modality']
            sample = self.get('sample', row['sample_token'])
            sample['data'][row['channel']] = row['token']
        for row in self.sample_annotation:
            thing = self.get('instance', row['instance_token'])
            kind = self.get('category', thing['category_token'])
            row['category_name'] = kind['name']
            sample = self.get('sample', row['sample_token'])
            sample['anns'].append(row['token'])


def _cure(version: str) -> str:
    return f'unpack the metadata archive of {version} again'


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a table."""
    version = path.parent.name
    if not path.is_file():
        raise FileNotFoundError(
            f'table {path} is missing: {_cure(version)}, all of it'
        )
    try:
        rows = json.loads(path.read_bytes())
    except (MemoryError, OSError, RecursionError, ValueError) as error:
        raise DataError(
            f'table {path} is damaged ({type(error).__name__}: {error}): '
            f'{_cure(version)}'
        ) from error
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) for row in rows
    ):
        raise DataError(f'table {path} is no list of rows: {_cure(version)}')
    return rows


def _check(
    rows: list[dict[str, Any]], columns: Mapping[str, Any], path: Path
) -> None:
    """Every row has every column, and something fitting in it."""
    columns = {'token': _text, **columns}
    for row in rows:
        for column, fits in columns.items():
            if column not in row or not fits(row[column]):
                found = repr(row[column]) if column in row else 'nothing'
                raise DataError(
                    f'table {path}, row {row.get("token", "?")!r}: '
                    f'{column} is {found}; expected {_EXPECTED[fits]}. '
                    f'The table is damaged: {_cure(path.parent.name)}'
                )
    if len({row['token'] for row in rows}) != len(rows):
        raise DataError(
            f'table {path} has several rows with the same token: '
            f'{_cure(path.parent.name)}'
        )
