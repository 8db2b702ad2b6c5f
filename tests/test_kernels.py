"""Compiled code on disk is never older than what it was compiled from."""

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

kernels = pytest.importorskip(
    'occsplat.kernels', exc_type=ImportError, reason='there is no numba'
)

PACKAGE = Path(__file__).parents[1] / 'projects' / 'occsplat'

# a package of the same name: kernels.py and one chain of kernels
KERNEL = """
import numpy as np
from occsplat.kernels import njit
{imports}

@njit(cache=True)
def total(values):
    out = 0.0
    for value in values:
        out += {call}
    return out
"""
CALLEE = """
from ..kernels import njit
from .sizes import STEP

@njit(cache=True)
def scaled(value):
    return STEP * value
"""
PRINT = """
import numpy as np
from occsplat.room.top import total
print(total(np.array([1.0, 2.0])))
print(sum(total.stats.cache_hits.values()))
"""


@pytest.fixture
def little(tmp_path):
    """A function that makes a package, and one that runs it anew."""
    root = tmp_path / 'somewhere' / 'occsplat'
    room = root / 'room'
    room.mkdir(parents=True)
    (root / 'structures').mkdir()
    for folder in (root, room, root / 'structures'):
        (folder / '__init__.py').touch()
    for name in ('kernels.py', 'structures/errors.py'):
        shutil.copy(PACKAGE / name, root / name)
    (room / 'sizes.py').write_text('STEP = 2.0\n')
    (room / 'callee.py').write_text(CALLEE)

    def write(imports, call='scaled(value)'):
        text = KERNEL.format(imports=imports, call=call)
        (room / 'top.py').write_text(text)
        return root

    return write


def run(root, code=PRINT, **variables):
    """Lines that a new process prints."""
    variables = {
        'PATH': os.environ['PATH'],
        'HOME': str(root.parents[1] / 'home'),
        'PYTHONPATH': str(root.parent),
        # two writes within a second: python would take its old bytecode
        'PYTHONDONTWRITEBYTECODE': '1',
        **variables,
    }
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_file_changes(little):
    """A callee's constant, in a file without any kernel."""
    root = little('from .callee import scaled')
    assert run(root) == ['6.0', '0']
    assert run(root) == ['6.0', '1'], 'code is not kept'
    (root / 'room' / 'sizes.py').write_text('STEP = 3.0\n')
    assert run(root) == ['9.0', '0']
    (root / 'room' / 'sizes.py').write_text('STEP = 2.0\n')
    assert run(root) == ['6.0', '1'], 'the way back finds it still there'


@pytest.mark.parametrize(
    'imports',
    [
        'from .callee import scaled',
        'from . import callee',
        'from . import callee as below',
        'from ..room import callee',
        'from .. import room; from ..room.callee import scaled',
        'import occsplat.room.callee as below',
        'from occsplat.room import callee, sizes',
        'def late():\n    from .callee import scaled',
    ],
)
def test_forms_of_import(little, imports, monkeypatch):
    root = little(imports)
    monkeypatch.setattr(kernels, '_PACKAGE', root)
    names = {'top.py', 'callee.py', 'sizes.py', 'kernels.py', 'errors.py'}
    visible = kernels._visible(root / 'room' / 'top.py')
    assert {path.name for path in visible} - {'__init__.py'} == names


def test_files_that_a_kernel_does_not_see_change_nothing(little, monkeypatch):
    root = little('from .callee import scaled')
    monkeypatch.setattr(kernels, '_PACKAGE', root)
    before = kernels._digest(root / 'room' / 'top.py')
    (root / 'room' / 'other.py').write_text('STEP = 5.0\n')
    (root / '__init__.py').write_text('from .room import other\n')
    kernels._imports.cache_clear()
    kernels._read.cache_clear()
    assert kernels._digest(root / 'room' / 'top.py') == before


def test_a_copy_has_a_folder_of_its_own(little, tmp_path):
    """The given folder comes first, and serves several packages."""
    root = little('from .callee import scaled')
    given = tmp_path / 'given'
    assert run(root, NUMBA_CACHE_DIR=str(given)) == ['6.0', '0']
    copy = tmp_path / 'elsewhere' / 'occsplat'
    shutil.copytree(root, copy)
    (copy / 'room' / 'sizes.py').write_text('STEP = 4.0\n')
    assert run(copy, NUMBA_CACHE_DIR=str(given)) == ['12.0', '0']
    assert run(root, NUMBA_CACHE_DIR=str(given)) == ['6.0', '1']
    assert not (root / '__pycache__').exists()


def test_where_nothing_can_be_written(little, tmp_path):
    """Read-only sources: the user's cache; a file in its place: none."""
    root = little('from .callee import scaled')
    # root may write anywhere: a file where the folder should be stops it
    (root / '__pycache__').touch()
    cache = tmp_path / 'cache'
    assert run(root, XDG_CACHE_HOME=str(cache)) == ['6.0', '0']
    assert run(root, XDG_CACHE_HOME=str(cache)) == ['6.0', '1']
    assert list(cache.glob('occsplat/kernels-*'))
    shutil.rmtree(cache)
    cache.touch()
    assert run(root, XDG_CACHE_HOME=str(cache)) == ['6.0', '0']


def test_code_that_nobody_uses_goes(little):
    root = little('from .callee import scaled')
    run(root)
    (old,) = [
        folder
        for folder in (root / '__pycache__').glob('kernels-*')
        if list(folder.glob('*/top.total*'))
    ]
    month = time.time() - 31 * 24 * 3600
    (root / 'room' / 'sizes.py').write_text('STEP = 3.0\n')
    os.utime(old, (month, month))
    run(root)
    assert not old.exists()
    assert list((root / '__pycache__').glob('kernels-*'))


def test_several_processes_at_once(little):
    root = little('from .callee import scaled')
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', PRINT],
            env={
                'PATH': os.environ['PATH'],
                'HOME': str(root),
                'PYTHONPATH': str(root.parent),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        out, _ = process.communicate(timeout=600)
        assert process.returncode == 0 and out.split()[0] == '6.0'
    assert run(root) == ['6.0', '1']


def kernel_modules():
    """Modules of the package that compile."""
    for path in sorted(PACKAGE.rglob('*.py')):
        if 'import njit' in path.read_text():
            name = path.relative_to(PACKAGE.parent).with_suffix('')
            yield path, importlib.import_module('.'.join(name.parts))


def test_every_kernel_of_the_package_is_covered():
    """What its code names, found by looking at the functions themselves."""
    found = 0
    for path, module in kernel_modules():
        visible = kernels._visible(path)
        for kernel in vars(module).values():
            function = getattr(kernel, 'py_func', None)
            if function is None:
                continue
            for name in function.__code__.co_names:
                used = function.__globals__.get(name)
                used = getattr(used, 'py_func', used)
                home = getattr(used, '__module__', None)
                if inspect.ismodule(used):
                    home = used.__name__
                if home in sys.modules and home.startswith('occsplat.'):
                    found += 1
                    source = Path(sys.modules[home].__file__).resolve()
                    assert source in visible, (path, name)
    assert found > 100


def test_nobody_else_compiles():
    """numba's own decorators would keep stale code."""
    for path in PACKAGE.rglob('*.py'):
        if path.name == 'kernels.py':
            continue
        text = path.read_text()
        assert 'numba.njit' not in text and 'numba.jit' not in text, path
        assert 'from numba import njit' not in text, path


def test_a_kernel_of_the_package(tmp_path):
    """The height of MiniTown's ground changes in a file of its own."""
    root = tmp_path / 'occsplat'
    ignored = shutil.ignore_patterns('__pycache__')
    for room in ('structures', 'minitown'):
        shutil.copytree(PACKAGE / room, root / room, ignore=ignored)
    shutil.copy(PACKAGE / 'kernels.py', root)
    for name in ('__init__.py', 'minitown/__init__.py'):
        (root / name).write_text('')
    code = """
import numpy as np
from occsplat.minitown.world import _classes, pr
from occsplat.minitown.ground import BLOCK, STREET
ground = [np.zeros(4), np.zeros(0, STREET), np.zeros(0, STREET)]
points = np.array([[1.0, 2.0, 0.25]])
parts = np.empty(0, pr.PRIMITIVE)
print(_classes(points, parts, *ground, np.full((1, 1), 7, BLOCK))[0])
"""
    above = run(root, code)
    ground = root / 'minitown' / 'ground.py'
    text = ground.read_text()
    assert 'GROUND_Z = ' in text
    ground.write_text(re.sub('GROUND_Z = .*', 'GROUND_Z = 0.5', text))
    assert run(root, code) != above
