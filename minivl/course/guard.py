"""A learner's function is called here: it may loop for ever, print, fail or change its input."""

import contextlib
import copy
import ctypes
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

SECONDS = 1.5
"""What a call on a handful of numbers may take."""

KEPT = 2_000
"""Characters kept of what a function prints."""


class TimeUp(BaseException):
    """Thrown into a call that takes too long; no `except Exception` holds it."""


@dataclass
class Outcome:
    """What became of a call."""

    value: Any = None
    error: BaseException | None = None
    timed_out: bool = False
    printed: str = ""
    changed: int | None = None
    """Position of the first argument that differs after the call."""


class Notes(io.StringIO):
    """Keeps the beginning of what is printed; a loop that prints must not fill the memory."""

    def write(self, text: str) -> int:
        """As a file's."""
        if self.tell() < KEPT:
            super().write(text[: KEPT - self.tell()])
        return len(text)


def call(function: Callable, arguments: tuple, seconds: float = SECONDS) -> Outcome:
    """Call the function on the arguments in a thread of its own; nothing it does gets out.

    torch's random state is as before. A call that cannot be interrupted (it waits inside a
    library) is left behind, still running, and reported as timed out.
    """
    outcome, before, notes = Outcome(), copied(arguments), Notes()

    def run() -> None:
        try:
            with torch.enable_grad():
                outcome.value = function(*arguments)
        except BaseException as error:
            outcome.error = error

    thread = threading.Thread(target=run, daemon=True, name="exercise")
    with contextlib.ExitStack() as stack:
        stack.enter_context(random_state_kept())
        stack.enter_context(contextlib.redirect_stdout(notes))
        stack.enter_context(contextlib.redirect_stderr(notes))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # a verdict says what matters
        thread.start()
        thread.join(seconds)
        outcome.timed_out = thread.is_alive() or isinstance(outcome.error, TimeUp)
        interrupt(thread)
    outcome.printed = notes.getvalue()
    pairs = enumerate(zip(before, arguments, strict=True))
    outcome.changed = next((i for i, (old, new) in pairs if not identical(old, new)), None)
    return outcome


def interrupt(thread: threading.Thread) -> bool:
    """Throw TimeUp into a thread, several times if it is caught there; whether the thread ended."""
    for _ in range(10):
        if not thread.is_alive():
            return True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeUp)
        )
        thread.join(0.05)
    return not thread.is_alive()


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """torch's random state after the body is the one before it."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def copied(value: Any) -> Any:
    """A copy that later changes do not reach; functions and other objects as they are."""
    if torch.is_tensor(value):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return type(value)(copied(item) for item in value)
    return copy.deepcopy(value) if isinstance(value, dict | set) else value


def identical(a: Any, b: Any) -> bool:
    """Whether two values are the same to the last bit; NaN is NaN."""
    if torch.is_tensor(a):
        same_kind = torch.is_tensor(b) and a.shape == b.shape and a.dtype == b.dtype
        return same_kind and (a.is_meta or torch.allclose(a, b.detach(), 0, 0, equal_nan=True))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    return a is b or a == b
