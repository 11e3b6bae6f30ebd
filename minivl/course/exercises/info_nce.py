"""Exercise 05.2, info_nce: each picture finds its sentence, and each sentence its picture."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""


def _two_pairs() -> tuple[Tensor]:
    """Rows have softmax 1/2, 1/2; both columns 3/4, 1/4. What belongs together: the diagonal."""
    return (numbers([[LN3, LN3], [0, 0]]),)


TWO_PAIRS = (math.log(2) + (math.log(4 / 3) + math.log(4)) / 2) / 2
"""Rows: ln 2 each. Columns: -ln(3/4) and -ln(1/4)."""


def _gradient_by_hand(info_nce: Callable) -> str | None:
    (logits,) = _two_pairs()
    (gradient,) = torch.autograd.grad(info_nce(logits.requires_grad_()), logits)
    expected = numbers([[-0.1875, 0.3125], [0.1875, -0.3125]])
    return differs("logits [[ln 3, ln 3], [0, 0]]; the gradient", gradient, expected)


def _order_does_not_count(info_nce: Callable) -> str | None:
    logits, order = drawn(1, 4, 4), torch.tensor([2, 0, 3, 1])
    right = info_nce(logits)
    shuffled = info_nce(logits[order][:, order])
    swapped = info_nce(logits.T)
    return differs("four pairs in another order", shuffled, right) or differs(
        "pictures and sentences exchanged", swapped, right
    )


def _large_logits(info_nce: Callable) -> str | None:
    logits = torch.tensor([[-100.0, 100.0], [100.0, -100.0]])
    reason = differs("logits of 100 in float32", info_nce(logits), torch.tensor(200.0), 1e-5)
    if reason is None:
        return None
    return f"{reason}\nexp(100) does not fit into float32. `F.cross_entropy` takes the logits."


def _losing(
    *, rows: float = 0.5, columns: float = 0.5, change: Callable | None = None, **options
) -> Callable:
    """info_nce with other weights, changed logits, or other options for the cross-entropy."""

    def info_nce(logits):
        target = torch.arange(len(logits))
        total = logits.new_zeros(())
        for weight, matrix in ((rows, logits), (columns, logits.T)):
            matrix = matrix if change is None else change(matrix)
            total = total + weight * F.cross_entropy(matrix, target, **options)
        return total

    return info_nce


def _first_text(logits):
    target = torch.zeros(len(logits), dtype=torch.int64)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _binary(logits):
    target = torch.eye(len(logits), dtype=logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target)


INFO_NCE = Exercise(
    target="minivl.objectives.contrastive.info_nce",
    number="05.2",
    minutes=10,
    difficulty=2,
    source="Radford et al. 2021, figure 3",
    hints=(
        "Each row is a question with b answers. The right answer of row i is i.",
        "That is a cross-entropy with labels 0, 1, …, b-1. Ask it twice: the second time of the "
        "transposed matrix.",
        "`F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))`, the same for "
        "`logits.T`, and the mean of both.",
    ),
    checks=(
        Case("two pairs by hand", _two_pairs, numbers(TWO_PAIRS)),
        Case(
            "three pairs that all look alike: chance",
            lambda: (numbers([[0, 0, 0], [0, 0, 0], [0, 0, 0]]),),
            numbers(LN3),
        ),
        Case("one pair", lambda: (numbers([[5]]),), numbers(0)),
        Case("five pairs", lambda: (drawn(1, 5, 5),), gradient=(0,)),
        Property("the gradient of two pairs by hand", _gradient_by_hand),
        Property("the order of pairs and of sides does not count", _order_does_not_count),
        Property("large logits", _large_logits),
    ),
    variants=(
        Variant(
            "rows only",
            _losing(rows=1.0, columns=0.0),
            "You ask in one direction only, picture to sentence. The sentence must also find its "
            "picture.",
        ),
        Variant(
            "columns only",
            _losing(rows=0.0, columns=1.0),
            "You ask in one direction only, sentence to picture. The picture must also find its "
            "sentence.",
        ),
        Variant(
            "sum",
            _losing(rows=1.0, columns=1.0),
            "You added the two directions. Average them.",
        ),
        Variant(
            "softmax twice",
            _losing(change=lambda logits: logits.softmax(dim=-1)),
            "You gave probabilities to `cross_entropy`, which already takes the softmax. Give it "
            "the logits.",
        ),
        Variant(
            "label 0 for all",
            _first_text,
            "You tell every picture to match sentence 0. The right sentence of row i is i.",
        ),
        Variant(
            "binary",
            _binary,
            "You scored each cell alone. Here the sentences of a row compete: one softmax a row.",
        ),
        Variant(
            "sum over the batch",
            _losing(reduction="sum"),
            "You added the losses of all pairs, so the loss grows with the batch. Average them.",
        ),
        Variant(
            "no minus",
            _losing(rows=-0.5, columns=-0.5),
            "Your loss falls when pairs get worse. It is minus the mean log-probability.",
        ),
    ),
)
