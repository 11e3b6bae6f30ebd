"""Exercise 10.1, soft_targets: the label's share, and the teacher's."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""


def _one_row(alpha: float) -> Callable[[], tuple[Tensor, Tensor, float]]:
    """The teacher believes in the first, the label is the second."""
    return lambda: (numbers([[LN3, 0]]), numbers([[0, 1]]), alpha)


def _several_right() -> tuple[Tensor, Tensor, float]:
    """Three rows, four candidates; the last row has two right ones."""
    hard = numbers([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5]])
    return drawn(1, 3, 4), hard, 0.25


def _share_in_a_tensor(soft_targets: Callable) -> str | None:
    similarity_m, hard, alpha = _one_row(0.4)()
    got = soft_targets(similarity_m, hard, numbers(alpha))
    return differs("the first case, alpha in a tensor", got, numbers([[0.3, 0.7]]))


def _rows_add_to_one(soft_targets: Callable) -> str | None:
    similarity_m, hard, _ = _several_right()
    sums = torch.stack([soft_targets(similarity_m, hard, a).sum(dim=1) for a in (0.1, 0.9)])
    return differs("the sum of each row, alpha 0.1 and 0.9", sums, torch.ones(2, 3).double())


def _mixing(
    *,
    teacher: Callable[[Tensor], Tensor] = lambda s: s.softmax(dim=-1),
    label: Callable[[Tensor], Tensor] = lambda hard: hard,
    of_teacher: Callable = lambda alpha: alpha,
    of_label: Callable = lambda alpha: 1 - alpha,
    detach: bool = True,
) -> Callable:
    """soft_targets that read teacher or label otherwise, or give them other shares."""

    def soft_targets(similarity_m, hard, alpha):
        mixed = of_teacher(alpha) * teacher(similarity_m) + of_label(alpha) * label(hard)
        return mixed.detach() if detach else mixed

    return soft_targets


def _first_choice(similarity_m: Tensor) -> Tensor:
    first = similarity_m.argmax(dim=-1)
    return torch.nn.functional.one_hot(first, similarity_m.shape[-1]).to(similarity_m.dtype)


def _mixed_before(similarity_m, hard, alpha):
    return (alpha * similarity_m + (1 - alpha) * hard).softmax(dim=-1).detach()


SOFT_TARGETS = Exercise(
    target="minivl.objectives.momentum.soft_targets",
    number="10.1",
    minutes=6,
    difficulty=1,
    source="Li et al. 2021, section 3.3, equation 6",
    hints=(
        "Two rows of shares, each adding to 1: the label's, and what the teacher believes. Mix "
        "them.",
        "The teacher speaks in logits: `similarity_m.softmax(dim=-1)` makes shares of them. Its "
        "part of the mixture is alpha, the label's 1 - alpha.",
        "A target is a constant: compute it inside `with torch.no_grad():`, or detach it.",
    ),
    checks=(
        Case("teacher and label disagree, by hand", _one_row(0.4), numbers([[0.3, 0.7]])),
        Case("alpha 0", _one_row(0.0), numbers([[0, 1]])),
        Case("alpha 1", _one_row(1.0), numbers([[0.75, 0.25]])),
        Case("three rows, one with two right ones", _several_right, constant=(0, 1)),
        Property("alpha as a tensor", _share_in_a_tensor),
        Property("rows add to 1", _rows_add_to_one),
        close_in_bfloat16(_several_right),
    ),
    variants=(
        Variant(
            "alpha swapped",
            _mixing(of_teacher=lambda alpha: 1 - alpha, of_label=lambda alpha: alpha),
            "Alpha is the teacher's share; with alpha 0 nothing but the labels must remain.",
        ),
        Variant(
            "softmax of the mix",
            _mixed_before,
            "You mix logits with shares. Turn the teacher into shares first, then mix.",
        ),
        Variant(
            "logits mixed",
            _mixing(teacher=lambda s: s),
            "Logits are no shares: they add up to anything. Take the teacher's softmax first.",
        ),
        Variant(
            "added",
            _mixing(of_label=lambda alpha: 1),
            "Your rows add to 1 + alpha: the label's share must shrink by what the teacher gets.",
        ),
        Variant(
            "arg-max of the teacher",
            _mixing(teacher=_first_choice),
            "You kept only the teacher's first choice; its doubt is the point.",
        ),
        Variant(
            "over the batch",
            _mixing(teacher=lambda s: s.softmax(dim=0)),
            "Your softmax runs over the batch. Candidates stand in the last dimension.",
        ),
        Variant(
            "softmax of the label",
            _mixing(label=lambda hard: hard.softmax(dim=-1)),
            "The label's row is shares already. A softmax would spread them over wrong ones.",
        ),
        Variant(
            "with gradient",
            _mixing(detach=False),
            "Gradient flows into the target, so the teacher would be taught by its student. "
            "A target is a constant: detach it.",
        ),
    ),
)
