"""A busy neighbour must not stop every thread of a training."""

import ast
import os
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from occsplat.engine import launch, threads

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that says how many cores there are, and under what limit."""
    threads_before = torch.get_num_threads()

    def make(cores, quota='max 100000'):
        monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(cores))
        limit = tmp_path / 'cpu.max'
        limit.write_text(quota)
        monkeypatch.setattr(threads, '_QUOTA', limit)

    with threadpool_limits():
        yield make
    torch.set_num_threads(threads_before)


@pytest.mark.parametrize(
    'cores, quota, expected',
    [
        (1, 'max 100000', 1),
        (2, 'max 100000', 1),
        (4, 'max 100000', 3),
        (64, 'max 100000', 8),
        (64, '400000 100000\n', 3),
        (64, '50000 100000\n', 1),
        (4, 'nonsense', 3),
    ],
)
def test_one_core_is_left(machine, cores, quota, expected):
    machine(cores, quota)
    assert threads.default_threads() == expected


def test_without_a_limit_to_read(machine, monkeypatch, tmp_path):
    machine(3)
    monkeypatch.setattr(threads, '_QUOTA', tmp_path / 'none')
    assert threads.default_threads() == 2
    monkeypatch.delattr(os, 'sched_getaffinity')
    monkeypatch.setattr(os, 'cpu_count', lambda: 5)
    assert threads.default_threads() == 4


def test_the_environment_wins(machine, monkeypatch):
    machine(6)
    torch.set_num_threads(2)
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    threads.limit_threads()
    assert torch.get_num_threads() == threads.default_threads() == 2
    monkeypatch.delenv('OMP_NUM_THREADS')
    threads.limit_threads()
    assert torch.get_num_threads() == 5


def test_linear_algebra_of_numpy_has_one(machine, monkeypatch):
    def found():
        pools = threadpool_info()
        return {p['num_threads'] for p in pools if p['user_api'] == 'blas'}

    machine(6)
    threadpool_limits(2, user_api='blas')
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    threads.limit_threads()
    assert found() == {2}
    monkeypatch.delenv('OMP_NUM_THREADS')
    threads.limit_threads()
    assert found() == {1}


def test_launched_runs_are_limited(machine):
    machine(4)
    torch.set_num_threads(1)
    launch.prepare_launcher(dict_config(), 'none')
    assert torch.get_num_threads() == 3


def dict_config():
    from mmengine.config import Config

    return Config(dict(model=dict()))


def test_every_tool_that_computes_is_limited():
    """By itself, or by what it starts its network with."""
    doors = {'limit_threads', 'prepare_launcher', 'load_model'}
    # start the other tools, or have threads of their own to measure with
    others = {'compare_methods.py', 'benchmark.py', 'gpu_check.py'}
    for path in sorted((ROOT / 'tools').glob('*.py')):
        tree = ast.parse(path.read_text())
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        if 'load_config' not in imported or path.name in others:
            continue
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert called & doors, path.name
