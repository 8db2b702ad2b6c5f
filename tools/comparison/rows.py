"""The rows of a comparison: from the command line or from a file.

A row file is a config that holds nothing but ``rows``::

    rows = [
        dict(name='host', config='../fbocc/fbocc-tiny_minitown.py'),
        dict(
            name='again',  # the negative control
            config='../fbocc/fbocc-tiny_minitown.py',
            baseline='host',
            seed_offset=1000,
        ),
        dict(
            name='splat',
            config='../voxelsplat/voxelsplat_fbocc-tiny_minitown.py',
            options={'model.render_heads.0.scale': 0.4},
            baseline='host',
            claim=['mAVE', 'RayIoU'],
        ),
    ]
"""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Iterable, Mapping, NamedTuple, NoReturn, Sequence

from mmengine.config import Config

from occsplat.engine import ConfigError, add_cfg_options
from occsplat.evaluation import DIRECTIONS_OF_METRICS, metric_direction

#: names become folders
_NAME = re.compile(r'[A-Za-z0-9][\w.@+-]*')
_KINDS = dict(
    name=str,
    config=str,
    options=(dict, list, tuple),
    baseline=str,
    claim=(list, tuple),
    seed_offset=int,
)
SEED = 'randomness.seed'


class Row(NamedTuple):
    """One thing that is compared: a config with its options.

    Attributes:
        name: of the row, and of its runs' folders.
        config: the config file.
        options: KEY=VALUE each, as ``--cfg-options`` takes them.
        baseline: name of the row that it is compared with, if any.
        claim: metrics that the method's paper claims to improve.
        seed_offset: added to every seed of the comparison.
    """

    name: str
    config: str
    options: tuple[str, ...] = ()
    baseline: str | None = None
    claim: tuple[str, ...] = ()
    seed_offset: int = 0


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Values by key path of KEY=VALUE pairs, as every tool reads them.

    Raises:
        ConfigError: for one that is none.
    """
    if not pairs:
        return {}
    parser = _Parser(add_help=False)
    add_cfg_options(parser)
    return parser.parse_args(['--cfg-options', *pairs]).cfg_options


def rows_of_configs(configs: Sequence[str]) -> list[Row]:
    """Rows named after their configs, compared with the first.

    Raises:
        ConfigError: when two have the same name.
    """
    names = [Path(config).stem for config in configs]
    baselines = [None, *names[:1] * (len(names) - 1)]
    return check_rows(
        [
            Row(name, config, baseline=baseline)
            for name, config, baseline in zip(names, configs, baselines)
        ]
    )


def read_rows(path: str | Path) -> list[Row]:
    """Read a row file; its configs are named from its own folder.

    Raises:
        ConfigError: for a file that can't be read, and for what makes no
            sense in it; names the row.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f'row file {path} does not exist')
    try:
        content = Config.fromfile(path, import_custom_modules=False).to_dict()
    except Exception as error:  # whatever running a file of a user raises
        kind = type(error).__name__
        raise ConfigError(f'row file {path}: {kind}: {error}') from error
    entries = content.get('rows')
    if not isinstance(entries, (list, tuple)) or not entries:
        raise ConfigError(
            f'row file {path}: expected rows = [dict(name=..., config=...), '
            f'...], got {entries!r:.80}'
        )
    rows = []
    for number, entry in enumerate(entries):
        try:
            rows.append(_row(entry, path.parent))
        except ConfigError as error:
            name = f'rows[{number}]'
            if isinstance(entry, dict) and 'name' in entry:
                name += f' ({entry["name"]})'
            raise ConfigError(f'row file {path}: {name}: {error}') from error
    try:
        return check_rows(rows)
    except ConfigError as error:
        raise ConfigError(f'row file {path}: {error}') from error


def _row(entry: Any, folder: Path) -> Row:
    """A dict of a row file as a row."""
    if not isinstance(entry, dict):
        raise ConfigError(f'expected a dict, got {entry!r:.80}')
    for key, value in entry.items():
        if key not in _KINDS:
            raise ConfigError(f'unknown key {key!r}{_nearest(key, _KINDS)}')
        kinds = _KINDS[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            listed = kinds if isinstance(kinds, tuple) else (kinds,)
            expected = ' or '.join(kind.__name__ for kind in listed)
            raise ConfigError(f'{key}: expected {expected}, got {value!r:.80}')
    missing = [key for key in ('name', 'config') if key not in entry]
    if missing:
        raise ConfigError(f'{" and ".join(missing)} missing')
    if not _NAME.fullmatch(entry['name']):
        raise ConfigError(
            'a name becomes a folder: expected letters, digits and _ . @ + - '
            f'in it, got {entry["name"]!r}'
        )
    config = os.path.normpath(folder / entry['config'])
    fields = dict(entry, config=config, claim=tuple(entry.get('claim', ())))
    fields['options'] = tuple(option_pairs(entry.get('options', ())))
    return Row(**fields)


def option_pairs(
    options: Mapping[str, Any] | Sequence[str], lead: str = ''
) -> list[str]:
    """Options as KEY=VALUE; a dict may have dicts in it.

    Raises:
        ConfigError: for what ``--cfg-options`` has no way to write.
    """
    if not isinstance(options, dict):
        for pair in options:
            if not isinstance(pair, str):
                raise ConfigError(f'options: expected KEY=VALUE, got {pair!r}')
        parse_options(options)
        return list(options)
    pairs = []
    for key, value in options.items():
        path = f'{lead}{key}'
        if isinstance(value, dict) and value:
            pairs += option_pairs(value, f'{path}.')
            continue
        pair = f'{path}={value}'
        # compared as text: True is not 1
        if repr(parse_options([pair]).get(path)) != repr(value):
            raise ConfigError(
                f'options: --cfg-options cannot write {path} = {value!r}: '
                'make a config file of it'
            )
        pairs.append(pair)
    return pairs


def with_options(rows: Sequence[Row], common: Sequence[str]) -> list[Row]:
    """Rows with the options of all of them.

    Raises:
        ConfigError: when a row sets one of these itself, or one sets the
            seed.
    """
    keys = parse_options(common)
    for row in rows:
        own = parse_options(row.options)
        both = sorted(keys.keys() & own.keys())
        if both:
            raise ConfigError(
                f'--cfg-options {both[0]}: row {row.name} sets it itself'
            )
        if SEED in keys | own:
            raise ConfigError(
                f'{SEED} is set by --seeds, and by seed_offset of a row '
                'file, not by options'
            )
    return [row._replace(options=(*common, *row.options)) for row in rows]


def check_rows(rows: Sequence[Row]) -> list[Row]:
    """See that names differ, and that baselines and claims are known.

    Raises:
        ConfigError: where that is not so; names the row.
    """
    before: list[str] = []
    for row in rows:
        if row.name in before:
            raise ConfigError(f'names must differ: two rows are {row.name}')
        if row.baseline is not None and row.baseline not in before:
            raise ConfigError(
                f'row {row.name}: no row before it is named {row.baseline!r}, '
                f'its baseline; there are {", ".join(before) or "none"}'
            )
        if row.claim and row.baseline is None:
            raise ConfigError(
                f'row {row.name}: a claim needs a baseline to beat'
            )
        for metric in row.claim:
            if not isinstance(metric, str) or metric_direction(metric) is None:
                raise ConfigError(
                    f'row {row.name}: claim: no metric is named {metric!r}'
                    f'{_nearest(str(metric), DIRECTIONS_OF_METRICS)}'
                )
        before.append(row.name)
    return list(rows)


def chosen_rows(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Rows of these names and the baselines that they stand on, in order.

    Raises:
        ConfigError: for a name that no row has.
    """
    by_name = {row.name: row for row in rows}
    wanted: set[str | None] = set()
    for name in names:
        if name not in by_name:
            raise ConfigError(
                f'--only: no row is named {name!r}{_nearest(name, by_name)}; '
                f'there are {", ".join(by_name)}'
            )
        while name is not None and name not in wanted:
            wanted.add(name)
            name = by_name[name].baseline
    return [row for row in rows if row.name in wanted]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f'; did you mean {near[0]!r}?' if near else ''
