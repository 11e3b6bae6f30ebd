"""A stream: examples in an order that is a pure function of (seed, position), in batches.

Nothing here remembers how far it has read. Position `p` of a stream always means the same
example, so a training that was killed goes on exactly where it stopped, any number of threads
may prepare batches, and every process of a distributed training knows what the others read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from minivl.errors import DataError, UserError

REPLACEMENTS = 20  # corrupt examples in a row after which a stream is given up
ENDLESS_INDICES = 2**31  # where the replacement of a corrupt endless example is drawn from


class CorruptSample(Exception):
    """Raised by `Examples.__getitem__` when one example cannot be read: the next one is taken."""

    def __init__(self, where: str, why: str):
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class Examples(Protocol):
    """What a stream reads from.

    `examples[index]` must depend on `index` alone (threads call it in any order, and torch's
    own random state belongs to the model), and may raise `CorruptSample`.
    """

    endless: bool
    """True: every index >= 0 is a new example (rendered, not stored); there is no length."""

    def __len__(self) -> int:
        """Number of examples; not asked when endless."""

    def __getitem__(self, index: int) -> Any:
        """One example, in any form that `collate` understands."""

    def collate(self, examples: list[Any]) -> dict[str, Any]:
        """A batch: a dict of tensors whose first dimension counts the examples."""


class First:
    """The first few examples of a sequence, endless or not, to be read again and again."""

    endless = False

    def __init__(self, examples: Examples, count: int):
        """`count`: 1 or more; of a shorter sequence, all that there are."""
        self.examples = examples
        self.count = count if examples.endless else min(count, len(examples))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.examples[index]

    def collate(self, examples: list[Any]) -> dict[str, Any]:
        """As the sequence does."""
        return self.examples.collate(examples)


@dataclass(frozen=True)
class Stream:
    """Examples, how many of them make a step, how often they are drawn, and what they teach."""

    name: str
    examples: Examples
    batch_size: int
    """Samples per optimiser step, over all processes and micro-batches together."""
    weight: float = 1.0
    """How often a step draws this stream, relative to the other streams of the stage."""
    losses: tuple[str, ...] = ()
    """Names of the losses it feeds; empty: all that the model returns for its batches."""


@dataclass(frozen=True)
class Fetched:
    """One batch and what had to be left out of it."""

    batch: dict[str, Any]
    skipped: list[CorruptSample] = field(default_factory=list)


@lru_cache(maxsize=16)  # the epochs in use now: prefetching straddles two of them per stream
def epoch_order(length: int, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch: a permutation (length,) that depends on (seed, epoch) alone."""
    order = np.random.default_rng([seed, epoch]).permutation(length)
    order.flags.writeable = False
    return order


def index_at(examples: Examples, position: int, seed: int) -> int:
    """Which example stands at a position; endless examples are read in their own order."""
    if examples.endless:
        return position
    epoch, offset = divmod(position, len(examples))
    return int(epoch_order(len(examples), seed, epoch)[offset])


def replacement_at(examples: Examples, position: int, attempt: int, seed: int) -> int:
    """Which example stands in for a corrupt one: drawn anew, from (seed, position, attempt)."""
    among = ENDLESS_INDICES if examples.endless else len(examples)
    return int(np.random.default_rng([seed, position, attempt]).integers(among))


def positions(draw: int, batch_size: int, part: int = 0, parts: int = 1) -> range:
    """Positions that part `part` of the stream's batch number `draw` takes: consecutive ones.

    Neighbours (mirrored twins at 2k and 2k + 1) so stay in one part if parts hold even numbers.
    """
    if batch_size % parts:
        raise UserError(
            f"a batch of {batch_size} cannot be shared by {parts} processes or micro-batches",
            f"choose a batch size that is a multiple of {parts}",
        )
    share = batch_size // parts
    first = draw * batch_size + part * share
    return range(first, first + share)


def fetch(stream: Stream, where: Sequence[int], seed: int) -> Fetched:
    """The batch at the given positions, corrupt examples replaced and listed."""
    skipped: list[CorruptSample] = []
    examples = [_read(stream, position, seed, skipped) for position in where]
    return Fetched(stream.examples.collate(examples), skipped)


def _read(stream: Stream, position: int, seed: int, skipped: list[CorruptSample]) -> Any:
    index = index_at(stream.examples, position, seed)
    for attempt in range(1, REPLACEMENTS + 1):
        try:
            return stream.examples[index]
        except CorruptSample as corrupt:
            skipped.append(corrupt)
        index = replacement_at(stream.examples, position, attempt, seed)
    last = skipped[-1]
    raise DataError(
        f"stream {stream.name}: {REPLACEMENTS} corrupt samples in a row, the last is {last}",
        "verify the data (minivl data verify)",
    )
