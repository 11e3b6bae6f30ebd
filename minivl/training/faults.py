"""Faults that stop a training, told as what happened and what to do: no memory, no disk, no number.

Each is raised before it can spoil anything: weights stay as the last good step left them, and
the last good checkpoint is named.
"""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import nn

from minivl.errors import DataError, DivergedError, ResourceError
from minivl.training.recipe import Training
from minivl.training.run import NO_SPACE, Run

JUDGED_FROM = 1000  # samples: before that, a few corrupt ones say nothing about the rest


@contextlib.contextmanager
def memory_errors(training: Training) -> Iterator[None]:
    """Turn running out of memory into a ResourceError that names the batch size to try."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(training, error) from error


@contextlib.contextmanager
def disk_errors(run: Run) -> Iterator[None]:
    """Turn running out of disk into a ResourceError; what was saved before is untouched."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise ResourceError(
            f"no space left on the disk ({error}) while writing to {run.folder}",
            f"free some, then: {run.resume_command} (last good checkpoint: {last_good(run)})",
        ) from error


def last_good(run: Run) -> str:
    """The newest intact checkpoint, for a message."""
    return str(run.last_checkpoint or "none yet")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out (the CPU's allocator has no type for it)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def out_of_memory(training: Training, error: BaseException) -> ResourceError:
    """Names the two ways to smaller micro-batches."""
    batch, parts = training.batch_size, training.accumulate
    first = (str(error).splitlines() or ["out of memory"])[0]
    return ResourceError(
        f"out of memory with {batch // parts} samples at a time: {first}",
        f"try --batch-size {max(batch // 2, 1)}, or keep the batch in smaller parts: "
        f"--accumulate {parts * 2}",
    )


def check_finite(values: dict[str, float], model: nn.Module, where: str, last_good: str) -> None:
    """DivergedError, before the optimiser's step, if a loss or the gradient is not finite.

    `values` are means over all processes, so all of them come to the same verdict.
    """
    losses = [n for n, v in values.items() if n not in ("loss", "grad_norm") and _bad(v)]
    if not losses and not _bad(values["loss"]) and not _bad(values["grad_norm"]):
        return
    what = f"loss {losses[0]} is {values[losses[0]]}" if losses else _gradient_fault(model)
    raise DivergedError(
        f"{where}: {what}",
        "start anew with a lower --training.lr or more --training.warmup-steps; "
        f"the last good checkpoint is {last_good}",
    )


@contextlib.contextmanager
def told_where(where: str, last_good: str) -> Iterator[None]:
    """What a model itself finds to be no number is told with the step, as by `check_finite`."""
    try:
        yield
    except DivergedError as error:
        raise DivergedError(
            f"{where}: {error.what}", f"{error.remedy}; the last good checkpoint is {last_good}"
        ) from error


def _bad(value: float) -> bool:
    return not math.isfinite(value)


def _gradient_fault(model: nn.Module) -> str:
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the gradient of {name} is not finite (the losses are)"
    return "the norm of the gradient is too large for a number"


def check_skipped(skipped: dict[str, int], samples_read: int, max_bad_fraction: float) -> None:
    """DataError once too large a share of the samples read was corrupt."""
    bad = sum(skipped.values())
    if bad > max_bad_fraction * max(samples_read, JUDGED_FROM):
        raise DataError(
            f"{bad} of {samples_read} samples were corrupt, more than {max_bad_fraction:.1%}",
            "see skipped.jsonl; mend the data, or raise --training.max-bad-fraction",
        )
