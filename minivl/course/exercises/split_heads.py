"""Exercise 00.2, split_heads: every head gets its own slice of the width."""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told


def _one_to_twelve() -> tuple[Tensor, int]:
    return torch.arange(1.0, 13.0, dtype=torch.float64).reshape(1, 3, 4), 2


def _merging_undoes_it(split_heads: Callable) -> str | None:
    x = drawn(1, 2, 3, 8)
    heads = split_heads(x, 4)
    if not torch.is_tensor(heads) or heads.ndim != 4:
        return told("x of shape (2, 3, 8), 4 heads", "shape (2, 4, 3, 2)", f"{heads}"[:80])
    merged = heads.transpose(1, 2).reshape(2, 3, -1)
    return differs("x split into 4 heads, then merged", merged, x)


def _transposed_first(x, heads):
    return x.transpose(1, 2).reshape(len(x), heads, x.shape[1], -1)


SPLIT_HEADS = Exercise(
    target="minivl.nn.attention.split_heads",
    number="00.2",
    minutes=5,
    difficulty=1,
    source="Vaswani et al. 2017, section 3.2.2",
    hints=(
        "One reshape is not enough: write down which numbers of token 1 belong to head 0.",
        "Split the width into (heads, width of a head). Then tokens and heads change places.",
        'With einops: `rearrange(x, "b n (h d) -> b h n d", h=heads)`.',
    ),
    checks=(
        Case(
            "1 to 12 as three tokens by hand",
            _one_to_twelve,
            numbers([[[[1, 2], [5, 6], [9, 10]], [[3, 4], [7, 8], [11, 12]]]]),
        ),
        Case("as many heads as tokens", lambda: (drawn(1, 2, 3, 6), 3), gradient=(0,)),
        Case("one head", lambda: (drawn(2, 2, 3, 4), 1)),
        Case("heads of width 1", lambda: (drawn(3, 1, 2, 4), 4)),
        Case("numbers not stored in order", lambda: (drawn(4, 2, 6, 3).transpose(1, 2), 2)),
        Property("merging the heads gives x back", _merging_undoes_it),
    ),
    variants=(
        Variant(
            "reshape only",
            lambda x, heads: x.reshape(len(x), heads, x.shape[1], -1),
            "The shape is right but tokens are torn apart: head 0 holds both halves of token 1. "
            "Split the width first, then move the dimension of heads.",
        ),
        Variant(
            "view only",
            lambda x, heads: x.view(len(x), heads, x.shape[1], -1),
            "You cut the memory into runs, so tokens are torn apart: head 0 holds both halves of "
            "token 1. Split the width first, then move the dimension of heads.",
        ),
        Variant(
            "not transposed",
            lambda x, heads: x.reshape(*x.shape[:2], heads, -1),
            "You have tokens x heads. Attention needs heads first, so that tokens meet tokens.",
        ),
        Variant(
            "head innermost",
            lambda x, heads: rearrange(x, "b n (d h) -> b h n d", h=heads),
            "Each head took every h-th feature. Weights from official checkpoints keep a head's "
            "features side by side.",
        ),
        Variant(
            "transposed first",
            _transposed_first,
            "You exchanged tokens and width before splitting, so each head mixes features of "
            "several tokens. Split the width first, then exchange tokens and heads.",
        ),
    ),
)
