"""Imports between the rooms of the package run one way."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'projects' / 'occsplat'

# what each room may import from; single files are open to all
OPEN = {'compat', 'kernels', 'plain_pickle'}
ALLOWED = {
    'structures': set(),
    'ops': {'structures'},
    'rendering': {'structures'},
    'data': {'mm', 'structures', 'ops'},
    'minitown': {'structures', 'ops', 'data'},
    'evaluation': {'mm', 'structures', 'ops', 'rendering'},
    'models': {'mm', 'structures', 'ops', 'rendering'},
    'visualization': {'structures', 'ops', 'rendering'},
    'engine': {
        'mm',
        'structures',
        'ops',
        'data',
        'evaluation',
        'visualization',
    },
    'export': {'mm', 'structures', 'models', 'engine'},
}


def imported_rooms(path):
    """Rooms that a file imports, by whatever form of import."""
    parents = path.relative_to(PACKAGE.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(parents[: len(parents) - node.level + 1])
            prefix = '.'.join(base) + '.' if node.level else ''
            names = [
                f'{prefix}{node.module or ""}.{alias.name}'.replace('..', '.')
                for alias in node.names
            ]
        for name in names:
            parts = name.split('.')
            if parts[0] == 'occsplat' and len(parts) > 1:
                yield parts[1]


def test_every_room_is_listed():
    rooms = {p.parent.name for p in PACKAGE.glob('*/__init__.py')}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize('room', sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(room):
    allowed = ALLOWED[room] | {room, *OPEN}
    for path in (PACKAGE / room).rglob('*.py'):
        strangers = set(imported_rooms(path)) - allowed
        assert not strangers, f'{path.relative_to(PACKAGE)}: {strangers}'


def test_nobody_imports_tools():
    for path in PACKAGE.rglob('*.py'):
        tree = ast.parse(path.read_text())
        names = [
            getattr(node, 'module', None) or node.names[0].name
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        assert not any(name.split('.')[0] == 'tools' for name in names)
