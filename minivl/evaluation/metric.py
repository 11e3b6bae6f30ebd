"""A measured share with what is needed to judge it: chance level, sample size, 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Z_95 = 1.959963984540054
"""97.5 % of a standard normal lies below."""


@dataclass(frozen=True)
class Metric:
    """One number of eval.json."""

    value: float
    chance: float
    """What guessing reaches."""
    n: int
    """How many answers were judged."""
    low: float
    """Lower end of the 95 % interval."""
    high: float

    def to_json(self) -> dict[str, float | int]:
        """A plain dict, as eval.json holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Metric:
        """The metric of a plain dict; other keys are ignored."""
        return cls(**{name: entry[name] for name in cls.__dataclass_fields__})


def proportion(
    successes: float, n: int, chance: float, *, independent: float | None = None
) -> Metric:
    """successes / n with Wilson's 95 % interval.

    Successes may be a fraction: a tie counts by its share. `independent` is the number of
    independent answers, where that is less than n: the interval is that much wider.

    Raises ValueError if nothing was judged or successes lie outside 0..n.
    """
    if n < 1 or not -1e-9 <= successes <= n * (1 + 1e-9):
        raise ValueError(f"{successes} of {n} is not a share")
    value = min(max(successes / n, 0.0), 1.0)
    low, high = wilson(value, independent or n)
    return Metric(value, chance, n, low, high)


def clustered(hits: Sequence[float], asked: Sequence[float], chance: float) -> Metric:
    """Hits of all answers, where the answers to one picture hang together: the pictures are drawn.

    hits, asked: right answers and questions of each picture. The spread between the pictures gives
    the number of independent answers that the interval is for (Kish 1965, section 8.2).
    """
    n, count = round(math.fsum(asked)), len(asked)
    if count < 2:
        return proportion(math.fsum(hits), n, chance, independent=max(count, 1))
    share = math.fsum(hits) / n
    rests = ((right - share * questions) ** 2 for right, questions in zip(hits, asked, strict=True))
    variance = math.fsum(rests) * count / (count - 1) / n**2
    independent = share * (1 - share) / variance if variance > 0 else count
    return proportion(math.fsum(hits), n, chance, independent=min(max(independent, 1), n))


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's (1927) 95 % interval of a share: inside 0..1, and honest at 0 and at 1."""
    square = Z_95**2 / n
    middle = (share + square / 2) / (1 + square)
    half = Z_95 * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)


def pooled(metrics: Sequence[Metric]) -> Metric:
    """Several measurements of the same thing as one: answers and chance are added up."""
    n = sum(metric.n for metric in metrics)
    successes = math.fsum(metric.value * metric.n for metric in metrics)
    return proportion(successes, n, math.fsum(m.chance * m.n for m in metrics) / n)
