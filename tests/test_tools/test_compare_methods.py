"""compare_methods.py: what runs, what is kept, what the table says."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name('toy_config.py')


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('compare_methods')


@pytest.fixture
def configs(tmp_path):
    """Two configs, of which the second changes the model."""
    paths = [tmp_path / 'baseline.py', tmp_path / 'method.py']
    text = f"_base_ = ['{TOY}']\n"
    paths[0].write_text(text)
    paths[1].write_text(text + 'model = dict(width=1)\n')
    return [str(path) for path in paths]


class Child:
    """A process that ends as it is told to, when it is looked at."""

    def __init__(self, returncode):
        self.returncode = returncode

    def poll(self):
        return self.returncode


class Children:
    """Stands in for train.py and test.py."""

    def __init__(self):
        self.commands = []
        #: of each command
        self.threads = []
        #: metrics by name of the run's folder
        self.metrics = {}
        self.failing = ''

    def __call__(self, command, threads):
        _, script, *arguments = command.arguments
        folder = Path(arguments[arguments.index('--work-dir') + 1])
        script = Path(script).name
        assert command.arguments[0] == sys.executable
        assert command.log.parent == folder
        self.commands.append((script, folder.name))
        self.threads.append(threads)
        command.log.write_text('the output\n')
        if self.failing in (script, folder.name):
            return Child(3)
        if script == 'train.py':
            (folder / 'epoch_2.pth').touch()
        else:
            assert arguments[1] == str(folder / 'epoch_2.pth')
            metrics = self.metrics.get(folder.name, dict(RayIoU=0.5))
            text = json.dumps(dict(metrics=metrics))
            (folder / 'metrics.json').write_text(text)
        return Child(0)


@pytest.fixture
def jobs(tool, monkeypatch):
    jobs = importlib.import_module('comparison.jobs')
    monkeypatch.setattr(jobs, 'POLL_SECONDS', 0)
    return jobs


@pytest.fixture
def children(jobs, monkeypatch):
    children = Children()
    monkeypatch.setattr(jobs, 'start', children)
    return children


@pytest.fixture
def compare(tool, children, configs, tmp_path):
    """A function that runs the tool and returns the table's lines."""
    out = tmp_path / 'docs' / 'table.md'

    def run(*arguments, rows=None):
        where = ['--work-dir', str(tmp_path / 'runs'), '--out', str(out)]
        what = configs if rows is None else ['--rows', str(rows)]
        tool.main([*what, *where, *arguments])
        assert not list(tmp_path.rglob('*.part'))
        return out.read_text().splitlines()

    return run


def test_table_of_two_seeds(compare, children, tmp_path):
    children.metrics = {
        'baseline_seed0': dict(mIoU=0.25, RayIoU=0.125, mAVE=None),
        'baseline_seed1': dict(mIoU=0.5, RayIoU=0.25, mAVE=1.0),
        'method_seed0': dict(mIoU=0.25, RayIoU=0.5, mAVE=2.0),
        'method_seed1': dict(mIoU=0.375, RayIoU=0.6875, mAVE=1.0),
    }
    lines = compare('--seeds', '0', '1')
    assert lines[0].startswith('`python tools/compare_methods.py ')
    assert lines[0].endswith(' --seeds 0 1`')
    assert 'threads' in lines[2] and 'torch' in lines[2]
    assert '4 of 4 are complete, from 2 seeds per row (0, 1)' in lines[2]
    assert lines[4:12] == [
        '| row | seed | RayIoU | mIoU | mAVE |',
        '| --- | --- | --: | --: | --: |',
        '| baseline | 0 | 0.1250 | 0.2500 | - |',
        '| baseline | 1 | 0.2500 | 0.5000 | 1.0000 |',
        '| **baseline** | mean of 2 seeds | 0.1875 | 0.3750 | - |',
        '| method | 0 | 0.5000 | 0.2500 | 2.0000 |',
        '| method | 1 | 0.6875 | 0.3750 | 1.0000 |',
        '| **method** | mean of 2 seeds | 0.5938 | 0.3125 | 1.5000 |',
    ]
    assert lines[13] == 'Differences:'
    # 12.706 standard errors of 0.03125
    assert lines[17] == (
        '| method | baseline | RayIoU | higher | 2 | +0.4062 | '
        '+0.0092 to +0.8033 | +0.3750 to +0.4375 | 0.5104 | better |'
    )
    assert lines[19] == (
        '| method | baseline | mAVE | lower | 1 | +0.0000 | - | - | - | '
        'one pair shows nothing |'
    )
    page = (tmp_path / 'runs' / 'index.html').read_text()
    assert '<td>+0.0092 to +0.8033</td>' in page
    assert 'alt="paired differences in RayIoU"' in page
    assert 'src="http' not in page and 'href' not in page


def test_one_seed_says_so(compare):
    lines = compare('--seeds', '7')
    assert 'from 1 seed per row (7)' in lines[2]
    assert 'any difference can be chance' in lines[2]
    assert any('mean of 1 seed |' in line for line in lines)


def test_metrics_that_were_asked_for(compare, children):
    children.metrics = {
        f'{name}_seed0': dict(RayIoU=0.5, RayIoU_car=0.25)
        for name in ('baseline', 'method')
    }
    lines = compare('--metrics', 'RayIoU_car', 'RayIoU')
    assert lines[4] == '| row | seed | RayIoU_car | RayIoU |'
    with pytest.raises(SystemExit, match='no run has IoU; .*RayIoU_car'):
        compare('--metrics', 'RayIoU', 'IoU')


def test_finished_runs_are_not_repeated(compare, children, tmp_path):
    first = compare('--seeds', '0')
    assert children.commands == [
        ('train.py', 'baseline_seed0'),
        ('test.py', 'baseline_seed0'),
        ('train.py', 'method_seed0'),
        ('test.py', 'method_seed0'),
    ]
    children.commands.clear()
    assert compare('--seeds', '0') == first
    assert children.commands == []
    # another seed is another run, an unfinished one goes on
    (tmp_path / 'runs/method_seed0/metrics.json').unlink()
    compare('--seeds', '0', '1')
    assert [folder for script, folder in children.commands[::2]] == [
        'method_seed0', 'baseline_seed1', 'method_seed1',
    ]  # fmt: skip


def test_the_code_of_a_run_is_noted(
    tool, compare, children, tmp_path, monkeypatch
):
    """That which ran it, not that which planned it."""
    monkeypatch.setattr(tool, 'commit', lambda: 'first')
    children.failing = 'test.py'
    with pytest.raises(SystemExit, match='2 of 2 runs failed'):
        compare()
    # one of them, as if the first call had not come so far
    for name in ('train.log', 'test.log', 'epoch_2.pth'):
        (tmp_path / 'runs' / 'method_seed0' / name).unlink()
    children.failing = ''
    monkeypatch.setattr(tool, 'commit', lambda: 'second')
    lines = compare()
    commits = {
        name: json.loads((tmp_path / 'runs' / name / 'run.json').read_text())
        for name in ('baseline_seed0', 'method_seed0')
    }
    assert commits['baseline_seed0']['commit'] == 'first; second'
    assert commits['method_seed0']['commit'] == 'second'
    assert 'Commit: first; second.' in lines[2]
    assert 'The runs are of different code.' in lines[2]
    # what is done stays as it is
    monkeypatch.setattr(tool, 'commit', lambda: 'third')
    assert compare()[2] == lines[2]


def test_thresholds_are_set_between_training_and_test(
    tool, jobs, children, monkeypatch, tmp_path
):
    commands = []

    def start(command, threads):
        commands.append(command.arguments[1:])
        if commands[-1][0].endswith('calibrate_threshold.py'):
            return Child(0)
        return children(command, threads)

    monkeypatch.setattr(jobs, 'start', start)
    folder = ROOT / 'occupancy_configs'
    configs = [
        folder / 'bevstereo' / 'bevstereo-tiny_minitown.py',
        folder / 'gsrender' / 'gsrender-1f_bevstereo-tiny_minitown.py',
    ]
    # train.py leaves this checkpoint, whatever the config says
    where = ['--work-dir', str(tmp_path)]
    tool.main([*map(str, configs), *where, '--seeds', '4', '--calibrate'])
    scripts = [Path(script).stem for script, *_ in commands]
    # the first head takes the likeliest class and has no threshold
    expected = ['train', 'test', 'train', 'calibrate_threshold', 'test']
    assert scripts == expected
    parser = importlib.import_module('calibrate_threshold').make_parser()
    args = parser.parse_args(commands[3][1:])
    run = 'gsrender-1f_bevstereo-tiny_minitown_seed4'
    assert Path(args.checkpoint) == tmp_path / run / 'epoch_2.pth'
    assert args.cfg_options == {'randomness.seed': 4}
    assert Path(args.out) == tmp_path / run


def test_another_config_is_refused(compare, children, configs):
    compare()
    children.commands.clear()
    with open(configs[1], 'a') as file:
        file.write('optim_wrapper = dict(optimizer=dict(lr=0.5))\n')
    with pytest.raises(SystemExit) as caught:
        compare()
    message = str(caught.value)
    assert 'method_seed0 is a run of another config' in message
    assert 'optim_wrapper.optimizer.lr (0.01, now 0.5)' in message
    assert 'delete' in message and '--work-dir' in message
    # options count as well, and nothing was started
    with pytest.raises(SystemExit, match=r'model\.width \(None, now 1\)'):
        compare('--cfg-options', 'model.width=1')
    assert children.commands == []


def test_folders_of_others_are_refused(compare, tmp_path):
    folder = tmp_path / 'runs' / 'method_seed0'
    folder.mkdir(parents=True)
    (folder / 'metrics.json').write_text('{}')
    with pytest.raises(SystemExit, match=r'has files but no run\.json'):
        compare()


@pytest.mark.parametrize('script', ['train', 'test'])
def test_children_that_fail(compare, children, tmp_path, script):
    children.failing = f'{script}.py'
    with pytest.raises(SystemExit) as caught:
        compare()
    first, *reasons = str(caught.value).splitlines()
    assert first == 'error: 2 of 2 runs failed:'
    log = tmp_path / 'runs' / 'baseline_seed0' / f'{script}.log'
    assert reasons[0].endswith(f'failed with status 3: see {log}')
    assert log.is_file()
    assert not (tmp_path / 'docs').exists()
    # mended, the comparison goes on
    children.failing = ''
    assert '2 of 2 are complete' in compare()[2]


def test_when_one_run_fails_the_others_go_on(compare, children, tmp_path):
    children.failing = 'method_seed0'
    with pytest.raises(SystemExit, match='1 of 4 runs failed') as caught:
        compare('--seeds', '0', '1')
    assert 'train.py of method, seed 0, failed' in str(caught.value)
    lines = (tmp_path / 'docs' / 'table.md').read_text().splitlines()
    assert '3 of 4 are complete' in lines[2] and 'method, seed 0' in lines[2]
    assert [line.split(' | ')[:2] for line in lines[6:11]] == [
        ['| baseline', '0'],
        ['| baseline', '1'],
        ['| **baseline**', 'mean of 2 seeds'],
        ['| method', '1'],
        ['| **method**', 'mean of 1 seed'],
    ]
    assert '| method | baseline | RayIoU | higher | 1 |' in lines[-1]
    page = (tmp_path / 'runs' / 'index.html').read_text()
    assert 'Failed: train.py of method, seed 0' in page


def test_both_files_follow_every_run(
    compare, children, jobs, monkeypatch, tmp_path
):
    """Complete seeds come first, and what is done can be read at once."""
    seen = []

    def start(command, threads):
        files = tmp_path / 'docs' / 'table.md', tmp_path / 'runs/index.html'
        there = [path.is_file() for path in files]
        assert there[0] == there[1]
        text = files[0].read_text() if there[0] else ''
        seen.append(text.count(' | 0.5000 |'))
        return children(command, threads)

    monkeypatch.setattr(jobs, 'start', start)
    compare('--seeds', '3', '1')
    assert [folder for _, folder in children.commands[::2]] == [
        'baseline_seed3', 'method_seed3', 'baseline_seed1', 'method_seed1',
    ]  # fmt: skip
    # lines of runs, and of their means
    assert seen == [0, 0, 2, 2, 4, 4, 5, 5]


def test_training_without_a_checkpoint(compare, children, monkeypatch):
    monkeypatch.setattr(Path, 'touch', lambda self: None)
    with pytest.raises(SystemExit, match='left no checkpoint'):
        compare()


def test_side_by_side_each_has_one_thread(compare, children):
    lines = compare('--seeds', '0', '1', '--jobs', '2')
    assert set(children.threads) == {1} and len(children.commands) == 8
    assert '1 threads, 2 runs side by side' in lines[2]
    children.threads.clear()
    compare('--seeds', '0', '1', '2')
    assert set(children.threads) == {None}


def test_children_understand_their_commands(tool, tmp_path):
    """Seed and options reach the config of train.py and test.py."""
    rows = importlib.import_module('comparison.rows')
    row = rows.Row('r', 'c.py', ('a.b=1', 'x="[1,2]"'), seed_offset=100)
    (tmp_path / 'epoch_1.pth').touch()
    commands = list(tool.steps(tool.Run(row, 5, tmp_path)))
    (_, script, *arguments), test = (c.arguments for c in commands)
    assert script == str(ROOT / 'tools' / 'train.py')
    train = importlib.import_module('train')
    args = train.make_parser().parse_args(arguments)
    expected = {'a.b': 1, 'x': [1, 2], 'randomness.seed': 105}
    assert args.cfg_options == expected
    assert args.resume == 'auto' and args.work_dir == str(tmp_path)
    assert test[1] == str(ROOT / 'tools' / 'test.py')
    assert test[2:4] == ('c.py', str(tmp_path / 'epoch_1.pth'))
    assert list(test[4:]) == arguments[2:]


def test_rows_of_a_file(compare, children, tmp_path, configs):
    """Claims, controls and options of one config, five seeds."""
    rows = tmp_path / 'rows.py'
    rows.write_text(
        """rows = [
    dict(name='host', config='baseline.py'),
    dict(
        name='again', config='baseline.py', baseline='host', seed_offset=50
    ),
    dict(
        name='faster',
        config='baseline.py',
        options={'optim_wrapper.optimizer.lr': 0.02},
        baseline='host',
        claim=['mAVE'],
    ),
]"""
    )
    children.metrics = {
        f'{name}_seed{seed}': dict(RayIoU=0.5, mAVE=1 + seed / 8 + shift)
        for name, shift in (('host', 0), ('again', 0.1), ('faster', -0.5))
        for seed in range(5)
    }
    children.metrics['again_seed3']['mAVE'] = 0.5
    lines = compare(rows=rows)
    assert '15 of 15 are complete, from 5 seeds per row' in lines[2]
    claims = lines[lines.index('Claims:') + 4 :]
    assert claims[0].startswith('| faster | host | mAVE | lower | 5 | -0.5')
    assert claims[0].endswith('| better |') and claims[1] == ''
    (again,) = [x for x in lines if x.startswith('| again | host | mAVE')]
    assert 'no effect shown; the bench would have shown' in again
    record = tmp_path / 'runs' / 'again_seed2' / 'run.json'
    found = json.loads(record.read_text())
    assert found['config']['randomness']['seed'] == 52
    assert found['parameters'] == dict(training=2, inference=2)
    assert found['commit']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['a.py', 'b/a.py'], 'names must differ'),
        ([], 'name either config files, or --rows'),
        (['a.py', '--rows', 'b.py'], 'name either config files, or --rows'),
        (['--rows', 'b.py'], 'row file b.py does not exist'),
        (['a.py', '--jobs', '0'], '--jobs must be at least 1'),
        (['a.py', '--seeds', '1', '1'], '--seeds must differ'),
        (['a.py', '--cfg-options', 'randomness.seed=3'], 'is set by --seeds'),
        (['nowhere.py'], 'nowhere.py does not exist'),
    ],
)
def test_mistakes_end_in_one_message(
    tool, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        tool.main(arguments)
    assert not list(tmp_path.iterdir())
