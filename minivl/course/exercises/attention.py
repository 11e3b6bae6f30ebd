"""Exercise 00.1, attention: each query mixes the values that it finds similar."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers, told

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""


def _two_tokens(*visible: bool) -> tuple[Tensor, ...]:
    """One head of width 4 whose scores are ln 3 and 0; which keys both queries see."""
    query = numbers([[[[2, 0, 0, 0], [0, 0, 0, 0]]]])
    key = numbers([[[[LN3, 0, 0, 0], [0, 0, 0, 0]]]])
    value = numbers([[[[4, 8, 0, 0], [0, 0, 0, 0]]]])
    mask = (torch.tensor([[list(visible)]]).unsqueeze(0),) if visible else ()
    return query, key, value, *mask


PADDING = [[[[1, 1, 1, 1, 0]]], [[[1, 1, 0, 0, 0]]]]
"""Two sentences, of four and of two tokens: the same for all heads and queries."""

PER_HEAD = [
    [
        [[1, 0, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]],
        [[0, 1, 1, 0, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]],
    ]
]
"""The same for both sentences."""


def _other_sizes(mask: list | None = None) -> tuple:
    """Two sentences, two heads, three queries, five keys of width 4, values of width 3."""
    visible = None if mask is None else torch.tensor(mask).bool()
    return drawn(1, 2, 2, 3, 4), drawn(2, 2, 2, 5, 4), drawn(3, 2, 2, 5, 3), visible


def _as_torch(attention: Callable) -> str | None:
    for name, mask in (("no mask", None), ("padding", PADDING), ("a mask a head", PER_HEAD)):
        arguments = _other_sizes(mask)
        expected = F.scaled_dot_product_attention(*arguments)
        if reason := differs(f"3 queries, 5 keys, {name}", attention(*arguments), expected):
            return reason
    return None


def _no_nan_flows_back(attention: Callable) -> str | None:
    query, key, value = drawn(1, 1, 1, 2, 4), drawn(2, 1, 1, 2, 4), drawn(3, 1, 1, 2, 4)
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    mask = torch.tensor([[True, True], [False, False]])[None, None]
    gradients = torch.autograd.grad(attention(*leaves, mask).sum(), leaves)
    for name, gradient in zip(("query", "key", "value"), gradients, strict=True):
        if not gradient.isfinite().all():
            return (
                told("mask [[True, True], [False, False]]", f"a finite gradient of {name}", "nan")
                + "\nYour result is right, but a NaN on the way stays in the gradient. Hide with "
                "`masked_fill` and the lowest finite number, so that none arises."
            )
    return None


def _attending(
    *,
    divisor: Callable[[int], float] = math.sqrt,
    over: int = -1,
    inverted: bool = False,
    hidden: float = -math.inf,
    careful: bool = True,
) -> Callable:
    """Attention with something done differently; `careful`: a row that sees nothing gives 0."""

    def attention(query, key, value, mask=None):
        scores = query @ key.transpose(-2, -1) / divisor(query.shape[-1])
        if mask is not None:
            mask = ~mask if inverted else mask
            lowest = torch.finfo(scores.dtype).min if hidden == -math.inf and careful else hidden
            scores = scores.masked_fill(~mask, lowest)
        weights = scores.softmax(dim=over)
        if mask is not None and careful:
            weights = weights.masked_fill(~mask, 0.0)
        return weights @ value

    return attention


def _masked_after_softmax(query, key, value, mask=None):
    weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights if mask is None else weights * mask) @ value


def _mask_unused(query, key, value, mask=None):
    return _attending()(query, key, value)


def _either_way(name: str, message: str, **different) -> tuple[Variant, Variant]:
    """The same mistake with and without care for rows that see nothing."""
    return (
        Variant(name, _attending(**different), message),
        Variant(f"{name}, NaN row", _attending(**different, careful=False), message),
    )


ATTENTION = Exercise(
    target="minivl.nn.attention.attention",
    number="00.1",
    minutes=15,
    difficulty=2,
    source="Vaswani et al. 2017, equation 1",
    hints=(
        "Start with one score for each pair of a query and a key: `query @ key.transpose(-2, -1)`.",
        "Divide the scores by √d. Give hidden places a score so low that the softmax makes it 0, "
        "and do so before the softmax.",
        "`scores.masked_fill(~mask, torch.finfo(scores.dtype).min)`, `softmax(dim=-1)`, then "
        "`@ value`. A row that sees nothing now has equal weights: set hidden weights to 0 again.",
    ),
    checks=(
        Case("two tokens by hand", _two_tokens, numbers([[[[3, 6, 0, 0], [2, 4, 0, 0]]]])),
        Case(
            "the second key hidden",
            partial(_two_tokens, True, False),
            numbers([[[[4, 8, 0, 0], [4, 8, 0, 0]]]]),
        ),
        Case(
            "the first key hidden",
            partial(_two_tokens, False, True),
            numbers([[[[0, 0, 0, 0], [0, 0, 0, 0]]]]),
        ),
        Case(
            "every key hidden",
            partial(_two_tokens, False, False),
            numbers([[[[0, 0, 0, 0], [0, 0, 0, 0]]]]),
        ),
        Case("3 queries and 5 keys", _other_sizes, gradient=(0, 1, 2)),
        Case("padding", partial(_other_sizes, PADDING), gradient=(0, 1, 2)),
        Case("a mask of its own for each head", partial(_other_sizes, PER_HEAD)),
        Property("equal to torch's scaled_dot_product_attention", _as_torch),
        Property("no NaN flows back", _no_nan_flows_back),
        close_in_bfloat16(partial(_other_sizes, PADDING)),
    ),
    variants=(
        *_either_way(
            "no scale",
            "Your scores are not divided by √d. With wide heads the softmax then saturates and "
            "its gradient dies.",
            divisor=lambda d: 1.0,
        ),
        Variant(
            "NaN row",
            _attending(careful=False),
            "A query that may look nowhere became NaN: softmax of nothing but -inf is 0/0. Return "
            "zeros for it.",
        ),
        Variant(
            "mask unused",
            _mask_unused,
            "Your result does not depend on the mask. Hide the scores where it is False, before "
            "the softmax.",
        ),
        *_either_way(
            "mask inverted",
            "You attend exactly where the mask says no. Here True means 'may attend'.",
            inverted=True,
        ),
        *_either_way(
            "divided by d",
            "You divided by d. The standard deviation of a dot product of d terms is √d, so "
            "divide by that.",
            divisor=float,
        ),
        *_either_way(
            "softmax over queries",
            "Your weights add to 1 down each column. Each query must share out its attention over "
            "the keys: softmax over the last dimension.",
            over=-2,
        ),
        Variant(
            "mask after softmax",
            _masked_after_softmax,
            "You zeroed weights after the softmax, so they no longer add to 1. Hide the scores "
            "before it.",
        ),
        Variant(
            "filled with 0",
            _attending(hidden=0.0, careful=False),
            "A score of 0 is not 'never': exp(0) = 1. Which number gives a weight of exactly 0?",
        ),
        Variant(
            "equal weights",
            _attending(hidden=-1e30, careful=False),
            "Where every score is equally low, the softmax makes equal weights: the query that "
            "may look nowhere looked everywhere. Set hidden weights to 0 after the softmax too.",
        ),
    ),
    fast_twins=("minivl.nn.attention.fused_attention",),
)
