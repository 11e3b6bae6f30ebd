"""Exercise 07.3, draw_stream: one number decides which stream feeds a step."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import told

Weights = Mapping[str, float]
FLAVA = {"pairs": 0.70, "pictures": 0.15, "texts": 0.15}


def _called(function: Callable, weights: Weights, draws: Sequence[float]) -> list[str]:
    """The stream of each draw."""
    return [function(weights, u) for u in draws]


def _two_to_one() -> tuple:
    draws = (0.0, 0.4, 0.49, 0.5, 0.55, 0.7, 0.75, 0.99)
    return {"pairs": 2, "pictures": 1, "texts": 1}, draws


def _never(name: str, weights: Weights) -> Callable[[Callable], str | None]:
    """Whether a stream of weight 0 is left alone, by the smallest draws and the largest."""
    draws = (0.0, 1e-12, 0.25, 0.5, 0.75, 1 - 2**-53)

    def holds(draw_stream: Callable) -> str | None:
        got = [draw_stream(weights, u) for u in draws]
        if name not in got and set(got) <= set(weights):
            return None
        return told(f"{weights}, u from 0 to nearly 1", f"never {name!r}", f"{got}")

    return holds


def _shares(draw_stream: Callable) -> str | None:
    """On an even grid of draws the shares are exact."""
    got = Counter(draw_stream(FLAVA, (i + 0.5) / 1000) for i in range(1000))
    expected = {"pairs": 700, "pictures": 150, "texts": 150}
    if dict(got) == expected:
        return None
    return told(f"{FLAVA}, 1,000 even draws", f"{expected}", f"{dict(got)}")


def _equal_shares(weights: Weights, u: float) -> str:
    return list(weights)[int(u * len(weights))]


def _largest(weights: Weights, u: float) -> str:
    return max(weights, key=weights.get)


def _by_totals(totals: Sequence[float], names: Sequence[str], u: float, equal: bool) -> str:
    """The first name whose total is above u, or also equal to it; else the last."""
    for name, total in zip(names, totals, strict=True):
        if u < total or (equal and u == total):
            return name
    return names[-1]


def _inverse(
    *, normalised: bool = True, cumulative: bool = True, equal: bool = False, soft: bool = False
) -> Callable:
    """draw_stream with something done differently."""

    def draw_stream(weights, u):
        values = [math.exp(w) for w in weights.values()] if soft else list(weights.values())
        total = sum(values) if normalised or soft else 1.0
        parts = [value / total for value in values]
        parts = list(accumulate(parts)) if cumulative else parts
        return _by_totals(parts, list(weights), u, equal)

    return draw_stream


DRAW_STREAM = Exercise(
    target="minivl.data.mixture.draw_stream",
    number="07.3",
    minutes=10,
    difficulty=2,
    source="Singh et al. 2022, appendix B.1",
    hints=(
        "Lay the weights end to end on a line. u is a place on it, as a share of its length. "
        "`itertools.accumulate` gives running totals.",
        "Weights may have any unit: compare the totals with u times their last one.",
        "Return the first name whose running total is *above* that: "
        "`next(name for name, total in ... if total > u * whole)`.",
    ),
    checks=(
        Case(
            "2 : 1 : 1, eight draws by hand",
            _two_to_one,
            ["pairs"] * 3 + ["pictures"] * 3 + ["texts"] * 2,
        ),
        Case(
            "FLAVA's 70 : 15 : 15",
            lambda: (FLAVA, (0.1, 0.69, 0.71, 0.84, 0.86, 0.999)),
            ["pairs", "pairs", "pictures", "pictures", "texts", "texts"],
        ),
        Case(
            "small weights",
            lambda: ({"texts": 0.01, "pairs": 0.03}, (0.0, 0.2, 0.3, 0.9)),
            ["texts", "texts", "pairs", "pairs"],
        ),
        Case("one stream", lambda: ({"pairs": 5}, (0.0, 0.5, 0.99)), ["pairs"] * 3),
        Property("the shares of 1,000 even draws", _shares),
        Property(
            "a first weight of 0 is never drawn",
            _never("texts", {"texts": 0, "pairs": 3, "pictures": 1}),
        ),
        Property(
            "a last weight of 0 is never drawn",
            _never("texts", {"pairs": 3, "pictures": 1, "texts": 0.0}),
        ),
    ),
    variants=(
        Variant(
            "equal shares",
            _equal_shares,
            "Every stream gets the same share: that is round-robin in the long run. The weights "
            "are ignored.",
        ),
        Variant("always the largest", _largest, "Only one stream is ever trained. Let u decide."),
        Variant(
            "not normalised",
            _inverse(normalised=False),
            "Weights 2 : 1 : 1 must mean the same as .5 : .25 : .25. Compare with shares of the "
            "total.",
        ),
        Variant(
            "no running totals",
            _inverse(cumulative=False),
            "You compare u with single weights. Compare it with running totals.",
        ),
        Variant(
            "softmax of the weights",
            _inverse(soft=True),
            "Weights are shares already: divide by their sum, without a softmax.",
        ),
        Variant(
            "≥ instead of >",
            _inverse(equal=True),
            "A draw that equals a running total belongs to the next stream. With ≥ a stream of "
            "weight 0 is drawn at u = 0.",
        ),
    ),
    call=_called,
)
