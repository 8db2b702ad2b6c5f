"""The image's recipe fits the repository. Building it needs a network."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECIPE = (ROOT / 'docker' / 'Dockerfile').read_text()
IGNORED = [
    line
    for line in (ROOT / '.dockerignore').read_text().splitlines()
    if line and not line.startswith('#')
]


def instructions():
    """Pairs of an instruction and what follows it, in order."""
    lines = [x for x in RECIPE.splitlines() if not x.startswith('#')]
    text = re.sub(r'\\\n\s*', '', '\n'.join(lines))
    return [line.split(maxsplit=1) for line in text.splitlines() if line]


def following(name):
    return [rest for kind, rest in instructions() if kind == name]


def is_left_out(name):
    """Whether a path, or a folder that it lies in, is in .dockerignore."""
    path = Path(name)
    for part in (path, *path.parents[:-1]):
        for pattern in IGNORED:
            anywhere = pattern.removeprefix('**/')
            # without **/ a pattern is of the repository's root
            found = part.name if anywhere != pattern else str(part)
            if fnmatch(found, anywhere):
                return True
    return False


def test_what_is_copied_is_there():
    sources = []
    for rest in following('COPY'):
        words = [w for w in shlex.split(rest) if not w.startswith('--')]
        sources += words[:-1]
    assert '.' in sources
    for name in sources:
        assert (ROOT / name).exists() and not is_left_out(name), name


def test_what_is_run_is_there_once_it_is_copied():
    order = [kind + ' ' + rest for kind, rest in instructions()]
    whole = next(i for i, x in enumerate(order) if re.match(r'COPY.* \. ', x))
    ran = [i for i, x in enumerate(order) if 'bash tools/install.sh' in x]
    assert ran and min(ran) > whole
    named = set(re.findall(r'bash (tools/\S+\.sh)', RECIPE))
    assert {'tools/install.sh', 'tools/demo.sh'} <= named
    for name in named:
        assert (ROOT / name).is_file() and not is_left_out(name)


@pytest.mark.parametrize(
    'folder', ['projects', 'tools', 'occupancy_configs', 'tests', 'docs']
)
def test_nothing_of_the_repository_is_left_out(folder):
    files = [
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob('*')
        if path.is_file()
        and '__pycache__' not in path.parts
        and not any(part.endswith('.egg-info') for part in path.parts)
    ]
    assert files and [name for name in files if is_left_out(name)] == []
    for name in ('setup.py', 'README.md', 'requirements-mm.txt', 'LICENSE'):
        assert not is_left_out(name)


@pytest.mark.parametrize(
    'name',
    [
        '.git/config',
        '.venv/bin/python',
        'data/nuscenes/samples/a.jpg',
        'work_dirs/run/epoch_1.pth',
        'ckpts/a.pth',
        'projects/occsplat/__pycache__/a.pyc',
        'projects/occsplat.egg-info/PKG-INFO',
        '.mypy_cache/a.json',
    ],
)
def test_data_and_environments_stay_outside(name):
    assert is_left_out(name)


def test_the_user_is_not_root_when_anything_is_installed():
    kinds = [kind for kind, _ in instructions()]
    assert following('USER') == ['occsplat']
    assert kinds.index('USER') < kinds.index('COPY')


def test_every_argument_is_used_and_explained():
    """Where it is declared, or by pip, which reads its own."""
    text = (ROOT / 'docs' / 'install.md').read_text()
    names = [rest.partition('=')[0] for rest in following('ARG')]
    assert len(set(names)) == len(names)
    for name in names:
        assert '${' + name + '}' in RECIPE or name.startswith('PIP_')
        assert f'`{name}' in text


def test_torch_is_the_pair_of_the_requirements():
    (pattern,) = re.findall(r"grep -E '(.*?)' requirements\.txt", RECIPE)
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    found = [line for line in lines if re.search(pattern, line)]
    assert [line.partition('==')[0] for line in found] == [
        'torch',
        'torchvision',
    ]
