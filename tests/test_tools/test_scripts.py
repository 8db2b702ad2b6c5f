"""The shell scripts, run against an environment that only takes notes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob('tools/*.sh'), ROOT / '.ci/run'])
# without what a developer's shell has active
PLAIN = {'PATH': '/usr/bin:/bin', 'HOME': '/nonexistent'}

# Answers the scripts' questions about itself, notes everything else down.
FAKE_PYTHON = f"""#!/bin/bash
case "$*" in
    *ensurepip*) exit "${{FAKE_VENV_STATUS:-0}}" ;;
    -c*find_spec*) exit "${{FAKE_FOUND_STATUS:-0}}" ;;
    -c*version_info*) exit "${{FAKE_VERSION_STATUS:-0}}" ;;
    -c*) exec {sys.executable} "$@" ;;
    --version) echo "Python 3.99.0" ;;
    "-m pip --version") ;;
    "-m pip show --quiet mmcv") exit "${{FAKE_MMCV_STATUS:-1}}" ;;
    *) printf '%s\\n' "$@" --- >> "$FAKE_NOTES" ;;
esac
"""


class Shell:
    """Runs scripts of a repository with a fake active environment."""

    def __init__(self, folder, repo):
        self.repo = repo
        self.notes = folder / 'notes'
        self.env = folder / 'env'
        self.write(self.env / 'bin/python', FAKE_PYTHON)
        self.variables = {
            **PLAIN,
            'FAKE_NOTES': str(self.notes),
            'VIRTUAL_ENV': str(self.env),
        }

    @staticmethod
    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, script, *args, **variables):
        return subprocess.run(
            ['bash', self.repo / 'tools' / script, *args],
            env={**self.variables, **variables},
            cwd='/',
            capture_output=True,
            text=True,
            timeout=600,
        )

    def calls(self):
        """Arguments of each noted call of the interpreter."""
        if not self.notes.exists():
            return []
        noted = self.notes.read_text().split('\n---\n')
        return [call.split('\n') for call in noted if call]


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path, ROOT)


@pytest.fixture
def copy(tmp_path):
    """Like ``shell``, on a copy of the repository without .venv."""
    repo = tmp_path / 'a repo'
    (repo / 'tools').mkdir(parents=True)
    for path in (*ROOT.glob('tools/*.sh'), *ROOT.glob('requirements*.txt')):
        shutil.copy(path, repo / path.relative_to(ROOT))
    shutil.copy(ROOT / 'setup.py', repo)
    return Shell(tmp_path, repo)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script):
    subprocess.run(['bash', '-n', script], check=True)
    if script.name != 'env.sh':
        assert os.access(script, os.X_OK), 'not executable'


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_a_checkout_with_crlf_leaves_scripts_alone(script):
    if shutil.which('git') is None or not (ROOT / '.git').exists():
        pytest.skip('no git, or no clone')
    name = str(script.relative_to(ROOT))
    done = subprocess.run(
        ['git', '-c', 'core.autocrlf=true', 'check-attr', 'eol', '--', name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f'{name}: eol: lf' in done.stdout.splitlines()
    assert b'\r' not in script.read_bytes()


def test_pictures_and_arrays_are_binary_to_git():
    wanted = ('png', 'npz', 'npy', 'pth', 'jpg', 'pkl', 'safetensors')
    lines = (ROOT / '.gitattributes').read_text().splitlines()
    assert '* text=auto eol=lf' in lines
    assert {f'*.{name} binary' for name in wanted} <= set(lines)


def test_dist_train_hands_everything_on(shell):
    done = shell.run(
        'dist_train.sh',
        'a config.py',
        '2',
        '--cfg-options',
        'a="b c"',
        PORT='1234',
        NNODES='3',
        NODE_RANK='1',
        MASTER_ADDR='10.0.0.1',
    )
    assert done.returncode == 0, done.stderr
    assert shell.calls() == [
        [
            '-m',
            'torch.distributed.run',
            '--nnodes=3',
            '--node_rank=1',
            '--master_addr=10.0.0.1',
            '--master_port=1234',
            '--nproc_per_node=2',
            str(ROOT / 'tools/train.py'),
            'a config.py',
            '--launcher',
            'pytorch',
            '--cfg-options',
            'a="b c"',
        ]
    ]


def test_dist_test_finds_a_port_of_its_own(shell):
    done = shell.run('dist_test.sh', 'c.py', 'a b.pth', '1', '--work-dir', 'd')
    assert done.returncode == 0, done.stderr
    (call,) = shell.calls()
    (port,) = [a for a in call if a.startswith('--master_port=')]
    assert 1024 <= int(port.partition('=')[2]) < 65536
    assert call[-7:] == [
        str(ROOT / 'tools/test.py'),
        'c.py',
        'a b.pth',
        '--launcher',
        'pytorch',
        '--work-dir',
        'd',
    ]


@pytest.mark.parametrize(
    'args, variables, message',
    [
        (['c.py'], {}, 'usage: dist_train.sh CONFIG GPUS'),
        (['c.py', 'all'], {}, "GPUS must be a number of processes, got 'all'"),
        (['c.py', '0'], {}, 'GPUS must be a number'),
        (['c.py', '1'], {'NNODES': '2'}, 'NNODES=2 needs PORT'),
        (['c.py', '1'], {'VIRTUAL_ENV': '/nowhere'}, 'bash tools/install.sh'),
    ],
)
def test_dist_train_says_what_is_wrong(shell, args, variables, message):
    done = shell.run('dist_train.sh', *args, **variables)
    assert done.returncode == 1
    assert message in done.stderr
    assert shell.calls() == []


def test_slurm_scripts_keep_the_usual_contract(shell, tmp_path):
    shell.write(tmp_path / 'bin/srun', '#!/bin/bash\nprintf "%s\\n" "$@" .\n')
    variables = dict(
        PATH=f'{tmp_path / "bin"}:{PLAIN["PATH"]}',
        GPUS='16',
        SRUN_ARGS='--quiet --time=10',
    )
    done = shell.run(
        'slurm_test.sh', 'part', 'job', 'c.py', 'k.pth', '--x y', **variables
    )
    assert done.stdout.split('\n')[:-2] == [
        '--partition=part',
        '--job-name=job',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--quiet',
        '--time=10',
        str(shell.env / 'bin/python'),
        '-u',
        str(ROOT / 'tools/test.py'),
        'c.py',
        'k.pth',
        '--x y',
        '--launcher',
        'slurm',
    ]
    done = shell.run('slurm_train.sh', 'part', 'job', 'c.py', **variables)
    assert str(ROOT / 'tools/train.py') in done.stdout
    assert shell.run('slurm_train.sh', 'part').returncode == 1


def test_make_towns_makes_them_one_by_one(shell):
    assert shell.run('make_towns.sh', '0', '7').returncode == 0
    town = 'data/minitown_town7'
    assert [call[1:] for call in shell.calls()[3:]] == [
        ['minitown', '--root', town, '--seed', '7'],
        ['nuscenes', '--root', town, '--version', 'v1.0-mini'],
        ['lidar2d', '--root', town, '--version', 'v1.0-mini'],
    ]
    first = shell.calls()[0]
    assert first[1:] == ['minitown', '--root', 'data/minitown', '--seed', '0']


def test_make_towns_makes_those_of_the_bench(shell):
    assert shell.run('make_towns.sh').returncode == 0
    made = {call[3] + '/' for call in shell.calls()}
    rows = Config.fromfile(ROOT / 'occupancy_configs/bench/rows.py')
    assert made == {
        *rows.twice_the_frames.train_dataloader.dataset.data_root,
        *rows.shared.train_dataloader.dataset.data_root,
        rows.scored.data_root,
    }


def test_install_installs_once(copy):
    done = copy.run('install.sh')
    assert done.returncode == 0, done.stderr
    pip = [call for call in copy.calls() if call[:2] == ['-m', 'pip']]
    assert ['-r', 'requirements.txt'] == pip[0][-2:]
    assert '--no-deps' not in pip[0]
    assert '--no-deps' in pip[1]
    assert {'mmdet3d==1.4.0', 'mmcv-lite==2.1.0'} < set(pip[1])
    assert all('#' not in argument for argument in pip[1])
    assert ['-e', '.'] == pip[2][-2:]
    copy.notes.unlink()
    again = copy.run('install.sh')
    assert again.returncode == 0
    assert copy.calls() == []
    # the tools for tests come on top, and once too
    assert copy.run('install.sh', '--dev').returncode == 0
    (call,) = copy.calls()
    assert {'requirements-dev.txt', 'requirements-docs.txt'} < set(call)
    copy.notes.unlink()
    assert copy.run('install.sh', '--dev').returncode == 0
    assert copy.calls() == []


def test_install_notices_changes(copy):
    assert copy.run('install.sh').returncode == 0
    copy.notes.unlink()
    # a package was removed from the environment
    assert copy.run('install.sh', FAKE_FOUND_STATUS='1').returncode == 0
    assert copy.calls()
    copy.notes.unlink()
    # a requirement changed
    path = copy.repo / 'requirements-mm.txt'
    path.write_text(path.read_text().replace('1.4.0', '1.4.1'))
    assert copy.run('install.sh').returncode == 0
    assert any('mmdet3d==1.4.1' in call for call in copy.calls())


def test_install_keeps_a_compiled_mmcv(copy):
    done = copy.run('install.sh', FAKE_MMCV_STATUS='0')
    assert 'Keeping the compiled mmcv' in done.stdout
    assert not any('mmcv-lite' in a for call in copy.calls() for a in call)


def without_environment(copy):
    """A shell without an environment, whose every python3 is the fake."""
    for name in ('python3', 'python3.12', 'python3.11', 'python3.10'):
        copy.write(copy.repo.parent / 'bin' / name, FAKE_PYTHON)
    del copy.variables['VIRTUAL_ENV']
    copy.variables['PATH'] = f'{copy.repo.parent / "bin"}:{PLAIN["PATH"]}'


def test_install_refuses_other_pythons(copy):
    without_environment(copy)
    done = copy.run('install.sh', FAKE_VERSION_STATUS='1')
    assert done.returncode == 1
    assert 'needs Python 3.10, 3.11 or 3.12' in done.stderr
    assert 'found Python 3.99.0' in done.stderr
    assert copy.calls() == []


def test_install_tells_that_venv_is_missing(copy):
    without_environment(copy)
    done = copy.run('install.sh', FAKE_VENV_STATUS='1')
    assert done.returncode == 1
    assert 'apt install python3-venv' in done.stderr
    assert copy.calls() == []


def test_install_makes_its_own_environment_when_none_is_active(copy):
    without_environment(copy)
    copy.run('install.sh')
    assert copy.calls()[0] == [
        '-m',
        'venv',
        '--clear',
        str(copy.repo / '.venv'),
    ]
    # conda's base is active in every shell: that is no choice
    copy.notes.unlink()
    copy.run('install.sh', CONDA_PREFIX='/conda', CONDA_DEFAULT_ENV='base')
    assert copy.calls()[0][-1] == str(copy.repo / '.venv')


def test_install_leaves_a_broken_active_environment_alone(copy):
    done = copy.run('install.sh', VIRTUAL_ENV='/nowhere')
    assert done.returncode == 1
    assert '/nowhere has no working Python' in done.stderr


def test_unknown_options_are_refused(copy):
    done = copy.run('install.sh', '--devel')
    assert done.returncode == 1
    assert "unknown option '--devel'" in done.stderr
    assert copy.calls() == []


# what the demo's steps leave behind
DEMO_STEPS = """\
case "$2" in
    nuscenes) mkdir -p data/minitown-demo
        touch data/minitown-demo/occsplat_infos_val.pkl ;;
esac
case "$1" in
    *visualize.py) touch outputs/demo/a.gif ;;
    *test.py) echo '{"metrics": {"RayIoU": 0.5, "mIoU": 0.25, "IoU": 1}}' \\
        > outputs/demo/test/metrics.json ;;
esac
"""


def test_the_demo_does_nothing_twice(copy):
    copy.write(copy.env / 'bin/python', FAKE_PYTHON + DEMO_STEPS)
    done = copy.run('demo.sh')
    assert done.returncode == 1 and copy.calls() == []
    assert 'voxelsplat_fbocc-tiny_minitown.safetensors is missing' in (
        done.stderr
    )
    folder = copy.repo / 'occupancy_configs/voxelsplat'
    weights = folder / 'voxelsplat_fbocc-tiny_minitown.safetensors'
    weights.parent.mkdir(parents=True)
    weights.touch()
    done = copy.run('demo.sh')
    assert done.returncode == 0, done.stderr
    steps = [call[:2] for call in copy.calls()]
    config = str(weights.with_suffix('.py').relative_to(copy.repo))
    assert steps == [
        ['tools/create_data.py', 'minitown'],
        ['tools/create_data.py', 'nuscenes'],
        ['tools/visualize.py', config],
        ['tools/test.py', config],
    ]
    said = 'On this scene: RayIoU 0.500, mIoU 0.250, IoU 1.000'
    assert said in done.stdout and 'outputs/demo/a.gif' in done.stdout
    copy.notes.unlink()
    again = copy.run('demo.sh')
    assert again.returncode == 0 and copy.calls() == []
    assert said in again.stdout and 'outputs/demo/a.gif' in again.stdout
    # other weights see other things in the same scene
    later = (copy.repo / 'outputs/demo/films').stat().st_mtime + 9
    os.utime(weights, (later, later))
    assert copy.run('demo.sh').returncode == 0
    assert [call[0] for call in copy.calls()] == [
        'tools/visualize.py',
        'tools/test.py',
    ]


def test_the_commands_of_the_demo_are_understood(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import visualize

    text = (ROOT / 'tools/demo.sh').read_text()
    call = text.partition('tools/visualize.py')[2].partition('\n    ls')[0]
    words = call.replace('\\\n', ' ').replace('$FRAMES', '6').split()
    args = visualize.make_parser().parse_args([w.strip('"') for w in words])
    assert args.gif and args.frames == 6
