"""Ctrl-C and SIGTERM set a flag; the training loop reads it between two steps.

Saving inside a signal handler would catch the training in the middle of an update.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED_TWICE = 130


class Stopped(SystemExit):
    """The training was asked to stop, and has saved: ends the program with exit code 0."""

    def __init__(self) -> None:
        super().__init__(0)


class StopFlag:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self.interrupts = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler; a second Ctrl-C ends the program at once, without saving."""
        self.requested = True
        self.interrupts += number == signal.SIGINT
        if self.interrupts >= 2:
            raise SystemExit(INTERRUPTED_TWICE)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Turn SIGINT and SIGTERM into the flag while the body runs."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, flag) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
