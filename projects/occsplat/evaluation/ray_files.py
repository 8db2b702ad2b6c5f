"""Ray files of the occupancy-and-flow challenge.

A gzipped pickle of one dictionary::

    method, team, 'e-mail', 'institution / company', 'country / region': str
    authors: list of str
    results: {token: dict(pcd_cls=uint8 (R,), pcd_dist=float16 (R,),
                          pcd_flow=float16 (R, 2))}

with the rays of :func:`lidar_rays` from each of the frame's T origins, in
order: R = T * 14040, T from 1 to 8. Distances are metres, flows m/s.

Shape letters: R rays, T origins.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Mapping

import numpy as np
import torch

from occsplat.plain_pickle import RefusedGlobal, unpickle
from occsplat.structures import PART, DataError, write_errors

from .ray_counts import FrameRays, lidar_rays

#: rays per origin, and origins per frame at most
RAYS = len(lidar_rays())
MAX_ORIGINS = 8

#: who took part; what is not given stays as here
CHALLENGE_INFO: dict[str, Any] = {
    'method': 'OccSplat',
    'team': '',
    'authors': [],
    'e-mail': '',
    'institution / company': '',
    'country / region': '',
}

# kinds of number to read, axes, and the type to write: little-endian
_FIELDS = dict(
    pcd_cls=('iu', 1, '|u1'),
    pcd_dist=('f', 1, '<f2'),
    pcd_flow=('f', 2, '<f2'),
)


@dataclass
class RayFile:
    """A ray file in memory, 7 bytes per ray.

    Attributes:
        info: who made it, as in ``CHALLENGE_INFO``.
        results: arrays by field by token, as on disk.
    """

    info: dict[str, Any]
    results: dict[str, dict[str, np.ndarray]]

    def rays(self, token: str) -> FrameRays:
        """The rays of one frame; ``flow`` is None where there is none."""
        return from_arrays(self.results[token])


def to_arrays(rays: FrameRays, token: str = '') -> dict[str, np.ndarray]:
    """Rays of a frame as a ray file holds them.

    Half precision has steps of 3 cm at 40 m, and of 1 cm/s at 10 m/s. A
    distance is at most the diagonal of the grid: nothing overflows. Flow
    of a network gone astray may: it stops at +-65504 m/s.

    Args:
        rays: of the frame.
        token: of the frame, for the message.

    Returns:
        dict: pcd_cls, pcd_dist and, where there is flow, pcd_flow.

    Raises:
        DataError: when a distance or a flow is not finite.
    """
    arrays = dict(pcd_cls=rays.label, pcd_dist=rays.distance)
    if rays.flow is not None:
        arrays['pcd_flow'] = rays.flow
    for name, value in arrays.items():
        if not torch.isfinite(value).all():
            raise DataError(
                f'token {token!r}, {name}: expected finite numbers, got nan '
                'or infinity'
            )
    if rays.flow is not None:
        most = torch.finfo(torch.float16).max
        arrays['pcd_flow'] = rays.flow.clamp(-most, most)
    return {k: v.numpy().astype(_FIELDS[k][2]) for k, v in arrays.items()}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> FrameRays:
    """The reverse of :func:`to_arrays`, up to the rounding."""
    flow = arrays.get('pcd_flow')
    return FrameRays(
        torch.from_numpy(arrays['pcd_cls'].astype(np.int64)),
        torch.from_numpy(arrays['pcd_dist'].astype(np.float64)),
        None if flow is None else torch.from_numpy(flow.astype(np.float64)),
    )


def read_challenge_info(path: str | Path) -> dict[str, Any]:
    """Who took part, from a JSON file.

    Args:
        path: an object with some of the keys of ``CHALLENGE_INFO``.

    Returns:
        dict: all of the keys.

    Raises:
        FileNotFoundError: when there is no such file.
        DataError: when it is no JSON object, a key is unknown, or a value
            of the wrong type.
    """
    try:
        given = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise DataError(f'{path}: not a JSON file ({error})') from error
    if not isinstance(given, dict):
        raise DataError(
            f'{path}: expected a JSON object with {sorted(CHALLENGE_INFO)}, '
            f'got {type(given).__name__}'
        )
    return _checked_info(given, path)


class RayFileWriter:
    """Write a ray file frame by frame, whole or not at all.

    ::

        with RayFileWriter('rays.gz', info) as out:
            for token in sorted(tokens):
                out.add(token, to_arrays(rays[token]))

    The same content gives the same bytes, whatever numpy wrote them: the
    pickle is put together here and names numpy's functions as numpy 1.x
    does, which numpy 2.x understands and not the other way round. Memory
    holds one frame. Nothing appears under the name when the block raises.

    Args:
        path: the file; folders are made as needed.
        info: as in ``CHALLENGE_INFO``, which stands in for missing keys.

    Raises:
        DataError: when the name does not end with .gz, the info is not
            what a ray file holds, nor in ``add`` an array, a token comes
            twice, or the file can't be written.
    """

    def __init__(
        self, path: str | Path, info: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(path)
        if self.path.suffix != '.gz':
            raise DataError(
                f'{path}: a ray file is called .gz, not {self.path.suffix!r}'
            )
        self.info = _checked_info(info or {}, path)
        self.tokens: set[str] = set()

    def __enter__(self) -> RayFileWriter:
        self.tokens = set()
        self._part = self.path.with_name(f'.{self.path.name}{PART}')
        with write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._part, 'wb')
        # without name and time, which would differ from run to run
        self._gzip = gzip.GzipFile('', 'wb', 6, self._file, mtime=0)
        opening = pickle.PROTO + b'\x03' + pickle.EMPTY_DICT + pickle.MARK
        for key, value in self.info.items():
            opening += _plain(key) + _plain(value)
        opening += _plain('results') + pickle.EMPTY_DICT + pickle.MARK
        self._write(opening)
        return self

    def add(self, token: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Add one frame."""
        if token in self.tokens:
            raise DataError(f'{self.path}: token {token!r} comes twice')
        arrays = _checked_frame(arrays, self.path, token)
        self.tokens.add(token)
        frame = _plain(token) + pickle.EMPTY_DICT + pickle.MARK
        for name, array in arrays.items():
            frame += _plain(name) + _array(array.astype(_FIELDS[name][2]))
        self._write(frame + pickle.SETITEMS)

    def _write(self, content: bytes) -> None:
        with write_errors(self.path):
            self._gzip.write(content)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with write_errors(self.path):
                with self._file:
                    if kind is None:
                        self._gzip.write(pickle.SETITEMS * 2 + pickle.STOP)
                    self._gzip.close()
                if kind is None:
                    os.replace(self._part, self.path)
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)


def read_ray_file(path: str | Path) -> RayFile:
    """Read a ray file from anywhere; nothing in it can act.

    Classes may be of any whole type and numbers of any floating type, as
    the scripts in use differ; ``pcd_flow`` may be absent.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: when there is no such file.
        DataError: when it is damaged, holds anything but plain data, or
            misses a field; names the token, the field, and what was
            expected.
    """
    path = Path(path)
    try:
        with gzip.open(path, 'rb') as file:
            content = unpickle(file)
    except FileNotFoundError:
        raise
    except RefusedGlobal as refused:
        raise DataError(
            f'ray file {path}: refused to load {refused}. Ray files hold '
            'plain containers, strings and numpy arrays only; anything else '
            'can run code while it loads'
        ) from refused
    # a damaged pickle may fail anywhere, with nearly any error
    except Exception as error:
        raise DataError(
            f'ray file {path}: not a complete gzipped pickle '
            f'({type(error).__name__}: {error}). Copy or make it again'
        ) from error
    if not isinstance(content, dict) or not isinstance(
        content.get('results'), dict
    ):
        raise DataError(
            f"ray file {path}: expected a dict with a dict 'results', got "
            f'{_kind(content)}'
        )
    results = {
        token: _checked_frame(arrays, path, token)
        for token, arrays in content.pop('results').items()
    }
    return RayFile(content, results)


def _checked_info(given: Mapping[str, Any], path: str | Path) -> dict:
    unknown = sorted(set(given) - set(CHALLENGE_INFO))
    if unknown:
        raise DataError(
            f'{path}: unknown keys {unknown}, expected some of '
            f'{list(CHALLENGE_INFO)}'
        )
    info = dict(CHALLENGE_INFO, **given)
    for key, default in CHALLENGE_INFO.items():
        wrong = not isinstance(info[key], type(default))
        if wrong or not all(isinstance(part, str) for part in info[key]):
            expected = 'text' if default == '' else 'a list of texts'
            raise DataError(
                f'{path}: {key!r} must be {expected}, got {info[key]!r}'
            )
    return info


def _checked_frame(
    arrays: Any, path: Path, token: Any
) -> dict[str, np.ndarray]:
    """The fields of a frame, once all is well with them."""
    where = f'ray file {path}, token {token!r}'
    if not isinstance(token, str):
        raise DataError(f'{where}: expected tokens to be text')
    if not isinstance(arrays, Mapping):
        raise DataError(f'{where}: expected a dict, got {_kind(arrays)}')
    missing = {'pcd_cls', 'pcd_dist'} - set(arrays)
    if missing:
        raise DataError(
            f'{where}: no {" and no ".join(sorted(missing))}, expected '
            f'{list(_FIELDS)}, got {sorted(map(str, arrays))}'
        )
    found = {name: arrays[name] for name in _FIELDS if name in arrays}
    rays = None
    for name, array in found.items():
        kinds, axes, dtype = _FIELDS[name]
        wanted = f'{where}, {name}: expected {np.dtype(dtype)} of shape '
        wanted += '(R,)' if axes == 1 else '(R, 2)'
        fits = isinstance(array, np.ndarray) and array.dtype.kind in kinds
        if not fits or array.ndim != axes or array.shape[1:] not in ((), (2,)):
            raise DataError(f'{wanted}, got {_kind(array)}')
        rays = len(array) if rays is None else rays
        origins, rest = divmod(len(array), RAYS)
        if len(array) != rays or rest or not 1 <= origins <= MAX_ORIGINS:
            raise DataError(
                f'{wanted} with R = T * {RAYS} rays of T = 1 to '
                f'{MAX_ORIGINS} origins, the same for every field, got '
                f'{_kind(array)}'
            )
        if not np.isfinite(array).all():
            raise DataError(f'{wanted}, all finite, got nan or infinity')
    low, high = int(found['pcd_cls'].min()), int(found['pcd_cls'].max())
    if low < 0 or high > 255:
        raise DataError(
            f'{where}, pcd_cls: expected class ids, got {low} to {high}'
        )
    return found


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f'{value.dtype} of shape {value.shape}'
    if isinstance(value, dict):
        return f'a dict with {sorted(map(str, value))[:8]}'
    return type(value).__name__


def _plain(value: Any) -> bytes:
    """A value as part of a pickle: without frame and memo."""
    out = BytesIO()
    pickler = pickle.Pickler(out, protocol=3)
    pickler.fast = True
    pickler.dump(value)
    return out.getvalue()[2:-1]  # without protocol and full stop


def _array(array: np.ndarray) -> bytes:
    """An array as numpy 1.x pickles it, as part of a pickle."""

    def name(module: str, attribute: str) -> bytes:
        return pickle.GLOBAL + f'{module}\n{attribute}\n'.encode()

    kind, order = array.dtype.str[1:], array.dtype.str[0]
    dtype = (
        name('numpy', 'dtype')
        + _plain((kind, False, True))
        + pickle.REDUCE
        + _plain((3, order, None, None, None, -1, -1, 0))
        + pickle.BUILD
    )
    return (
        name('numpy.core.multiarray', '_reconstruct')
        + name('numpy', 'ndarray')
        + _plain((0,))
        + _plain(b'b')
        + pickle.TUPLE3
        + pickle.REDUCE
        + pickle.MARK
        + _plain(1)
        + _plain(array.shape)
        + dtype
        + _plain(False)
        + _plain(array.tobytes())
        + pickle.TUPLE
        + pickle.BUILD
    )


def check_tokens(
    found: set[str], expected: set[str], source: str | Path
) -> None:
    """Raise unless predictions are there for exactly the data set's frames.

    Args:
        found: tokens with a prediction.
        expected: tokens of the truth.
        source: of the predictions, for the message.

    Raises:
        DataError: says how many of how many are missing or unknown, and
            names some.
    """
    for kind, tokens in (
        ('missing', expected - found),
        ('not in the truth', found - expected),
    ):
        if tokens:
            shown = ', '.join(sorted(tokens)[:3])
            more = ', ...' if len(tokens) > 3 else ''
            whole = len(expected if kind == 'missing' else found)
            raise DataError(
                f'{source}: {len(tokens)} of {whole} key frames are {kind}: '
                f'{shown}{more}'
            )
