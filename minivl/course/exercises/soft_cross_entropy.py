"""Exercise 10.2, soft_cross_entropy: how far a student is from shares of several answers."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers
from minivl.objectives import contrastive

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""

LIKELY, EVEN = math.log(4 / 3), math.log(2)
"""-ln(3/4) and -ln(1/2)."""


def _one_row() -> tuple[Tensor, Tensor]:
    return numbers([[0, 0]]), numbers([[0.75, 0.25]])


def _two_rows() -> tuple[Tensor, Tensor]:
    return numbers([[0, 0], [LN3, 0]]), numbers([[0.75, 0.25], [1, 0]])


def _four_rows() -> tuple[Tensor, Tensor]:
    return drawn(1, 4, 3), drawn(2, 4, 3).softmax(dim=1)


def _far_away() -> tuple[Tensor, Tensor]:
    """Its third class is so unlikely that its probability is 0 in any float."""
    return numbers([[0, 0, -900]]), numbers([[0.5, 0.5, 0]])


def _sure_of_one() -> tuple[Tensor, Tensor]:
    """The student is sure, the targets are not: half a wrong answer that is 60 away."""
    return numbers([[30, -30]]), numbers([[0.5, 0.5]])


def _one_hot_is_the_plain_loss(soft_cross_entropy: Callable) -> str | None:
    logits, labels = drawn(3, 4, 5), torch.tensor([4, 0, 2, 2])
    got = soft_cross_entropy(logits, F.one_hot(labels, 5).double())
    return differs("targets of one answer each", got, F.cross_entropy(logits, labels))


def _as_torch_has_it(soft_cross_entropy: Callable) -> str | None:
    logits, targets = _four_rows()
    expected = F.cross_entropy(logits, targets)
    return differs("what F.cross_entropy says", soft_cross_entropy(logits, targets), expected)


def _slope(soft_cross_entropy: Callable) -> str | None:
    logits, targets = _four_rows()
    (slope,) = torch.autograd.grad(soft_cross_entropy(logits.requires_grad_(), targets), logits)
    expected = (logits.detach().softmax(dim=1) - targets) / 4
    return differs("the gradient, (softmax - target) / b", slope, expected)


def _costing(
    cost: Callable[[Tensor, Tensor], Tensor] = lambda logits, t: -t * logits.log_softmax(dim=-1),
    gather: Callable[[Tensor], Tensor] = lambda costs: costs.sum(dim=-1).mean(),
) -> Callable:
    """soft_cross_entropy with another cost of a class, or another way to add the costs."""

    def soft_cross_entropy(logits, targets):
        return gather(cost(logits, targets))

    return soft_cross_entropy


def _divergence(logits, targets):
    return F.kl_div(logits.log_softmax(dim=-1), targets, reduction="batchmean")


SOFT_CROSS_ENTROPY = Exercise(
    target="minivl.objectives.momentum.soft_cross_entropy",
    number="10.2",
    minutes=8,
    difficulty=1,
    source="Li et al. 2021, section 3.3, inside equations 6 and 7",
    hints=(
        "Each class costs -ln of the student's probability. A row costs what its targets expect.",
        "`logits.log_softmax(dim=-1)` gives the logarithms without ever computing ln 0. Weigh them "
        "with the targets, sum over the classes.",
        "The sum is over k classes, the mean over b rows: `.sum(dim=-1).mean()`, and a minus.",
    ),
    checks=(
        Case("one row by hand", _one_row, numbers(EVEN), gradient=(0,)),
        Case("two rows by hand", _two_rows, numbers((EVEN + LIKELY) / 2), gradient=(0,)),
        Case("a class that nobody expects costs nothing", _far_away, numbers(EVEN), gradient=(0,)),
        Case("a student that is too sure", _sure_of_one, numbers(30), gradient=(0,)),
        Case("four rows", _four_rows, gradient=(0,)),
        Property("one-hot targets are ordinary labels", _one_hot_is_the_plain_loss),
        Property("the same as torch's cross-entropy", _as_torch_has_it),
        Property("the gradient by formula", _slope),
        close_in_bfloat16(_four_rows),
    ),
    variants=(
        Variant(
            "KL",
            _divergence,
            "Same gradient, other value: the paper writes KL, the published code logs "
            "cross-entropy. Keep the cross-entropy, so that curves compare.",
        ),
        Variant(
            "reversed",
            _costing(lambda logits, targets: -logits.softmax(dim=-1) * targets.log()),
            "The roles are exchanged: take the student's logarithm, weighted by the targets.",
        ),
        Variant(
            "mean over k",
            _costing(gather=Tensor.mean),
            "Sum over the classes: a row's cost is an expectation. Only rows are averaged.",
        ),
        Variant(
            "batch sum",
            _costing(gather=Tensor.sum),
            "You added the rows up, so the loss grows with the batch. Average over the batch.",
        ),
        Variant(
            "log-softmax of probabilities",
            _costing(lambda logits, t: -t * logits.softmax(dim=-1).log_softmax(dim=-1)),
            "You took the softmax twice: log_softmax wants the logits, not probabilities.",
        ),
        Variant(
            "over the batch",
            _costing(lambda logits, targets: -targets * logits.log_softmax(dim=0)),
            "Your softmax runs over the batch. Classes stand in the last dimension.",
        ),
        Variant(
            "no logarithm",
            _costing(lambda logits, targets: -targets * logits.softmax(dim=-1)),
            "The logarithm is missing: a class costs -ln of its probability.",
        ),
        Variant(
            "largest share only",
            lambda logits, targets: F.cross_entropy(logits, targets.argmax(dim=-1)),
            "You kept only the target's largest share; the others say what else may be right.",
        ),
        Variant(
            "no minus",
            _costing(lambda logits, targets: targets * logits.log_softmax(dim=-1)),
            "The sign is missing: logarithms of shares are negative, and a loss is to fall.",
        ),
        Variant(
            "logarithm of the softmax",
            _costing(lambda logits, targets: -targets * logits.softmax(dim=-1).log()),
            "ln 0 is minus infinity, and 0 times that is NaN. `log_softmax` never computes ln 0.",
        ),
    ),
    fast_twins=(f"{contrastive.__name__}.soft_cross_entropy",),  # ITC knows it by that name
)
