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


class Children:
    """Stands in for train.py and test.py."""

    def __init__(self):
        self.commands = []
        #: metrics by name of the run's folder
        self.metrics = {}
        self.failing = ''

    def __call__(self, command, log):
        folder = Path(command[command.index('--work-dir') + 1])
        script = Path(command[1]).name
        assert command[0] == sys.executable and log.parent == folder
        self.commands.append((script, folder.name))
        log.write_text('the output\n')
        if script == self.failing:
            return 3
        if script == 'train.py':
            (folder / 'epoch_2.pth').touch()
        else:
            assert command[3] == str(folder / 'epoch_2.pth')
            metrics = self.metrics.get(folder.name, dict(RayIoU=0.5))
            text = json.dumps(dict(metrics=metrics))
            (folder / 'metrics.json').write_text(text)
        return 0


@pytest.fixture
def children(tool, monkeypatch):
    children = Children()
    monkeypatch.setattr(tool, 'run_child', children)
    return children


@pytest.fixture
def compare(tool, children, configs, tmp_path):
    """A function that runs the tool and returns the table's lines."""
    out = tmp_path / 'docs' / 'table.md'

    def run(*arguments):
        where = ['--work-dir', str(tmp_path / 'runs'), '--out', str(out)]
        tool.main([*configs, *where, *arguments])
        assert not list(out.parent.glob('*.part'))
        return out.read_text().splitlines()

    return run


def test_table_of_two_seeds(compare, children):
    children.metrics = {
        'baseline_seed0': dict(mIoU=0.25, RayIoU=0.125, mAVE=None),
        'baseline_seed1': dict(mIoU=0.5, RayIoU=0.25, mAVE=1.0),
        'method_seed0': dict(mIoU=0.25, RayIoU=0.5, mAVE=2.0),
        'method_seed1': dict(mIoU=0.375, RayIoU=0.75, mAVE=1.0),
    }
    lines = compare('--seeds', '0', '1')
    assert lines[0].startswith('`python tools/compare_methods.py ')
    assert lines[0].endswith(' --seeds 0 1`')
    assert 'threads' in lines[2] and 'torch' in lines[2]
    assert 'From 2 seeds a config (0, 1)' in lines[2]
    assert lines[4:] == [
        '| config | seed | RayIoU | mIoU | mAVE |',
        '| --- | --- | --: | --: | --: |',
        '| baseline | 0 | 0.1250 | 0.2500 | - |',
        '| baseline | 1 | 0.2500 | 0.5000 | 1.0000 |',
        '| **baseline** | mean of 2 seeds | 0.1875 | 0.3750 | - |',
        '| method | 0 | 0.5000 | 0.2500 | 2.0000 |',
        '| method | 1 | 0.7500 | 0.3750 | 1.0000 |',
        '| **method** | mean of 2 seeds | 0.6250 | 0.3125 | 1.5000 |',
        '|  | mean - baseline | +0.4375 | -0.0625 | - |',
    ]


def test_one_seed_says_so(compare):
    lines = compare('--seeds', '7')
    assert 'From 1 seed a config (7)' in lines[2]
    assert 'any difference can be chance' in lines[2]
    assert any('mean of 1 seed |' in line for line in lines)


def test_metrics_that_were_asked_for(compare, children):
    children.metrics = {
        f'{name}_seed0': dict(RayIoU=0.5, RayIoU_car=0.25)
        for name in ('baseline', 'method')
    }
    lines = compare('--metrics', 'RayIoU_car', 'RayIoU')
    assert lines[4] == '| config | seed | RayIoU_car | RayIoU |'
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


def test_thresholds_are_set_between_training_and_test(
    tool, children, monkeypatch, tmp_path
):
    commands = []

    def child(command, log):
        commands.append(command[1:])
        if command[1].endswith('calibrate_threshold.py'):
            return 0
        return children(command, log)

    monkeypatch.setattr(tool, 'run_child', child)
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
def test_a_child_that_fails(compare, children, tmp_path, script):
    children.failing = f'{script}.py'
    with pytest.raises(SystemExit) as caught:
        compare()
    log = tmp_path / 'runs' / 'baseline_seed0' / f'{script}.log'
    assert str(caught.value).endswith(f'failed with status 3: see {log}')
    assert log.is_file()
    assert not (tmp_path / 'docs').exists()
    # mended, the comparison goes on
    children.failing = ''
    assert len(compare()) == 11


def test_training_without_a_checkpoint(compare, children, monkeypatch):
    monkeypatch.setattr(Path, 'touch', lambda self: None)
    with pytest.raises(SystemExit, match='left no checkpoint'):
        compare()


def test_children_understand_their_commands(tool, monkeypatch, tmp_path):
    """Seed and options reach the config of train.py and test.py."""
    run = tool.Run('c.py', 5, tmp_path, ('a.b=1', 'x="[1,2]"'))
    commands = []
    monkeypatch.setattr(
        tool, 'run_child', lambda command, log: commands.append(command) or 0
    )
    (tmp_path / 'epoch_1.pth').touch()
    tool.execute(run)
    (_, script, *arguments), test = commands
    assert script == str(ROOT / 'tools' / 'train.py')
    args = tool.train_parser().parse_args(arguments)
    expected = {'a.b': 1, 'x': [1, 2], 'randomness.seed': 5}
    assert args.cfg_options == expected
    assert args.resume == 'auto' and args.work_dir == str(tmp_path)
    assert test[1] == str(ROOT / 'tools' / 'test.py')
    assert test[2:4] == ['c.py', str(tmp_path / 'epoch_1.pth')]
    assert test[4:] == arguments[2:]


def test_output_of_a_child_goes_to_its_log(tool, tmp_path):
    log = tmp_path / 'log'
    shell = ['sh', '-c', 'echo said; echo wrong >&2; exit 4']
    assert tool.run_child(shell, log) == 4
    assert tool.run_child(shell, log) == 4
    assert log.read_text() == 'said\nwrong\n' * 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['a.py', 'b/a.py'], 'config names must differ'),
        (['a.py', '--seeds', '1', '1'], '--seeds must differ'),
        (['a.py', '--cfg-options', 'randomness.seed=3'], 'use --seeds'),
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
