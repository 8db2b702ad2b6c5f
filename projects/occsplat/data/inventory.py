"""Which files of a data set are there, and which ones are read.

Counted are the files that tables and info files name. What is in them is
looked at in ``health``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Sequence

from mmdet3d.registry import TRANSFORMS

from occsplat.structures import Finding

from .errors import DataError
from .info_files import read_infos, records_of
from .infos import sensor_files
from .label_set import LabelFile, label_files
from .layout import info_file
from .lidarseg import open_lidarseg
from .pixel_files import RENDEROCC
from .tables import Tables

#: info files, in this order
SPLITS = ('train', 'val', 'test')
_UNITS = ('bytes', 'kB', 'MB', 'GB', 'TB')


@dataclass(frozen=True)
class Stock:
    """Files of one kind.

    Attributes:
        expected: how many there should be.
        found: how many are there.
        size: bytes of those.
        missing: the first that is not there.
    """

    expected: int
    found: int
    size: int
    missing: Path | None

    @classmethod
    def of(cls, paths: Iterable[str | Path]) -> Stock:
        """Look for files; each counts once."""
        size, found, missing = 0, 0, None
        paths = dict.fromkeys(map(Path, paths))
        for path in paths:
            if path.is_file():
                found += 1
                size += path.stat().st_size
            elif missing is None:
                missing = path
        return cls(len(paths), found, size, missing)

    @property
    def whole(self) -> bool:
        """Whether there are files, and none is missing."""
        return self.found == self.expected > 0

    def __str__(self) -> str:
        text = f'{self.found} of {self.expected} files'
        if self.found:
            text += f', {file_size(self.size)}'
        if self.missing is not None:
            text += f'; the first missing is {self.missing}'
        return text


@dataclass
class Inventory:
    """What there is below a data root.

    Attributes:
        findings: lines of a report.
        infos: content of the info files that can be read, by split.
        whole: record fields whose files are all there, by split.
    """

    findings: list[Finding]
    infos: dict[str, dict[str, Any]]
    whole: dict[str, set[str]]


def take_inventory(root: str | Path, version: str | None = None) -> Inventory:
    """Look for all files of a data set, reading none but tables and infos.

    Args:
        root: the data root.
        version: which tables; by default those that the info file was
            made of, else the first ones that there are.

    Raises:
        FileNotFoundError: when there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f'data root {root} does not exist: expected a folder with '
            'tables, samples/ and labels'
        )
    inventory = Inventory([], {}, {})
    for split in SPLITS:
        inventory.findings += _read_split(root, split, inventory)
    named = [i['metainfo'].get('version') for i in inventory.infos.values()]
    found = sorted(p.name for p in root.glob('v1.0-*') if p.is_dir())
    asked = version is not None
    version = version or next(filter(None, [*named, *found]), None)
    inventory.findings[:0] = _tables(root, version, found, asked)
    if not inventory.infos:
        inventory.findings.append(
            Finding(
                'problem',
                'info files',
                f'there is none in {root}. Make them with python '
                f'tools/create_data.py nuscenes --root {root} --version '
                f'{version or "v1.0-trainval"}',
            )
        )
    return inventory


def files_read(steps: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which files of a key frame the transforms of a pipeline read.

    A transform says so itself, with an attribute ``reads``: names of the
    fields of a record that hold the paths.

    Args:
        steps: transforms, as configs have them.

    Returns:
        tuple: the fields, each once, in the order of the transforms.
    """
    built = [TRANSFORMS.build(dict(step)) for step in steps]
    fields = (f for step in built for f in getattr(step, 'reads', ()))
    return tuple(dict.fromkeys(fields))


def file_titles() -> dict[str, str]:
    """What people call the files of a record, by its fields."""
    return {
        'img_paths': 'images',
        'lidar_path': 'point clouds',
        RENDEROCC: "RenderOcc's 2D labels",
        **{key: file.title for key, file in label_files().items()},
    }


def file_size(size: int) -> str:
    """Bytes for people, such as '1.5 GB'."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f'{value:.3g} {_UNITS[unit]}'


def _tables(
    root: Path, version: str | None, found: Sequence[str], asked: bool
) -> Iterator[Finding]:
    """The tables, and the files that they name.

    ``asked``: whether the user wants this version. Training needs none.
    """
    if version not in found:
        there = ', '.join(found) or 'none'
        yield Finding(
            'problem' if asked else 'note',
            'tables',
            f'{"none" if version is None else version} below {root} (found: '
            f'{there}). Info files, lidarseg and 2D labels are made of them: '
            'unpack the metadata archive',
        )
        return
    try:
        lidarseg = (root / version / 'lidarseg.json').is_file()
        tables = Tables(root, version, lidarseg)
        files: dict[str, list[Path]] = {}
        for sample in tables.sample:
            for _, path in sensor_files(tables, sample):
                files.setdefault(path.parent.name, []).append(path)
    except (DataError, FileNotFoundError) as error:
        yield Finding('problem', f'tables {version}', str(error))
        return
    more = [name for name in found if name != version]
    yield Finding(
        'ok',
        f'tables {version}',
        f'{len(tables.scene)} scenes, {len(tables.sample)} key frames, '
        f'{len(tables.sample_annotation)} annotations'
        + (f'; {", ".join(more)} is there, too' if more else ''),
    )
    for channel, paths in sorted(files.items()):
        yield _sensor(channel, Stock.of(paths), root)
    yield _lidarseg(root, version, tables if lidarseg else None)


def _sensor(channel: str, stock: Stock, root: Path) -> Finding:
    cure = (
        ''
        if stock.whole
        else f'. Unpack the sensor archives into {root}, or leave scenes out '
        'with tools/create_data.py nuscenes --skip-missing'
    )
    level = 'ok' if stock.whole else 'problem'
    return Finding(level, channel, f'{stock}{cure}')


def _lidarseg(root: Path, version: str, tables: Tables | None) -> Finding:
    if tables is None:
        return Finding(
            'note',
            'lidarseg',
            'not there; only tools/create_data.py lidar2d reads it',
        )
    try:
        open_lidarseg(root, version)
    except (DataError, FileNotFoundError) as error:
        return Finding('problem', 'lidarseg', str(error))
    paths = [root / row['filename'] for row in tables.lidarseg]
    return Finding('ok', 'lidarseg', str(Stock.of(paths)))


def _read_split(
    root: Path, split: str, inventory: Inventory
) -> Iterator[Finding]:
    """An info file, and the files that it names."""
    path = root / info_file(split)
    if not path.is_file():
        return
    try:
        infos = read_infos(root, split)
        records = records_of(infos, path, root, cameras=None)
    except DataError as error:
        yield Finding('problem', f'{split} infos', str(error))
        return
    inventory.infos[split] = infos
    whole = inventory.whole[split] = set()
    scenes = len({record['scene_token'] for record in records})
    yield Finding(
        'ok',
        f'{split} infos',
        f'{len(records)} key frames of {scenes} scenes, {path}',
    )
    stocks = {
        'img_paths': Stock.of(p for r in records for p in r['img_paths']),
        'lidar_path': Stock.of(r['lidar_path'] for r in records),
    }
    for key, stock in stocks.items():
        if stock.whole:
            whole.add(key)
        else:
            yield Finding(
                'problem', f'{split} {file_titles()[key]}', str(stock)
            )
    if split == 'test':  # nobody has its labels
        return
    for key, file in label_files().items():
        finding, usable = _labels(root, split, file, records)
        if usable:
            whole.add(key)
        yield finding


def _labels(
    root: Path,
    split: str,
    file: LabelFile,
    records: Sequence[Mapping[str, Any]],
) -> tuple[Finding, bool]:
    """Files of one kind, and whether every key frame can be read."""
    stock = Stock.of(
        record[file.key]
        or root
        / file.path(
            record['scene_name'],
            record['token'],
            Path(record['lidar_path']).name,
        )
        for record in records
    )
    name = f'{split} {file.title}'
    unnamed = sum(record[file.key] is None for record in records)
    make = (
        f'make them with tools/create_data.py {file.command}'
        if file.command
        else 'unpack them there and run tools/create_data.py nuscenes again'
    )
    if stock.found == 0 and unnamed == len(records):
        return Finding('note', name, f'none; to use them, {make}'), False
    if not stock.whole:
        return Finding('problem', name, f'{stock}. To use them, {make}'), False
    if unnamed:
        return Finding(
            'problem',
            name,
            f'{stock}, but the info file names none for {unnamed} key frames, '
            'as it is older. Run tools/create_data.py '
            f'{file.command or "nuscenes"} again',
        ), False
    return Finding('ok', name, str(stock)), True
