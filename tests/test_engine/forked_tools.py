"""Run tools/train.py and tools/test.py in forked processes.

python forked_tools.py '[[tool, arguments, world_size], ...]'

Importing takes seconds and is done once; each job is a process of its own
for each rank, as torchrun would start it, and may be killed. Prints the
exit codes of all ranks of every job. Not a test module.
"""

import json
import os
import socket
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tools'), str(Path(__file__).resolve().parent)]

import test as test_tool  # noqa: E402
import train as train_tool  # noqa: E402

TOOLS = dict(train=train_tool, test=test_tool)


def start(tool, arguments, rank, world_size, port):
    """The id of a process that runs a tool."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    os.setpgid(0, 0)  # a signal to its group is one to it and its workers
    try:
        if world_size > 1:
            os.environ.update(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(world_size),
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=str(port),
            )
            arguments = [*arguments, '--launcher', 'pytorch']
        TOOLS[tool].main(arguments)
        status = 0
    except SystemExit as end:  # as the interpreter treats it
        status = end.code if isinstance(end.code, int) else 1
        if status == 1:
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def run(tool, arguments, world_size):
    """Exit codes, negative for a signal."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    pids = [
        start(tool, arguments, rank, world_size, port)
        for rank in range(world_size)
    ]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


if __name__ == '__main__':
    sys.stdout.write(
        json.dumps([run(*job) for job in json.loads(sys.argv[1])])
    )
