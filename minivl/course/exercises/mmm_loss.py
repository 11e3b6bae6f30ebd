"""Exercise 07.2, mmm_loss: hidden places are named where picture and text belong together."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers, told

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""

LIKELY, UNLIKELY, EVEN = math.log(4 / 3), math.log(4), math.log(2)
"""-ln(3/4), -ln(1/4) and -ln(1/2)."""


def scores(rows: Tensor) -> Tensor:
    """The head of these checks: states are scores already."""
    return rows


def _two_pairs(*is_pair: bool) -> tuple:
    """One place is hidden in the first pair, two in the second; k = 2."""
    states = numbers([[[LN3, 0], [0, LN3]], [[0, LN3], [0, 0]]])
    masked = torch.tensor([[True, False], [True, True]])
    return states, torch.zeros(2, 2).long(), masked, torch.tensor(is_pair), scores


def _five_pairs() -> tuple:
    """Other sizes, and a head that changes the width: 4 numbers a place, 6 classes."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(6, (5, 3), generator=generator)
    masked = torch.rand(5, 3, generator=generator) < 0.6
    is_pair = torch.tensor([True, False, True, True, False])
    weight = drawn(2, 4, 6)
    return drawn(1, 5, 3, 4), targets, masked, is_pair, lambda rows: rows @ weight.to(rows.dtype)


def _only_hidden_rows_pass(mmm_loss: Callable) -> str | None:
    states, targets, masked, is_pair, _ = _two_pairs(True, False)
    seen = []

    def head(rows: Tensor) -> Tensor:
        seen.append(rows.numel() // rows.shape[-1])
        return rows

    mmm_loss(states, targets, masked, is_pair, head)
    if sum(seen) == 1:
        return None
    given = "two pairs of two places; one hidden place of a true pair; rows that reach the head"
    return told(given, "1", f"{sum(seen)}")


def _no_pair_moves_nothing(mmm_loss: Callable) -> str | None:
    states, *others = _two_pairs(False, False)
    loss = mmm_loss(states.requires_grad_(), *others)
    given = "no true pair"
    reason = differs(given, loss, numbers(0))
    if reason or not loss.requires_grad:
        return reason or told(given, "a zero with a graph", "a plain zero")
    (gradient,) = torch.autograd.grad(loss, states, allow_unused=True)
    if gradient is None:
        return None
    return differs(f"{given}; the gradient", gradient, torch.zeros_like(states))


def _naming(
    *,
    counts: Callable[[Tensor, Tensor], Tensor] = lambda masked, is_pair: masked & is_pair[:, None],
    divide: Callable[[Tensor, Tensor], Tensor | int] = lambda counted, masked: counted.sum(),
    care: bool = True,
) -> Callable:
    """mmm_loss where other places count, or are divided by."""

    def mmm_loss(states, targets, masked, is_pair, head):
        counted = counts(masked, is_pair)
        losses = F.cross_entropy(head(states[counted]), targets[counted], reduction="none")
        number = divide(counted, masked)
        return losses.sum() / (max(int(number), 1) if care else number)

    return mmm_loss


def _per_pair(states, targets, masked, is_pair, head):
    counted = masked & is_pair[:, None]
    each = [
        F.cross_entropy(head(states[i][counted[i]]), targets[i][counted[i]])
        for i in range(len(states))
        if counted[i].any()
    ]
    return torch.stack(each).mean() if each else 0 * states.sum()


def _plain_zero(states, targets, masked, is_pair, head):
    counted = masked & is_pair[:, None]
    if not counted.any():
        return states.new_zeros(())
    return F.cross_entropy(head(states[counted]), targets[counted])


def _all_through_the_head(states, targets, masked, is_pair, head):
    counted = masked & is_pair[:, None]
    losses = F.cross_entropy(head(states).flatten(0, 1), targets.flatten(), reduction="none")
    return losses[counted.flatten()].sum() / counted.sum().clamp(min=1)


MMM_LOSS = Exercise(
    target="minivl.models.flava.mmm_loss",
    number="07.2",
    minutes=15,
    difficulty=2,
    source="Singh et al. 2022, section 3.2, masked multimodal modeling",
    hints=(
        "Two conditions decide which places count: the place is hidden, and its pair is a true "
        "one.",
        "`is_pair` has one value a pair, `masked` one a place: `masked & is_pair.unsqueeze(1)`. "
        "Pick these rows first, then let the head name them.",
        "Guard the empty case: `F.cross_entropy(head(states[counted]), targets[counted], "
        'reduction="sum")` divided by `counted.sum().clamp(min=1)`.',
    ),
    checks=(
        Case(
            "two pairs by hand, the second is wrong",
            lambda: _two_pairs(True, False),
            numbers(LIKELY),
            gradient=(0,),
        ),
        Case(
            "two true pairs by hand",
            lambda: _two_pairs(True, True),
            numbers((LIKELY + UNLIKELY + EVEN) / 3),
            gradient=(0,),
        ),
        Case("no true pair", lambda: _two_pairs(False, False), numbers(0)),
        Case("five pairs and a head", _five_pairs, gradient=(0,)),
        Property("a batch of wrong pairs moves nothing", _no_pair_moves_nothing),
        Property("only rows that count pass through the head", _only_hidden_rows_pass),
        close_in_bfloat16(_five_pairs),
    ),
    variants=(
        Variant(
            "all pairs",
            _naming(counts=lambda masked, is_pair: masked),
            "You also score pairs that do not belong together; guessing a patch from a wrong "
            "caption teaches to ignore text.",
        ),
        Variant(
            "all pairs where none is true",
            _naming(
                counts=lambda masked, is_pair: masked & (is_pair | ~is_pair.any()).unsqueeze(1)
            ),
            "In a batch of wrong pairs you score all of them. The published code does so too; it "
            "teaches that what does not belong together does. Return 0.",
        ),
        Variant(
            "all positions",
            _naming(
                counts=lambda masked, is_pair: is_pair.unsqueeze(1).expand_as(masked),
            ),
            "Visible patches and words are scored too. Only hidden ones are a question.",
        ),
        Variant(
            "visible positions",
            _naming(counts=lambda masked, is_pair: ~masked & is_pair[:, None]),
            "Mask inverted: you score what can be seen.",
        ),
        Variant(
            "only wrong pairs",
            _naming(counts=lambda masked, is_pair: masked & ~is_pair[:, None]),
            "`is_pair` is inverted: True means that picture and text belong together.",
        ),
        Variant(
            "one average a pair",
            _per_pair,
            "You average each pair first. Average over all hidden places of true pairs, so that "
            "each place counts the same.",
        ),
        Variant(
            "divided by all hidden places",
            _naming(divide=lambda counted, masked: masked.sum()),
            "You divide by the hidden places of wrong pairs too. Divide by those that you score.",
        ),
        Variant(
            "sum",
            _naming(divide=lambda counted, masked: 1),
            "You added the losses. Average them over the places that count.",
        ),
        Variant(
            "NaN when none",
            _naming(care=False),
            "If no true pair is left the loss is 0/0, and NaN ends the run: return 0.",
        ),
        Variant(
            "a plain zero",
            _plain_zero,
            "Your zero has no graph, so `backward()` fails on a batch of wrong pairs. Make it from "
            "the states.",
        ),
        Variant(
            "all rows through the head",
            _all_through_the_head,
            "The numbers are right, but every row passes through the head, the most expensive "
            "layer. Pick the rows that count first.",
        ),
    ),
)
