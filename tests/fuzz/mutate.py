"""Ways to break bytes and plain data."""

from __future__ import annotations

import copy
import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any, Iterator

#: files that are something else
FOREIGN = {
    'empty': b'',
    'zeros': bytes(4096),
    'lfs': b'version https://git-lfs.github.com/spec/v1\noid sha256:00\n'
    b'size 123456789\n',
    'html': b'<!DOCTYPE html><html><body>404 not found</body></html>',
    'png': b'\x89PNG\r\n\x1a\n' + bytes(64),
    'gif': b'GIF89a' + bytes(64),
    'eps': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n'
    b'(%pipe%touch canary) (w) file\nshowpage\n',
    'text': b'these are not the weights you are looking for\n' * 9,
    'json': b'{"state_dict": {"a": [1, 2',
    'zip': b'PK\x05\x06' + bytes(18),
    'gzip': b'\x1f\x8b\x08\x00' + bytes(40),
    'npy': b'\x93NUMPY\x01\x00v\x00{"descr": "O"}' + bytes(64),
}


def damaged(raw: bytes, rng: random.Random, count: int) -> Iterator[tuple]:
    """(name, bytes): cut, flipped, overwritten, doubled."""
    for i in range(count):
        way = i % 4
        at = rng.randrange(1, len(raw))
        if way == 0:
            yield f'cut at {at}', raw[:at]
        elif way == 1:
            bits = bytearray(raw)
            for _ in range(1 + i // 4):
                bits[rng.randrange(len(bits))] ^= 1 << rng.randrange(8)
            yield f'flipped, {1 + i // 4} bits', bytes(bits)
        elif way == 2:
            noise = bytes(rng.randrange(256) for _ in range(32))
            yield f'noise at {at}', raw[:at] + noise + raw[at + 32 :]
        else:
            yield f'a part twice, {at}', raw[:at] + raw[at // 2 :]


#: what stands in the place of a value
WRONG = (
    None, 'x', -1, float('nan'), float('inf'), 10**400, [], {}, [[]],
    True, b'\xff', '../../etc/passwd', '\x00',
)  # fmt: skip


def paths_of(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """All places in plain data."""
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return
    for key, inner in items:
        yield (*path, key)
        yield from paths_of(inner, (*path, key))


def misfilled(
    value: Any, rng: random.Random, count: int
) -> Iterator[tuple[str, Any]]:
    """(name, copy): one place is missing or has a wrong value."""
    places = list(paths_of(value))
    for i in range(count):
        place = rng.choice(places)
        changed = copy.deepcopy(value)
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        if i % 5 == 0:
            del holder[place[-1]]
            yield f'without {place}', changed
        else:
            wrong = rng.choice(WRONG)
            holder[place[-1]] = wrong
            yield f'{place} is {wrong!r:.20}', changed


class Calls:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, module: str, name: str, *args: Any) -> None:
        self.module, self.name, self.args = module, name, args

    def dumps(self) -> bytes:
        """The pickle, by hand: the function need not exist here."""
        body = pickle.PROTO + b'\x02'
        body += f'c{self.module}\n{self.name}\n'.encode()
        body += pickle.MARK
        for arg in self.args:
            # without protocol header and stop
            body += pickle.dumps(arg, protocol=2)[2:-1]
        return body + pickle.TUPLE + pickle.REDUCE + pickle.STOP


def hostile(canary: Path) -> Iterator[tuple[str, bytes]]:
    """(name, pickle) that would touch the canary, or worse."""
    touch = f'touch {canary}'
    python = f'open({str(canary)!r}, "w")'
    yield 'os.system', Calls('os', 'system', touch).dumps()
    yield 'posix.system', Calls('posix', 'system', touch).dumps()
    yield 'nt.system', Calls('nt', 'system', touch).dumps()
    yield 'eval', Calls('builtins', 'eval', python).dumps()
    yield 'exec', Calls('builtins', 'exec', python).dumps()
    yield 'py2 eval', Calls('__builtin__', 'eval', python).dumps()
    yield 'open', Calls('builtins', 'open', str(canary), 'w').dumps()
    yield 'io.open', Calls('io', 'open', str(canary), 'w').dumps()
    yield 'getattr', Calls('builtins', 'getattr', {}, 'pop').dumps()
    yield '__import__', Calls('builtins', '__import__', 'os').dumps()
    yield 'Popen', Calls('subprocess', 'Popen', ['touch', str(canary)]).dumps()
    yield 'run', Calls('subprocess', 'check_output', touch.split()).dumps()
    yield 'runpy', Calls('runpy', 'run_path', str(canary)).dumps()
    yield 'pty', Calls('pty', 'spawn', touch.split()).dumps()
    yield 'pip', Calls('pip', 'main', ['install', 'x']).dumps()
    yield 'touch', Calls('pathlib', 'Path.touch', str(canary)).dumps()
    yield 'torch.load', Calls('torch', 'load', str(canary)).dumps()
    yield 'hub', Calls('torch.hub', 'load', 'a/b', 'c').dumps()
    yield 'numpy.load', Calls('numpy', 'load', str(canary)).dumps()
    yield 'memmap', Calls('numpy', 'memmap', str(canary), 'u1', 'w+').dumps()
    yield 'fromfile', Calls('numpy', 'fromfile', '/etc/hostname').dumps()
    yield (
        'object array on bytes',
        Calls('numpy', 'ndarray', (4,), 'O', b'\x41' * 32).dumps(),
    )
    yield 'ndarray', Calls('numpy', 'ndarray', (2**40,)).dumps()
    yield 'storage', Calls('torch.storage', '_load_from_bytes', b'x').dumps()
    rebuild = Calls('torch._utils', '_rebuild_tensor_v2', None, 0, (1,), (1,))
    yield 'rebuild', rebuild.dumps()
    yield 'partial', Calls('functools', 'partial', 'x').dumps()
    yield 'codecs', Calls('_codecs', 'encode', 'x', 'rot13').dumps()
    yield 'attrgetter', Calls('operator', 'attrgetter', 'x').dumps()
    yield 'dlopen', Calls('ctypes', 'CDLL', 'libc.so.6').dumps()
    yield (
        'reconstruct',
        (
            pickle.PROTO + b'\x02'
            b'cnumpy.core.multiarray\n_reconstruct\n('
            b'cnumpy\nndarray\nK\x00\x85U\x01bt R.'
        ),
    )
    yield 'deep', b'\x80\x02' + b'(' * 5000 + b'l' + b'.'
    yield 'memo', b'\x80\x02h\x07.'
    yield 'stop', b'.'


def zipped(pickled: bytes, like: bytes) -> bytes:
    """A checkpoint archive with another pickle in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(like)) as old:
        with zipfile.ZipFile(out, 'w', zipfile.ZIP_STORED) as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith('/data.pkl'):
                    content = pickled
                new.writestr(name, content)
    return out.getvalue()
