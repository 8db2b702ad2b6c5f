"""Processes side by side: they overlap, fail alone, and end together."""

import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from occsplat.engine import ConfigError

ROOT = Path(__file__).parents[2]
#: says that it is there, then waits for a file, for a minute at most
WAIT = """
import pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:3])
mine.touch()
for _ in range(1200):
    if other.exists():
        sys.exit(0)
    time.sleep(0.05)
sys.exit(9)
"""
#: as train.py: SIGTERM is answered when the step is done
SLOW = """
import pathlib, signal, sys, time
def stop(*_):
    if sys.argv[3] == 'polite':
        pathlib.Path(sys.argv[2]).write_text('saved')
        sys.exit(143)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    jobs = importlib.import_module('comparison.jobs')
    monkeypatch.setattr(jobs, 'POLL_SECONDS', 0.02)
    return jobs


@pytest.fixture
def command(jobs, tmp_path):
    """A function that makes a command of a python program."""

    def make(title, program, *arguments):
        parts = (sys.executable, '-c', program, *map(str, arguments))
        return jobs.Command(title, parts, tmp_path / f'{title}.log')

    return make


@pytest.fixture
def run(jobs):
    """A function that runs works; what has finished and failed."""

    def run(works, count, threads=None):
        done, failures = [], {}
        works = {key: iter(commands) for key, commands in works.items()}
        jobs.side_by_side(
            works, count, done.append, failures.__setitem__, threads
        )
        return done, failures

    return run


def test_two_run_at_the_same_time(run, command, tmp_path):
    """Each waits for the other: one at a time they would never end."""
    a, b = tmp_path / 'a', tmp_path / 'b'
    works = {
        'first': [command('one', WAIT, a, b)],
        'second': [command('two', WAIT, b, a)],
    }
    done, failures = run(works, 2)
    assert sorted(done) == ['first', 'second'] and not failures


def test_commands_of_a_work_come_in_turn(run, command, tmp_path):
    append = 'import sys; print(sys.argv[1]); sys.exit(int(sys.argv[2]))'
    works = {
        'bad': [command('log', append, 1, 3), command('log', append, 2, 0)],
        'good': [command('log', append, 3, 0), command('log', append, 4, 0)],
    }
    done, failures = run(works, 1)
    assert done == ['good']
    log = tmp_path / 'log.log'
    assert failures == {'bad': f'log, failed with status 3: see {log}'}
    # added to what is there; nothing follows what has failed
    assert log.read_text().split() == ['1', '3', '4']


def test_a_work_that_can_not_go_on_fails_alone(run, command):
    def broken():
        yield command('one', 'pass')
        raise ConfigError('no checkpoint')

    works = {'broken': broken(), 'whole': [command('two', 'pass')]}
    assert run(works, 2) == (['whole'], {'broken': 'no checkpoint'})


def test_output_and_threads_of_a_child(run, command, tmp_path):
    program = (
        'import os, sys; print(os.environ["OMP_NUM_THREADS"], flush=True); '
        'sys.stderr.write("wrong")'
    )
    run({'a': [command('log', program)]}, 1, threads=1)
    assert (tmp_path / 'log.log').read_text() == '1\nwrong'


def interrupted(run, command, tmp_path, manner, signals):
    """Start two that wait, send signals, and return them as they ended."""
    ready = [tmp_path / f'ready{i}' for i in range(2)]
    saved = [tmp_path / f'saved{i}' for i in range(2)]
    works = {
        i: [command(f'job{i}', SLOW, ready[i], saved[i], manner)]
        for i in range(2)
    }

    def send():
        deadline = time.monotonic() + 60
        while not all(path.exists() for path in ready):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
        for _ in range(signals):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    sender = threading.Thread(target=send)
    sender.start()
    start = time.monotonic()
    with pytest.raises(SystemExit) as caught:
        run(works, 2)
    sender.join()
    assert time.monotonic() - start < 50
    assert caught.value.code == 130
    return saved


@pytest.fixture
def children(jobs, monkeypatch):
    """The processes that are started."""
    started, start = [], jobs.start

    def spy(*arguments):
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(jobs, 'start', spy)
    return started


def test_a_signal_stops_both(run, command, children, tmp_path):
    saved = interrupted(run, command, tmp_path, 'polite', signals=1)
    assert [path.read_text() for path in saved] == ['saved'] * 2
    assert [child.returncode for child in children] == [143, 143]


def test_a_second_signal_does_not_wait(run, command, children, tmp_path):
    interrupted(run, command, tmp_path, 'deaf', signals=2)
    assert [child.returncode for child in children] == [-signal.SIGKILL] * 2


def test_an_error_of_ours_stops_them_too(jobs, command, children, tmp_path):
    """As when the disk is full and the page can't be written."""
    ready, saved = tmp_path / 'ready', tmp_path / 'saved'
    wait = f'import os, time\nwhile not os.path.exists({str(ready)!r}): '
    works = {
        'slow': iter([command('slow', SLOW, ready, saved, 'polite')]),
        'quick': iter([command('quick', wait + 'time.sleep(0.05)')]),
    }

    def finished(key):
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        jobs.side_by_side(works, 2, finished, lambda key, why: None)
    assert children[0].returncode == 143 and saved.exists()
