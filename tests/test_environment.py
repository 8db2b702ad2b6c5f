"""A Python without packages gets one line from every tool."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import occsplat_environment as environment

ROOT = Path(__file__).parents[1]
TOOLS = sorted(ROOT.glob('tools/*.py'))
#: -S hides site-packages, -I the folders that variables name
BARE = (sys.executable, '-I', '-S')


def refused(*command, **options):
    """The only line of a command that ends with an error."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, **options
    )
    assert done.returncode == 1, done
    assert done.stdout == ''
    (line,) = done.stderr.splitlines()
    assert line.startswith('error: ')
    return line


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.name)
def test_a_bare_python_gets_one_line(tool):
    line = refused(*BARE, tool, '--help')
    assert f'{sys.executable} has no package torch' in line
    assert 'tools/install.sh' in line or 'bin/activate' in line


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.name)
def test_an_old_python_understands_a_tool_so_far_that_it_can_say_so(tool):
    for path in (tool, Path(environment.__file__)):
        ast.parse(path.read_text(), feature_version=(3, 8))


def clone(folder, name='a clone'):
    """A tool and what it needs to complain, without an environment."""
    root = folder / name
    for file in ('tools/train.py', 'projects/occsplat_environment.py'):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text((ROOT / file).read_text())
    return root


def make_environment(folder, *more):
    for name in ('bin/python', *more):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_the_line_names_what_helps_here(tmp_path):
    root = clone(tmp_path)
    command = (*BARE, root / 'tools/train.py')
    # nothing is installed
    line = refused(*command, env={})
    assert f"run 'bash '{root}/tools/install.sh''" in line.replace('"', '')
    # the environment of the quick start
    make_environment(root / '.venv')
    line = refused(*command, env={})
    assert f"source '{root}/.venv/bin/activate'" in line
    # the active one comes first, as in env.sh
    mine = make_environment(tmp_path / 'mine')
    line = refused(*command, env=dict(VIRTUAL_ENV=str(mine)))
    assert f"run 'source {mine}/bin/activate' first" in line
    conda = make_environment(tmp_path / 'conda', 'conda-meta/history')
    variables = dict(CONDA_PREFIX=str(conda), CONDA_DEFAULT_ENV='town')
    line = refused(*command, env=variables)
    assert f"run 'conda activate {conda}' first" in line
    # but for conda's base, which nobody chose
    variables['CONDA_DEFAULT_ENV'] = 'base'
    assert '.venv/bin/activate' in refused(*command, env=variables)


def test_a_fresh_virtual_environment_is_told_to_install(tmp_path):
    venv = tmp_path / 'venv'
    subprocess.run(
        [sys.executable, '-m', 'venv', '--without-pip', str(venv)], check=True
    )
    root = clone(tmp_path)
    line = refused(
        venv / 'bin/python',
        root / 'tools/train.py',
        env=dict(VIRTUAL_ENV=venv),
    )
    # it is active already: what lacks are the packages
    assert str(venv / 'bin/python') in line
    assert 'tools/install.sh' in line


@pytest.mark.parametrize('version', [(3, 9, 18), (3, 13, 0), (4, 0, 0)])
def test_other_pythons_are_refused(monkeypatch, version):
    monkeypatch.setattr(sys, 'version_info', version)
    with pytest.raises(SystemExit, match='is Python .*needs 3.10, 3.11 or'):
        environment.check_environment()


def test_this_python_is_accepted_and_others_told_what_is_missing():
    environment.check_environment()
    with pytest.raises(SystemExit, match='has no package splines'):
        environment.check_environment(('torch', 'splines'))


def test_the_versions_are_those_of_the_package():
    (low, high) = environment.VERSIONS
    wanted = f'>={low[0]}.{low[1]},<{high[0]}.{high[1] + 1}'
    assert f"python_requires='{wanted}'" in (ROOT / 'setup.py').read_text()
