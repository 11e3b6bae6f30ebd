"""Batches ahead of time: threads prepare what the next steps need, in the order they need it.

Which examples a batch holds is a function of the step alone, so nothing here is worth saving,
and a batch does not depend on how many threads there are or how far ahead they work.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from minivl.data.mixture import Mixture
from minivl.data.stream import CorruptSample, Stream, fetch, positions
from minivl.training.randomness import seed_of
from minivl.training.recipe import Turns

Batch = dict[str, Any]


@dataclass
class StepData:
    """What one optimiser step trains on in this process."""

    step: int
    stream: Stream
    batches: list[Batch]
    """One per micro-batch."""
    skipped: list[CorruptSample] = field(default_factory=list)
    started: float = 0.0
    """When the step began to wait for it (time.perf_counter)."""
    seconds_waited: float = 0.0


class Loader:
    """Iterates over the steps `first` to `steps` - 1 of a stage; a context manager."""

    def __init__(
        self,
        streams: Sequence[Stream],
        seed: int,
        steps: range,
        *,
        turns: Turns = "drawn",
        accumulate: int = 1,
        shard: tuple[int, int] = (0, 1),
        prefetch: int = 2,
        workers: int = 1,
    ):
        """`shard` is (rank, processes); with prefetch 0 the training loop renders itself."""
        self.mixture = Mixture(streams, seed_of(seed, "mixture"), steps.stop, turns)
        for stream in streams:
            positions(0, stream.batch_size, 0, accumulate * shard[1])  # divisible, or a UserError
        self.seed, self.steps, self.accumulate, self.shard = seed, steps, accumulate, shard
        self.prefetch = prefetch
        self.device = torch.device("cpu")
        self._threads = ThreadPoolExecutor(workers, "minivl-loader") if prefetch else None

    def to(self, device: torch.device) -> "Loader":
        """Deliver on this device."""
        self.device = device
        return self

    def load(self, step: int) -> StepData:
        """A step's micro-batches: parts of consecutive positions, in each this process's share.

        The union over the processes of micro-batch m so is the same for any number of processes.
        """
        stream, draw = self.mixture.at(step)
        rank, processes = self.shard
        seed = seed_of(self.seed, "order", stream.name)
        data = StepData(step, stream, [])
        for micro in range(self.accumulate):
            part = micro * processes + rank
            where = positions(draw, stream.batch_size, part, self.accumulate * processes)
            fetched = fetch(stream, where, seed)
            data.batches.append(self._pinned(fetched.batch))
            data.skipped += fetched.skipped
        return data

    def _pinned(self, batch: Batch) -> Batch:
        if self.device.type != "cuda":
            return batch
        return {k: v.pin_memory() if torch.is_tensor(v) else v for k, v in batch.items()}

    def __iter__(self) -> Iterator[StepData]:
        """Each step's data in order, with the time that was spent waiting for it."""
        ahead: deque[Future] = deque()
        upcoming = iter(self.steps)
        for step in self.steps:
            started = time.perf_counter()
            if self._threads is None:
                data = self.load(step)
            else:
                while len(ahead) <= self.prefetch and (number := next(upcoming, None)) is not None:
                    ahead.append(self._threads.submit(self.load, number))
                data = ahead.popleft().result()
            data.started, data.seconds_waited = started, time.perf_counter() - started
            data.batches = [self._on_device(batch) for batch in data.batches]
            yield data

    def _on_device(self, batch: Batch) -> Batch:
        return {
            key: value.to(self.device, non_blocking=True) if torch.is_tensor(value) else value
            for key, value in batch.items()
        }

    def __enter__(self) -> "Loader":
        """Threads start with the first batch."""
        return self

    def __exit__(self, *error: object) -> None:
        """Forget batches that nobody will train on."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
