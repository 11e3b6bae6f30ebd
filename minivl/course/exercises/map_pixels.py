"""Exercise 03.3, map_pixels: keep black and white away from 0 and 1."""

from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers, told
from minivl.nn.dvae import unmap_pixels


def _row(*values: float) -> Tensor:
    """One picture of one row in one colour: (1, 1, 1, n)."""
    return numbers(values)[None, None, None, :]


def _picture() -> tuple[Tensor]:
    """Two pictures in three colours, from 0 to 1."""
    return (drawn(2, 2, 3, 2, 2).sigmoid(),)


def _restored(map_pixels: Callable) -> str | None:
    (x,) = _picture()
    for eps in (0.1, 0.02):
        got = unmap_pixels(map_pixels(x, eps), eps)
        if reason := differs(f"unmap_pixels of your result, eps {eps}", got, x):
            return reason
    return None


def _finite_logits(map_pixels: Callable) -> str | None:
    got = torch.logit(map_pixels(_row(0, 1)))
    if got.isfinite().all():
        return None
    return told("the logits of black (0) and white (1), mapped", "finite numbers", "inf")


MAP_PIXELS = Exercise(
    target="minivl.nn.dvae.map_pixels",
    number="03.3",
    minutes=5,
    difficulty=1,
    source="Ramesh et al. 2021, appendix A.3",
    hints=(
        "logit(0) is -∞ and logit(1) is ∞. Where should 0 and 1 go instead?",
        "0 goes to ε and 1 to 1 - ε, on a straight line: what is its slope?",
        "The slope is 1 - 2ε, and the line starts at ε: `(1 - 2 * eps) * x + eps`.",
    ),
    checks=(
        Case(
            "black, grey and white by hand",
            lambda: (_row(0, 0.25, 0.5, 1),),
            _row(0.1, 0.3, 0.5, 0.9),
        ),
        Case("eps 1/4", lambda: (_row(0, 0.5, 1), 0.25), _row(0.25, 0.5, 0.75)),
        Case("two pictures", _picture, gradient=(0,)),
        Property("unmap_pixels restores the picture", _restored),
        Property("logits of black and white", _finite_logits),
        close_in_bfloat16(_picture),
    ),
    variants=(
        Variant(
            "not shrunk",
            lambda x, eps=0.1: x + eps,
            "You only shift. White leaves (0, 1), and its logit is not defined: shrink, too.",
        ),
        Variant(
            "one ε",
            lambda x, eps=0.1: (1 - eps) * x + eps,
            "1 still maps to 1, and logit(1) = ∞. Both ends need room: the slope is 1 - 2ε.",
        ),
        Variant(
            "clamped",
            lambda x, eps=0.1: x.clamp(eps, 1 - eps),
            "You clamped: all dark pixels became one grey, and all bright ones another. Shrink the "
            "range linearly.",
        ),
        Variant(
            "not lifted",
            lambda x, eps=0.1: (1 - 2 * eps) * x,
            "0 still maps to 0, and logit(0) = -∞. Add ε after shrinking.",
        ),
        Variant(
            "lifted before",
            lambda x, eps=0.1: (1 - 2 * eps) * (x + eps),
            "You add ε and then shrink, so that ε shrinks with it. Shrink first: 0.5 must stay "
            "0.5.",
        ),
        Variant(
            "eps unused",
            lambda x, eps=0.1: 0.8 * x + 0.1,
            "It works for ε = 0.1 only. Use `eps`.",
        ),
        Variant(
            "inverse",
            lambda x, eps=0.1: (x - eps) / (1 - 2 * eps),
            "That is the way back, from (ε, 1 - ε) to (0, 1). Here the range must shrink.",
        ),
    ),
)
