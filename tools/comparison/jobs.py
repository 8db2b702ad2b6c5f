"""Commands of several runs, some at a time, that end together."""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Any, Callable, Hashable, Iterator, NamedTuple, TypeVar

from occsplat.engine import ConfigError
from occsplat.engine.signals import Stopped, handled

#: between two looks at the children
POLL_SECONDS = 0.2

Key = TypeVar('Key', bound=Hashable)


class Command(NamedTuple):
    """One process to run.

    Attributes:
        title: how messages call it.
        arguments: program and arguments.
        log: what it prints is added to this file.
    """

    title: str
    arguments: tuple[str, ...]
    log: Path


class _Job(NamedTuple):
    """A command that runs, and those that come after it."""

    key: Any
    commands: Iterator[Command]
    command: Command
    child: subprocess.Popen


class _Signal:
    """Remembers the first signal, so that no child is forgotten.

    A second one does not wait.
    """

    received = 0

    def __call__(self, signum: int, frame: Any = None) -> None:
        if self.received:
            raise Stopped(signum)
        self.received = signum


def start(command: Command, threads: int | None) -> subprocess.Popen:
    """Start a command with its output in its log."""
    print(f'{command.title}: see {command.log}', flush=True)
    environment = dict(os.environ)
    if threads is not None:
        environment['OMP_NUM_THREADS'] = str(threads)
    with command.log.open('a', encoding='utf-8') as output:
        return subprocess.Popen(
            command.arguments,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )


def side_by_side(
    work: dict[Key, Iterator[Command]],
    jobs: int,
    finished: Callable[[Key], None],
    failed: Callable[[Key, str], None],
    threads: int | None = None,
) -> None:
    """Run the commands of each work in turn, several works at a time.

    A work whose command fails is given up, the others go on. Works start
    in their order.

    Args:
        work: by key, the commands; asked for the next one when the one
            before has succeeded. May raise a ConfigError, which is a
            failure of this work.
        jobs: how many works at a time.
        finished: called with the key when all commands of a work have
            succeeded.
        failed: called with the key and the reason when one has not.
        threads: that each command computes with; its own choice if None.

    Raises:
        Stopped: on SIGINT or SIGTERM, when all children have ended. They
            are told to end, and may complete a step; a second signal kills
            them.
    """
    waiting = deque(work.items())
    running: list[_Job] = []

    def advance(key: Key, commands: Iterator[Command]) -> None:
        try:
            command = next(commands, None)
        except ConfigError as error:
            return failed(key, str(error))
        if command is None:
            finished(key)
        else:
            child = start(command, threads)
            running.append(_Job(key, commands, command, child))

    with handled(signal := _Signal()):
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    advance(*waiting.popleft())
                time.sleep(POLL_SECONDS)
                if signal.received:
                    raise Stopped(signal.received)
                ended = [j for j in running if j.child.poll() is not None]
                for job in ended:
                    running.remove(job)
                    if job.child.returncode == 0:
                        advance(job.key, job.commands)
                    else:
                        failed(job.key, _failure(job))
        except BaseException:
            _stop([job.child for job in running])
            raise


def _failure(job: _Job) -> str:
    return (
        f'{job.command.title}, failed with status {job.child.returncode}: '
        f'see {job.command.log}'
    )


def _stop(children: list[subprocess.Popen]) -> None:
    """End processes; who interrupts the wait for them kills them."""
    try:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
    except BaseException:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
        raise
