"""Memory of a step is there for the next one."""

import platform
import subprocess
import sys

import pytest

#: page faults while eight tensors of 16 MB come and go twenty times
FAULTS = """
import resource, torch
from occsplat.engine.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def step():
    kept = [torch.ones(4 * 2**20) for _ in range(8)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    code = FAULTS.format(keep=keep)
    found = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(found.stdout)


@pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='other C libraries do otherwise'
)
def test_freed_memory_is_used_again():
    """Each time anew it is 4096 faults a tensor, with pages of 4 kB."""
    assert faults(keep=True) < 0.2 * faults(keep=False)


def test_a_c_library_without_the_switch_is_left_alone(monkeypatch):
    from occsplat.engine import memory

    monkeypatch.setattr(memory.ctypes, 'CDLL', lambda name: object())
    assert memory.keep_freed_memory() is False
