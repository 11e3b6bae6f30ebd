"""Timing a training step: variants that take turns, the peak of a matrix product, memory.

In turns, because another program on the machine then slows all variants alike: the ratios hold
where the absolute numbers do not.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean, median

import torch

from minivl.data.stream import Stream
from minivl.training.device import autocast, computes_bfloat16
from minivl.training.engine import train_step
from minivl.training.loader import Loader, StepData
from minivl.training.recipe import Training
from minivl.training.session import Session

MATRIX = 2048


@dataclass
class Variant:
    """One way to run the step, and what was measured of it."""

    name: str
    precision: str
    prefetch: int | None
    """Batches loaded ahead; None: the same batch lies ready."""
    accumulate: int = 1
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Stream -> how long its steps took."""
    waited: dict[str, list[float]] = field(default_factory=dict)

    def step_seconds(self, shares: Mapping[str, float]) -> float:
        """The median step, waiting included; of several streams their mean by shares."""
        return mixed({name: median(self.seconds[name]) for name in shares}, shares)

    def waiting(self, shares: Mapping[str, float]) -> float:
        """Which share of the time was spent waiting for data."""
        means = {name: fmean(self.waited[name]) for name in shares}
        spent = {name: fmean(self.seconds[name]) for name in shares}
        return mixed(means, shares) / mixed(spent, shares)


def mixed(values: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """The mean of values by shares, which need not add up to 1."""
    return sum(share * values[name] for name, share in shares.items()) / sum(shares.values())


def variants_of(training: Training, device: torch.device) -> list[Variant]:
    """What is compared; the first is what every ratio refers to."""
    quarters = 4 if training.batch_size % 4 == 0 else 1
    ahead = training.prefetch or 2
    native = training.precision
    if native == "auto":
        native = "bfloat16" if computes_bfloat16(device) else "float32"
    return [
        Variant("float32", "float32", None),
        Variant("bfloat16", "bfloat16", None),
        Variant(f"{native}, {quarters} micro-batches", native, None, quarters),
        Variant(f"{native}, data loaded ahead", native, ahead),
        Variant(f"{native}, data loaded in the step", native, 0),
    ]


def run_in_turns(
    session: Session, streams: list, variants: list[Variant], steps: int, rounds: int
) -> None:
    """Each variant for a few steps of each stream, then the next, several times over."""
    for round_number in range(rounds):
        for variant in variants:
            for stream in streams:
                tell(f"round {round_number + 1} of {rounds}: {variant.name}, {stream.name}")
                take_turn(session, stream, variant, steps)
    tell("")


def tell(note: str) -> None:
    """Overwrite the line that says what is being measured, for people who watch."""
    if sys.stderr.isatty():
        print(f"\r{note:60}\r", end="", file=sys.stderr, flush=True)


def take_turn(session: Session, stream: Stream, variant: Variant, steps: int) -> None:
    """Time `steps` steps of one variant on one stream after one that is not counted."""
    session.autocast = autocast(session.device, variant.precision)
    seconds = variant.seconds.setdefault(stream.name, [])
    waited = variant.waited.setdefault(stream.name, [])
    with loader_of(session, [stream], variant, steps + 1) as loader:
        started = None
        for data in repeated(loader, steps + 1) if variant.prefetch is None else loader:
            train_step(session, data)
            synchronise(session.device)
            now = time.perf_counter()
            if started is not None:
                seconds.append(now - started)
                waited.append(data.seconds_waited)
            started = now


def loader_of(session: Session, streams: list, variant: Variant, steps: int) -> Loader:
    """The engine's loader, set up as the variant asks."""
    first = session.state.step
    return Loader(
        streams,
        0,
        range(first, first + steps),
        accumulate=variant.accumulate,
        prefetch=variant.prefetch or 0,
        workers=session.stage.training.workers,
    ).to(session.device)


def repeated(loader: Loader, times: int) -> Iterator[StepData]:
    """The loader's first batch over and over: data that cost nothing."""
    data = next(iter(loader))
    for _ in range(times):
        data.seconds_waited = 0.0
        yield data


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def matmul_peak(device: torch.device, precision: str, seconds: float = 0.5) -> float:
    """Floating-point operations a second of a large square matrix product, the best of several."""
    dtype = getattr(torch, precision)
    side = MATRIX if device.type == "cpu" else 4 * MATRIX
    a = torch.randn(side, side, device=device, dtype=dtype)
    best, until = 0.0, time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        a @ a
        synchronise(device)
        now = time.perf_counter()
        best = max(best, 2 * side**3 / (now - started))
        if now > until:
            return best


def reset_memory(device: torch.device) -> None:
    """Forget earlier peaks of the GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def memory_peak(device: torch.device) -> float:
    """The most memory that was in use: of the GPU, else of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


def machine(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}"
