"""A run that is killed and resumed ends in the bits of one left alone.

Guards: an epoch that restarts from its beginning, histories that start
afresh, averages without their counter, augmentation that hangs on which
worker served what before.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from occsplat.engine import latest_checkpoint, read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CONFIG = str(HERE / 'resume_config.py')
# its fixtures are dear: one of pytest's workers makes them
pytestmark = pytest.mark.xdist_group('exact_resume')
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(HERE)}

# name: workers, persistent, resume point every, killed at, and the
# checkpoint that is the newest then
KILLED = {
    'main_process': (0, False, 4, 9, 'resume_iter_8.pth'),
    'behind_validation': (1, True, 4, 13, 'epoch_2.pth'),
    'before_the_epoch_ends': (2, False, 6, 6, 'resume_iter_6.pth'),
    'persistent_workers': (2, True, 4, 11, 'resume_iter_8.pth'),
}
COMMAND_LINE = 'persistent_workers'  # run as the documents say


def arguments(work_dir, *options, resume=None, config=CONFIG):
    """Of tools/train.py."""
    flags = [] if resume is None else ['--resume', *resume]
    witness = f'custom_hooks.2.path={work_dir}/witness'
    work_dir = ['--work-dir', str(work_dir)]
    return [config, *work_dir, *flags, '--cfg-options', witness, *options]


def workers(count, persistent, interval):
    return (
        f'train_dataloader.num_workers={count}',
        f'train_dataloader.persistent_workers={persistent}',
        f'default_hooks.resume_point.interval={interval}',
    )


def kill_at(iteration):
    return f'custom_hooks.2.kill_at={iteration}'


def tools(*jobs):
    """Exit codes of each job's ranks, and what was printed."""
    done = subprocess.run(
        [sys.executable, str(HERE / 'forked_tools.py'), json.dumps(jobs)],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), printed


def command(*args):
    """tools/train.py in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools/train.py'), *args],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=900,
    )


def kill_and_resume(folder, names):
    """Jobs of these rows, and what has to become of them."""
    jobs = []
    for name in names:
        count, persistent, interval, kill, _ = KILLED[name]
        options = workers(count, persistent, interval)
        killed = arguments(folder / name, *options, kill_at(kill))
        resumed = arguments(folder / name, *options, resume=())
        jobs += [('train', killed, 1), ('train', resumed, 1)]
    return jobs


def check_jobs(folder, names, codes, printed):
    assert codes == [[-9], [0]] * len(names), printed
    for name in names:
        newest = folder / name / KILLED[name][-1]
        assert f'from path: {newest}' in printed
    assert 'afresh' not in printed


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Folder with a run left alone, and a killed and resumed one."""
    folder, names = tmp_path_factory.mktemp('runs'), ['behind_validation']
    alone = ('train', arguments(folder / 'alone'), 1)
    codes, printed = tools(alone, *kill_and_resume(folder, names))
    assert codes.pop(0) == [0], printed
    check_jobs(folder, names, codes, printed)
    return folder


MORE = [n for n in KILLED if n not in (COMMAND_LINE, 'behind_validation')]


@pytest.fixture(scope='module')
def more_runs(runs):
    """The same folder with the other rows."""
    codes, printed = tools(*kill_and_resume(runs, MORE))
    check_jobs(runs, MORE, codes, printed)
    return runs


def same(one, two):
    """Equal to the last bit, tensors and arrays in plain containers."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(
            same(one[key], two[key]) for key in one
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, two)
    if isinstance(one, HistoryBuffer):
        return same(one.data, two.data)
    return one == two


WEIGHTS = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
SCALARS = ('train/loss', 'train/lr', 'train/grad_norm')


def assert_same_checkpoint(one, two):
    """Weights, averages, optimizer, schedules, log."""
    a, b = read_checkpoint(one), read_checkpoint(two)
    for key in WEIGHTS:
        assert same(a[key], b[key]), (two, key)
    a, b = (c['message_hub']['log_scalars'] for c in (a, b))
    for key in SCALARS:
        assert same(a[key], b[key]), (two, key)


def assert_same_streams(one, two):
    """What a process remembers, and what it would draw."""
    a, b = read_checkpoint(one), read_checkpoint(two)
    assert a['streams']['history'], 'nothing is remembered'
    assert same(a['streams'], b['streams']), two
    assert same(a['generators'], b['generators']), two


def assert_same_steps(one, two):
    """Losses; those behind the resume point were had twice."""
    a, b = (path.read_text().splitlines() for path in (one, two))
    assert list(dict.fromkeys(b)) == a


def assert_same_run(one, two, epochs=3, ranks=1):
    """All that three epochs leave behind."""
    for epoch in range(1, epochs + 1):
        name = f'epoch_{epoch}.pth'
        assert_same_checkpoint(one / name, two / name)
    for rank in range(ranks):
        name = f'streams/epoch_{epochs}.rank{rank}.pth'
        assert_same_streams(one / name, two / name)
        name = f'witness.{rank}'
        assert_same_steps(one / name, two / name)


def test_run_killed_behind_validation_ends_in_the_same_bits(runs):
    assert_same_run(runs / 'alone', runs / 'behind_validation')


@pytest.mark.slow
@pytest.mark.parametrize('name', MORE)
def test_killed_run_ends_in_the_same_bits(more_runs, name):
    assert_same_run(more_runs / 'alone', more_runs / name)


@pytest.mark.slow
def test_commands_killed_and_resumed(runs, tmp_path):
    count, persistent, interval, kill, newest = KILLED[COMMAND_LINE]
    work_dir = tmp_path / 'run'
    options = workers(count, persistent, interval)
    killed = command(*arguments(work_dir, *options, kill_at(kill)))
    assert killed.returncode == -9
    assert latest_checkpoint(work_dir).name == newest
    resumed = command(*arguments(work_dir, *options, resume=()))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(runs / 'alone', work_dir)


# name: exit code, signal, at, options, newest checkpoint then
STOPPED = {
    'terminated': (143, 'SIGTERM', 10, (), 'resume_iter_10.pth'),
    # as a terminal does, with workers that get it, too
    'interrupted': (
        130,
        '-SIGINT',
        9,
        workers(2, True, 4),
        'resume_iter_9.pth',
    ),
    'cancelled': (
        143,
        '-SIGTERM',
        5,
        workers(1, False, 4),
        'resume_iter_5.pth',
    ),
    # averaged weights are in the model's place then
    'in_validation': (
        143,
        'SIGTERM',
        6,
        (
            'custom_hooks.2.validating=True',
            'default_hooks.checkpoint.interval=3',
        ),
        'resume_iter_6.pth',
    ),
}


@pytest.fixture(scope='module')
def stopped_runs(runs):
    """The same folder with runs that were stopped and resumed."""
    jobs = []
    for name, (_, number, at, options, _) in STOPPED.items():
        signal = (kill_at(at), f'custom_hooks.2.signal={number}')
        more = [o for o in options if 'validating' not in o]
        jobs += [
            ('train', arguments(runs / name, *options, *signal), 1),
            ('train', arguments(runs / name, *more, resume=()), 1),
        ]
    return runs, *tools(*jobs)


def test_a_signal_ends_a_run_behind_its_step_in_one_line(stopped_runs):
    folder, codes, printed = stopped_runs
    assert 'Traceback' not in printed
    assert codes[1::2] == [[0]] * len(STOPPED), printed
    assert codes[::2] == [[row[0]] for row in STOPPED.values()], printed
    lines = [li for li in printed.splitlines() if li.startswith('stopped by')]
    assert lines == [
        f'stopped by {signal.lstrip("-")} after iteration {at}: go on from '
        f'{folder / name / newest} with --resume'
        for name, (_, signal, at, _, newest) in STOPPED.items()
    ]


@pytest.mark.parametrize('name', STOPPED)
def test_a_stopped_run_ends_in_the_same_bits(stopped_runs, name):
    one, two = stopped_runs[0] / 'alone', stopped_runs[0] / name
    assert_same_checkpoint(one / 'epoch_3.pth', two / 'epoch_3.pth')
    streams = 'streams/epoch_3.rank0.pth'
    assert_same_streams(one / streams, two / streams)
    # no step was had twice
    assert (one / 'witness.0').read_text() == (two / 'witness.0').read_text()
    assert not list(two.rglob('*.part'))


def test_only_what_can_be_resumed_from_is_kept(runs):
    folder = runs / 'behind_validation'
    names = sorted(p.name for p in folder.glob('*.pth*'))
    assert [n for n in names if not n.startswith('best_')] == [
        'epoch_1.pth',
        'epoch_2.pth',
        'epoch_3.pth',
    ]
    assert len(list(folder.glob('streams/*'))) <= 2
    assert Path((folder / 'last_checkpoint').read_text()).is_file()
    # of use to nobody but a resumed run
    assert 'streams' not in read_checkpoint(folder / 'epoch_3.pth')


def steps(path):
    """(epoch, [(frame, frames of its past), ...]) of every step."""
    for line in path.read_text().splitlines():
        epoch, _, _, _, seen = line.split(' ', 4)
        pairs = re.findall(r'\((\d+), (\d+)\)', seen)
        yield int(epoch), [(int(a), int(b)) for a, b in pairs]


def check_streams(paths, slots, frames=12):
    """Each frame at most once an epoch; its past is there if it came."""
    per_epoch, continued = {}, 0
    for path in paths:
        before, number = {}, 0
        for epoch, seen in steps(path):
            per_epoch.setdefault(epoch, []).extend(f for f, _ in seen)
            now = {}
            for frame, past in seen:
                now[frame] = past
                # numbers 0, 5 and 8 begin a drive
                if number > 2 and frame not in (0, 5, 8):
                    if frame - 1 in before:
                        assert past == min(before[frame - 1] + 1, 2)
                        continued += 1
            before, number = now, number + 1
    for served in per_epoch.values():
        assert len(served) == len(set(served)) == frames // slots * slots
    assert continued >= frames / 2


def test_streams_go_on_through_an_epoch(runs):
    check_streams([runs / 'alone' / 'witness.0'], slots=2)


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    """Runs of two processes: left alone, killed and resumed."""
    folder = tmp_path_factory.mktemp('two')
    alone, killed, fewer = (folder / n for n in ('alone', 'killed', 'fewer'))
    stopped = folder / 'stopped'
    sigterm = ('custom_hooks.2.signal=SIGTERM', 'custom_hooks.2.rank=1')
    newest = str(killed / 'resume_iter_8.pth')
    # the last checkpoint with the streams of rank 0 alone
    lost = folder / 'lost'
    (lost / 'streams').mkdir(parents=True)
    for name in ('epoch_3.pth', 'streams/epoch_3.rank0.pth'):
        (lost / name).symlink_to(alone / name)
    one_more = arguments(
        lost, 'train_cfg.max_epochs=4', resume=[str(lost / 'epoch_3.pth')]
    )
    # each rank finds a checkpoint of its own, or none
    apart = folder / 'apart.py'
    apart.write_text(
        f"_base_ = ['{CONFIG}']\n"
        "load_from = 'epoch_{{$RANK:0}}.pth'\n"
        'resume = True\n'
    )
    metrics = [CONFIG, str(alone / 'epoch_3.pth'), '--work-dir']
    codes, printed = tools(
        ('train', arguments(alone), 2),
        ('train', arguments(killed, kill_at(8)), 2),
        ('train', arguments(fewer, resume=[newest]), 1),
        ('train', arguments(killed, resume=()), 2),
        ('train', one_more, 2),
        ('train', arguments(folder / 'apart', config=str(apart)), 2),
        ('test', [*metrics, str(folder / 'metrics_1')], 1),
        ('test', [*metrics, str(folder / 'metrics_2')], 2),
        ('train', arguments(stopped, kill_at(5), *sigterm), 2),
        ('train', arguments(stopped, resume=()), 2),
    )
    assert codes.pop(-2) == [143, 143], printed
    # a process whose peer is gone may end on that
    assert -9 in codes.pop(1)
    assert codes.pop(4) == [1, 1], printed
    assert codes == [[0, 0], [0], [0, 0], [0, 0], [0], [0, 0], [0, 0]], printed
    (folder / 'printed').write_text(' '.join(printed.split()))
    return folder


def test_what_starts_afresh_is_told_once(two_processes):
    printed = (two_processes / 'printed').read_text()
    assert re.search(
        r'left by 2 processes with 3 iterations an epoch, this run has 1 '
        r'with 6: weights and optimizer are resumed, epoch 3 and all '
        r'streams start afresh',
        printed,
    )
    assert re.search(
        r'place in the epoch are resumed; in 1 of 2 processes \(rank 1\) '
        r'streams and random numbers start afresh: checkpoint '
        r'\S+/lost/streams/epoch_3\.rank1\.pth does not exist',
        printed,
    )
    # the killed run found all its streams
    assert printed.count('start afresh') == 2


def test_processes_that_would_resume_apart_stop(two_processes):
    printed = (two_processes / 'printed').read_text()
    assert 'found rank 0: epoch_0.pth, rank 1: epoch_1.pth' in printed


def test_two_processes_killed_and_resumed(two_processes):
    one, two = two_processes / 'alone', two_processes / 'killed'
    assert_same_run(one, two, ranks=2)
    check_streams([one / 'witness.0', one / 'witness.1'], slots=4)


def test_a_signal_to_one_process_stops_all_behind_the_same_step(two_processes):
    one, two = two_processes / 'alone', two_processes / 'stopped'
    assert_same_run(one, two, ranks=2)
    for rank in range(2):
        name = f'witness.{rank}'
        assert (one / name).read_text() == (two / name).read_text()
    printed = (two_processes / 'printed').read_text()
    assert printed.count('stopped by SIGTERM') == 1
    assert f'{two}/resume_iter_5.pth with --resume' in printed


def test_another_number_of_processes_repeats_the_epoch(two_processes):
    folder = two_processes / 'fewer'
    done = list(steps(folder / 'witness.0'))
    # epoch 3 of six iterations from its beginning, on the old count
    assert [epoch for epoch, _ in done] == [2] * 6
    assert read_checkpoint(folder / 'epoch_3.pth')['meta']['iter'] == 14


def test_metrics_do_not_depend_on_the_number_of_processes(two_processes):
    one, two = metrics_of(two_processes)
    assert one == two
    assert one['frames'] == one['distinct'] == 12
    # 5, 3 and 4 frames: 0 + 1 + 2 + 2 + 2, 0 + 1 + 2, 0 + 1 + 2 + 2
    assert one['past'] == 15


@pytest.mark.slow
def test_the_same_holds_for_a_real_network(minitown_infos, tmp_path):
    """VoxelSplat on FB-Occ, which draws voxels, with a loader's worker."""
    config = str(HERE / 'resume_voxelsplat_config.py')
    roots = [
        f'{split}_dataloader.dataset.data_root={minitown_infos}'
        for split in ('train', 'val', 'test')
    ]

    def train(name, kill, resume=None):
        options = (*roots, kill_at(kill))
        return (
            'train',
            arguments(tmp_path / name, *options, resume=resume, config=config),
            1,
        )

    codes, printed = tools(
        train('alone', 7), train('killed', 5), train('killed', 7, resume=())
    )
    assert codes == [[-9]] * 3, printed
    assert 'afresh' not in printed
    one, two = tmp_path / 'alone', tmp_path / 'killed'
    name = 'resume_iter_6.pth'
    assert_same_checkpoint(one / name, two / name)
    name = 'streams/resume_iter_6.rank0.pth'
    assert_same_streams(one / name, two / name)
    assert_same_steps(one / 'witness.0', two / 'witness.0')

    def test(world):
        paths = [str(one / 'resume_iter_6.pth'), '--work-dir']
        paths.append(str(tmp_path / f'metrics_{world}'))
        return 'test', [config, *paths, '--cfg-options', *roots], world

    codes, printed = tools(test(1), test(2))
    assert codes == [[0], [0, 0]], printed
    one, two = metrics_of(tmp_path)
    assert one == two and len(one) > 20


def metrics_of(folder):
    """What tools/test.py wrote with one and with two processes."""
    return [
        json.loads((folder / f'metrics_{world}/metrics.json').read_text())[
            'metrics'
        ]
        for world in (1, 2)
    ]
