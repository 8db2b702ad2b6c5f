"""Parting from the processes of a distributed run."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECTS = Path(__file__).parents[2] / 'projects'
LEAVE = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

sys.path.insert(0, sys.argv[1])
import occsplat.plugin  # noqa: F401
from occsplat.engine import leave_processes


def waiting():
    tasks = Path('/proc/self/task').iterdir()
    names = [(task / 'comm').read_text() for task in tasks]
    return sum(name.startswith('pt_gloo') for name in names)


with TemporaryDirectory() as folder:
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=0, world_size=1
    )
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
    # as a Runner and its hooks refer to each other
    model.runner = [model]
    model(torch.ones(1, 1)).sum().backward()
    del model
    before = waiting()
    leave_processes()
print(before, waiting())
"""


@pytest.mark.skipif(
    not Path('/proc/self/task').is_dir(), reason='counts threads in /proc'
)
def test_no_thread_of_the_group_is_left():
    """One that is aborts the process when Python ends, now and then."""
    done = subprocess.run(
        [sys.executable, '-c', LEAVE, PROJECTS],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert before > 0
    assert after == 0
