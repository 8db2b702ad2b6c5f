"""Ctrl-C and SIGTERM: one line, and between two steps."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: launchers pass a signal on, which then comes twice; a person who means it
#: takes longer
_TWICE_SECONDS = 1.0

Handler = Callable[[int, Any], None]


class Stopped(SystemExit):
    """A signal ended the process; exits as shells expect it, 128 + n.

    Processes that multiprocessing started end on it without a traceback.

    Attributes:
        note (str): the line to print, '' if another process does.
        whole (bool): whether training is between two steps.
    """

    def __init__(self, signum: int, whole: bool = False) -> None:
        super().__init__(128 + signum)
        self.note = f'stopped by {signal.Signals(signum).name}'
        self.whole = whole


def stop_now(signum: int, frame: Any = None) -> None:
    """A signal handler that ends the process."""
    raise Stopped(signum)


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Handle SIGINT and SIGTERM, unless they are to be ignored.

    Does nothing in other threads than the main one, which can't.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
        # started in the background, a process has to ignore Ctrl-C
        before = {
            number: old
            for number, old in before.items()
            if old not in (signal.SIG_IGN, None)
        }
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class StepSignals:
    """Signals wait for the end of a training step.

    A second one, a second or more after the first, does not wait.

    Attributes:
        received (int): the signal that waits, 0 if there is none.
        pid (int): of the process whose steps they are.
    """

    def __init__(self) -> None:
        self.received = 0
        self._time = 0.0
        self.pid = os.getpid()
        self._between_steps = False

    def __call__(self, signum: int, frame: Any = None) -> None:
        """Handle a signal."""
        if os.getpid() != self.pid:
            return  # a worker of a data loader: ends with its parent
        if self._between_steps:
            raise Stopped(signum, whole=True)
        if not self.received:
            self.received, self._time = signum, time.monotonic()
            # where workers got the signal, too, torch would raise in the
            # middle of the step
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        elif time.monotonic() - self._time > _TWICE_SECONDS:
            raise Stopped(signum)

    @contextmanager
    def may_stop(self) -> Iterator[None]:
        """Between two steps, for as long as the block takes."""
        if self.received:
            raise Stopped(self.received, whole=True)
        self._between_steps = True
        try:
            yield
        finally:
            self._between_steps = False
