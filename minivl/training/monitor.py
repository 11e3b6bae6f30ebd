"""What is seen while a stage trains: a progress bar or plain lines, metrics.jsonl, TensorBoard."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from minivl.training.run import Run, append_line

SECONDS_BETWEEN_LINES = 5.0
OWN_FIELDS = ("stage", "step", "stream", "loss", "lr", "grad_norm")
TIMINGS = ("samples_per_second", "data_wait_share")


def say(text: str) -> None:
    """Print a line; a reader that has gone away (`| head`) must not end a training."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        nowhere = open(os.devnull, "w")  # for the rest of the process
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # what is still buffered goes there too
        sys.stdout = nowhere


class Monitor:
    """Watches one stage; a context manager. Quiet in all processes but the first."""

    def __init__(self, run: Run, stage: str, steps: range, log_every: int, *, quiet: bool = False):
        """`steps` are the steps that this training takes: range(first, end), counted from 0."""
        self.run, self.stage, self.steps, self.log_every = run, stage, steps, log_every
        self.quiet = quiet
        self.seconds = self.waited = 0.0
        self.samples = 0
        self._bar: Any = None
        self._board: Any = None
        self._last_line = -SECONDS_BETWEEN_LINES
        self._speed = 0.0
        self._started = time.monotonic()
        self._paused = 0.0

    def __enter__(self) -> "Monitor":
        """Open the progress bar and the TensorBoard file."""
        if not self.quiet:
            self._bar = _progress_bar(self.stage, self.steps) if sys.stdout.isatty() else None
            self._board = _tensorboard(self.run, self.steps.start)
        return self

    def __exit__(self, *error: object) -> None:
        """Close both."""
        self.close()

    def close(self) -> None:
        """Close bar and TensorBoard file; may be called again."""
        if self._bar:
            self._bar.stop()
        if self._board:
            with contextlib.suppress(Exception):
                self._board.close()
        self._bar = self._board = None

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time that is no training: evaluating and saving."""
        started = time.monotonic()
        yield
        self._paused += time.monotonic() - started

    def due(self, step: int) -> bool:
        """Whether a line is written after this step, counted from 1."""
        return step % self.log_every == 0 or step in (1, self.steps.stop)

    def log(self, record: dict[str, Any], samples: int, seconds: float, waited: float) -> None:
        """Note one step; `record` has stage, step, loss, each named loss, lr and grad_norm."""
        self.samples += samples
        self.seconds += seconds
        self.waited += waited
        step = record["step"]
        if self._bar:
            self._bar.advance(self._bar.task_ids[0])
        if not self.due(step):
            return
        self._speed = self.samples / self.seconds
        record = record | {
            "samples_per_second": round(self._speed, 2),
            "data_wait_share": round(self.waited / self.seconds, 4),
        }
        self.samples, self.seconds, self.waited = 0, 0.0, 0.0
        if self.quiet:
            return
        append_line(self.run.metrics_file, record)
        self._to_tensorboard(record)
        self._show(record)

    def _show(self, record: dict[str, Any]) -> None:
        text = describe(record)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], text=text)
            return
        now = time.monotonic()
        ends = record["step"] in (self.steps.start + 1, self.steps.stop)
        if ends or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            eta = self._eta(record["step"], now)
            say(f"{self.stage} {record['step']}/{self.steps.stop}  {text}  ETA {eta}")

    def _eta(self, step: int, now: float) -> str:
        done = step - self.steps.start
        training = now - self._started - self._paused
        return clock(training / max(done, 1) * (self.steps.stop - step))

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar:
            self._bar.console.print(text, highlight=False)
        elif not self.quiet:
            say(text)

    def _to_tensorboard(self, record: dict[str, Any]) -> None:
        if not self._board:
            return
        try:
            for name, value in record.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{self.stage}/{name}", value, record["step"])
        except Exception as error:  # a second diary is not worth a training
            self._board = None
            self.say(f"TensorBoard's file can no longer be written: {error}")


def describe(record: dict[str, Any]) -> str:
    """A logged step in one line: losses, speed, and how much of the time data was waited for."""
    named = [n for n in record if n not in OWN_FIELDS and n not in TIMINGS]
    losses = [f"loss {record['loss']:.4f}"]
    losses += [f"{name} {record[name]:.4f}" for name in named if len(named) > 1]
    speed = f"{record['samples_per_second']:,.0f} samples/s"
    return "  ".join([*losses, speed, f"waiting {record['data_wait_share']:.0%}"])


def clock(seconds: float) -> str:
    """75 -> 1:15."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _progress_bar(stage: str, steps: range) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    bar.add_task(stage, total=steps.stop, completed=steps.start, text="")
    bar.start()
    return bar


def _tensorboard(run: Run, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    # Steps that are about to be repeated are struck from the diary.
    return SummaryWriter(str(run.tensorboard), purge_step=first_step + 1 if first_step else None)
