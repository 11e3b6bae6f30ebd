"""Exercise 03.5, visual_tokens: the picture's words."""

from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.compare import name_of
from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import drawn, numbers, told

CLEAR = 1e6
"""Logits this far apart leave a draw no choice: only a promise tells drawing from choosing."""


def _by_hand() -> tuple[Tensor]:
    """Three codes in a grid of 1 x 2 cells, whose logits are the columns."""
    return (100 * numbers([[[[0, 5]], [[2, 1]], [[1, 6]]]]),)


def _grid() -> tuple[Tensor]:
    """Two pictures of 3 x 4 cells, five codes."""
    return (CLEAR * drawn(1, 2, 5, 3, 4),)


def _same_again(visual_tokens: Callable) -> str | None:
    logits = drawn(2, 1, 6, 8, 8) / 10
    first, again = visual_tokens(logits), visual_tokens(logits)
    if torch.equal(first, again):
        return None
    return told("the same logits twice", "the same tokens", "other tokens the second time")


def _same_of_shares(visual_tokens: Callable) -> str | None:
    logits = drawn(3, 2, 5, 3, 3)
    if torch.equal(visual_tokens(logits.softmax(dim=1)), visual_tokens(logits)):
        return None
    return told("logits, then their softmax", "the same tokens", "other tokens")


def _for_labels(visual_tokens: Callable) -> str | None:
    kind = name_of(visual_tokens(*_by_hand()).dtype)
    return None if kind == "int64" else told("three codes, two cells", "int64", kind)


def _drawn_codes(logits):
    shares = logits.softmax(dim=1).movedim(1, -1)
    return torch.multinomial(shares.flatten(0, -2), 1).view(shares.shape[:-1])


VISUAL_TOKENS = Exercise(
    target="minivl.nn.dvae.visual_tokens",
    number="03.5",
    minutes=5,
    difficulty=1,
    source="Bao et al. 2021 (BEiT), section 2.1",
    hints=(
        "Each cell of the grid gets the number of its likeliest code. Nothing is drawn.",
        "The codes lie along dimension 1, between the batch and the grid.",
        "`logits.argmax(dim=1)`: the dimension of the codes disappears, the grid stays.",
    ),
    checks=(
        Case("two cells, three codes by hand", _by_hand, torch.tensor([[[1, 2]]])),
        Case("two pictures of 3 x 4 cells", _grid),
        Case("one cell", lambda: (CLEAR * drawn(4, 1, 3, 1, 1),)),
        Property("the same picture, the same words", _same_again),
        Property("logits or their softmax", _same_of_shares),
        Property("labels for a loss", _for_labels),
    ),
    variants=(
        Variant(
            "over the last axis",
            lambda logits: logits.argmax(dim=-1),
            "You compared pixels of a row, not codes. The codes lie along dimension 1.",
        ),
        Variant(
            "over the batch",
            lambda logits: logits.argmax(dim=0),
            "You compared pictures, not codes. Dimension 0 is the batch, dimension 1 the codes.",
        ),
        Variant(
            "one for the whole picture",
            lambda logits: logits.flatten(1).argmax(dim=1),
            "You named one place for the whole picture. Each cell has a code of its own.",
        ),
        Variant(
            "flattened",
            lambda logits: logits.argmax(dim=1).flatten(1),
            "The numbers are right, but the grid is gone. Keep it: block masks are drawn on it.",
        ),
        Variant(
            "dimension kept",
            lambda logits: logits.argmax(dim=1, keepdim=True),
            "The dimension of the codes should disappear: the result is (b, gh, gw).",
        ),
        Variant(
            "probabilities",
            lambda logits: logits.softmax(dim=1),
            "You return shares of all codes. Masked modeling needs the number of one code a cell.",
        ),
        Variant(
            "one-hot",
            lambda logits: torch.zeros_like(logits).scatter(
                1, logits.argmax(dim=1, keepdim=True), 1.0
            ),
            "You marked the winner among all codes. Return its number.",
        ),
        Variant(
            "largest logit",
            lambda logits: logits.amax(dim=1),
            "You return how large the largest logit is. Return which code it belongs to: `argmax`.",
        ),
        Variant(
            "drawn",
            _drawn_codes,
            "You draw the codes. What a picture says must not change from epoch to epoch: take the "
            "likeliest code, without noise.",
        ),
        Variant(
            "least likely",
            lambda logits: logits.argmin(dim=1),
            "You chose the least likely code of each cell.",
        ),
    ),
)
