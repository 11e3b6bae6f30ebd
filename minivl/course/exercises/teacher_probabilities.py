"""Exercise 02.1, teacher_probabilities: centred and sharpened, and never a way for gradients."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told
from minivl.course.judging import LEAKING_GRAPH

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4], of [2 ln 3, 0] it is [9/10, 1/10]."""


def _two_views(center: list[float]) -> tuple[Tensor, Tensor, float]:
    """Two views of one picture, two outputs."""
    return numbers([[[LN3, 0]], [[0, 0]]]), numbers(center), 0.5


def _rows_add_to_one(teacher_probabilities: Callable) -> str | None:
    rows = teacher_probabilities(drawn(5, 2, 3, 5), drawn(6, 5), 0.1).sum(dim=-1)
    return differs("two views of three pictures; the sum over k", rows, numbers([[1] * 3] * 2))


def _a_constant(teacher_probabilities: Callable) -> str | None:
    logits, center, temperature = _two_views([LN3 / 2, 0])
    got = teacher_probabilities(logits.requires_grad_(), center, temperature)
    # Wrong numbers are the other checks' business: their reason must not depend on the graph.
    if differs("", got, numbers([[[0.75, 0.25]], [[0.25, 0.75]]])) or not got.requires_grad:
        return None
    asked = "logits that require a gradient"
    return f"{told(asked, 'a constant', 'a result that requires one too')}\n{LEAKING_GRAPH}"


def _half_precision(teacher_probabilities: Callable) -> str | None:
    logits = torch.tensor([[[3000.0, 2998.0]]], dtype=torch.float16)
    got = teacher_probabilities(logits, torch.zeros(2), 0.04)
    expected = torch.tensor([[[1.0, 0.0]]])
    reason = differs("logits [3000, 2998] in float16, centre 0 in float32, temperature 0.04",
                     got, expected, 1e-3)  # fmt: skip
    if reason is None:
        return None
    return (
        f"{reason}\n3000 / 0.04 does not fit into float16. Subtract the centre first: the "
        "difference is in float32, as the centre is."
    )


def _of(scores: Callable[[Tensor, Tensor, float], Tensor], dim: int = -1) -> Callable:
    """teacher_probabilities of other scores, or along another dimension."""

    def teacher_probabilities(logits, center, temperature):
        return scores(logits, center, temperature).detach().softmax(dim)

    return teacher_probabilities


def _right(g, c, t):
    return (g - c) / t


TEACHER_PROBABILITIES = Exercise(
    target="minivl.objectives.dino.teacher_probabilities",
    number="02.1",
    minutes=5,
    difficulty=1,
    source="Caron et al. 2021, section 3.1 and equation 1",
    hints=(
        "First subtract the centre from the logits, then sharpen: divide by the temperature.",
        "A softmax over the last dimension gives each view of each picture a distribution of its "
        "own over the k outputs.",
        "`((logits - center) / temperature).softmax(dim=-1)`, inside `with torch.no_grad():`.",
    ),
    checks=(
        Case(
            "two views by hand, centre 0",
            lambda: _two_views([0, 0]),
            numbers([[[0.9, 0.1]], [[0.5, 0.5]]]),
        ),
        Case(
            "two views by hand, a centre that takes half of the lead",
            lambda: _two_views([LN3 / 2, 0]),
            numbers([[[0.75, 0.25]], [[0.25, 0.75]]]),
        ),
        Case("two views of three pictures", lambda: (drawn(1, 2, 3, 5), drawn(2, 5), 0.3)),
        Property("the outputs of each view add to 1", _rows_add_to_one),
        Property("no gradient reaches the teacher", _a_constant),
        Property("half precision", _half_precision),
    ),
    variants=(
        Variant(
            "centre added",
            _of(lambda g, c, t: (g + c) / t),
            "You add the centre: the popular class gets more popular, and the teacher collapses "
            "onto it.",
        ),
        Variant(
            "centre after temperature",
            _of(lambda g, c, t: g / t - c),
            "Subtract the centre before dividing by τ; otherwise its effect changes with τ.",
        ),
        Variant(
            "times temperature",
            _of(lambda g, c, t: (g - c) * t),
            "You multiply by τ. A small τ must sharpen: divide by it.",
        ),
        Variant(
            "no centre",
            _of(lambda g, c, t: g / t),
            "The centre has no effect. Subtract it from the logits first.",
        ),
        Variant(
            "no temperature",
            _of(lambda g, c, t: g - c),
            "The temperature has no effect. Divide by it: a small τ sharpens.",
        ),
        Variant(
            "over the views",
            _of(_right, dim=0),
            "Your softmax compares the views of a picture with each other. Each view needs its own "
            "distribution over k: `dim=-1`.",
        ),
        Variant(
            "over the batch",
            _of(_right, dim=1),
            "Your columns add to 1. Each view needs its own distribution over k: `dim=-1`.",
        ),
        Variant(
            "log-probabilities",
            lambda g, c, t: _right(g, c, t).detach().log_softmax(dim=-1),
            "You return logarithms. The loss takes the student's logarithm; the teacher's part in "
            "it are probabilities.",
        ),
    ),
)
