"""Compiled kernels for the CPU, kept on disk as long as they are true.

Modules that compile import ``njit`` from here, and are imported inside the
functions that need them: what runs on a GPU does without numba.

numba keeps compiled code beside the source and compiles again when that
file changes. Code of other files that a kernel calls, and their constants,
are part of the compiled code, and nobody looks at them. Here the folder's
name has a digest of all sources that a kernel can see, so that a process
never finds code of other sources. Folders are tried in this order; where
none can be written, every process compiles for itself:

1. ``NUMBA_CACHE_DIR``, where it is set;
2. ``__pycache__`` of the package;
3. the user's cache, ``~/.cache/occsplat`` (or below ``XDG_CACHE_HOME``).

A folder that no process has asked for in 30 days is deleted.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, TypeVar, cast

# by its own file: whatever is imported here is part of every digest
from occsplat.structures.errors import MissingPackageError

try:
    # by name: the stand-in of occsplat.compat has neither
    from numba import __version__ as numba_version
    from numba import config
    from numba import njit as numba_njit
except ImportError as error:
    raise MissingPackageError(
        'kernels for the CPU need numba, which is missing or refuses the '
        'installed numpy: run pip install -r requirements.txt'
    ) from error

_Function = TypeVar('_Function', bound=Callable)

_PACKAGE = Path(__file__).resolve().parent
#: folders of compiled code are named like this, and a digest
_PREFIX = 'kernels-'
#: seconds that a folder is kept without a user
_KEPT = 30 * 24 * 3600

# numba asks its configuration where to keep code: one at a time
_lock = threading.Lock()


def njit(
    *, cache: bool = False, **options: Any
) -> Callable[[_Function], _Function]:
    """``numba.njit``, whose cache sees changes of all sources.

    Args:
        cache: whether to keep compiled code on disk, see the module.
        **options: of ``numba.njit``.

    Returns:
        callable: the decorator; what it returns is called like the
        function.
    """

    def decorate(function: _Function) -> _Function:
        folder = _folder(function.__code__.co_filename) if cache else None
        if folder is None:
            return cast(_Function, numba_njit(**options)(function))
        with _lock:
            given, config.CACHE_DIR = config.CACHE_DIR, folder
            try:
                compiled = numba_njit(cache=True, **options)(function)
            finally:
                config.CACHE_DIR = given
        return cast(_Function, compiled)

    return decorate


@functools.cache
def _folder(source: str) -> str | None:
    """Where code compiled from a file is kept, None where nowhere."""
    try:
        name = _PREFIX + _digest(Path(source).resolve())
    except OSError:  # an installation without sources
        return None
    for root in _roots():
        folder = root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        _prune(root)
        return str(folder)
    return None


def _roots() -> Iterator[Path]:
    """Folders to keep code in, the preferred one first."""
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR)
    yield _PACKAGE / '__pycache__'
    home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    if os.path.isabs(home):
        yield Path(home) / 'occsplat'


def _prune(root: Path) -> None:
    """Delete what nobody has used for long."""
    for folder in root.glob(f'{_PREFIX}*'):
        try:
            unused = time.time() - folder.stat().st_mtime > _KEPT
        except OSError:  # another process was faster
            continue
        if unused:
            shutil.rmtree(folder, ignore_errors=True)


def _digest(source: Path) -> str:
    """Of a file and of everything in the package that it can see."""
    digest = hashlib.sha256(numba_version.encode())
    for path in sorted(_visible(source)):
        digest.update(f'\n{path.name}\n'.encode() + _read(path))
    return digest.hexdigest()[:16]


def _visible(source: Path) -> set[Path]:
    """A file, the files of the package that it imports, and so on."""
    found, waiting = {source}, [source]
    while waiting:
        fresh = _imports(waiting.pop()) - found
        found |= fresh
        waiting += fresh
    return found


@functools.cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


@functools.cache
def _imports(path: Path) -> frozenset[Path]:
    """Files of the package that a file imports."""
    if _PACKAGE not in path.parents:
        return frozenset()
    files = []
    for node in ast.walk(ast.parse(_read(path))):
        if isinstance(node, ast.Import):
            files += [_module(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                inside = path.relative_to(_PACKAGE.parent).parts
                parts = inside[: len(inside) - node.level]
                base = '.'.join([*parts, *filter(None, [base])])
            for alias in node.names:
                inner = _module(f'{base}.{alias.name}')
                files.append(inner or _module(base))
    return frozenset(file for file in files if file is not None)


def _module(name: str) -> Path | None:
    """The file of a module of the package, None for others."""
    path = _PACKAGE.parent.joinpath(*name.split('.'))
    if _PACKAGE not in path.parents:
        return None
    for file in (path.with_suffix('.py'), path / '__init__.py'):
        if file.is_file():
            return file
    return None
