"""Exercise 03.2, kl_to_uniform: how far the choice of codes is from an even one."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""

BY_HAND = 0.75 * math.log(0.75 * 2) + 0.25 * math.log(0.25 * 2)


def _cells(*cells: list[float]) -> tuple[Tensor]:
    """One picture of 1 x n cells, each with the logits of its codes: (1, k, 1, n)."""
    return (numbers(cells).T[None, :, None, :].contiguous(),)


def _grid() -> tuple[Tensor]:
    return (drawn(3, 2, 4, 2, 3),)


def _as_torch(kl_to_uniform: Callable) -> str | None:
    (logits,) = _grid()
    log_q = logits.movedim(1, -1).reshape(-1, 4).log_softmax(dim=-1)
    # torch's kl_div(input, target) is KL(target || input).
    even = torch.full_like(log_q, -math.log(4))
    expected = F.kl_div(even, log_q, reduction="batchmean", log_target=True)
    return differs("two pictures of 2 x 3 cells", kl_to_uniform(logits), expected)


def _never_negative(kl_to_uniform: Callable) -> str | None:
    for seed in range(20):
        got = kl_to_uniform(drawn(seed, 1, 3, 1, 1))
        if not got >= -1e-12:
            return told("drawn logits", "0 or more", f"{float(got):.4f}")
    return None


def _many_codes(kl_to_uniform: Callable) -> str | None:
    got = kl_to_uniform((30 * drawn(1, 1, 8192, 1, 2)).bfloat16())
    if got.isfinite():
        return None
    return told("8,192 codes in bfloat16", "a finite number", str(float(got)))


def _diverging(
    *,
    log_share: Callable[[Tensor], Tensor] = lambda x: x.log_softmax(dim=1),
    term: Callable = lambda log_q, k: log_q.exp() * (log_q + math.log(k)),
    reduce: Callable[[Tensor], Tensor] = lambda terms: terms.sum(dim=1).mean(),
) -> Callable:
    """kl_to_uniform with another softmax, other terms, or another mean."""

    def kl_to_uniform(logits):
        return reduce(term(log_share(logits), logits.shape[1]))

    return kl_to_uniform


NOT_SPACE = (
    "Your softmax runs over the cells of the picture. q says how likely each code is in one cell: "
    "softmax over the codes, dimension 1."
)
NOT_ADDED = (
    "You added the cells up. Average them, or the weight β means something else at each picture "
    "size and batch size."
)

KL_TO_UNIFORM = Exercise(
    target="minivl.nn.dvae.kl_to_uniform",
    number="03.2",
    minutes=10,
    difficulty=2,
    source="Ramesh et al. 2021, section 2.1",
    hints=(
        "KL(q || u) = Σ q (ln q - ln u), and each of the k codes of u has probability 1/k.",
        "-ln(1/k) is ln k, so each term is q (ln q + ln k). q is the softmax over the codes.",
        "With `log_q = logits.log_softmax(dim=1)`: add `log_q.exp() * (log_q + math.log(k))` over "
        "the codes, then take the mean over cells and pictures.",
    ),
    checks=(
        Case("one cell, two codes by hand", lambda: _cells([LN3, 0]), numbers(BY_HAND)),
        Case(
            "and a cell without preference", lambda: _cells([LN3, 0], [1, 1]), numbers(BY_HAND / 2)
        ),
        Case("even shares of three codes", lambda: _cells([2, 2, 2]), numbers(0)),
        Case("one code for certain", lambda: _cells([1000, 0, 0, 0]), numbers(math.log(4))),
        Case("two pictures of 2 x 3 cells", _grid, gradient=(0,)),
        Property("never negative", _never_negative),
        Property("equal to torch's kl_div", _as_torch),
        Property("8,192 codes in bfloat16", _many_codes),
    ),
    variants=(
        Variant(
            "no ln k",
            _diverging(term=lambda log_q, k: log_q.exp() * log_q),
            "That is minus the entropy, and a KL is never negative. The uniform prior's ln k is "
            "missing.",
        ),
        Variant(
            "reversed",
            _diverging(term=lambda log_q, k: (-math.log(k) - log_q) / k),
            "That is KL(u || q). The average is taken under q: codes that q never uses must cost "
            "nothing.",
        ),
        Variant(
            "sign",
            _diverging(term=lambda log_q, k: -log_q.exp() * (log_q + math.log(k))),
            "Your sign is reversed. Minimising this would push towards a single code.",
        ),
        Variant(
            "over the last axis", _diverging(log_share=lambda x: x.log_softmax(dim=-1)), NOT_SPACE
        ),
        Variant(
            "over all cells",
            _diverging(log_share=lambda x: x.flatten(2).log_softmax(dim=-1).view_as(x)),
            NOT_SPACE,
        ),
        Variant("summed over cells", _diverging(reduce=lambda t: t.sum() / len(t)), NOT_ADDED),
        Variant("summed over all", _diverging(reduce=torch.sum), NOT_ADDED),
        Variant(
            "mean over the codes",
            _diverging(reduce=torch.mean),
            "You averaged over the codes too. An expectation adds up: the shares q are its weights "
            "already.",
        ),
        Variant(
            "NaN where certain",
            _diverging(log_share=lambda x: x.softmax(dim=1).log()),
            "Where q is 0 its logarithm is -∞, and 0 · ∞ is NaN. `log_softmax` never takes the "
            "logarithm of 0.",
        ),
        Variant(
            "of the mean shares",
            lambda logits: _diverging()(
                logits.softmax(dim=1).mean(dim=(0, 2, 3), keepdim=True).log()
            ),
            "You averaged the shares first. That measures how evenly the codes are used in all; "
            "here each cell pays for its own certainty.",
        ),
    ),
)
