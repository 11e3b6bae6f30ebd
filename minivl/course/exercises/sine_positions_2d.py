"""Exercise 08.2, sine_positions_2d: a row and a column as waves."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import numbers, told

DECIMALS = 4
"""The published code adds a millionth to each side; nobody need think of it."""


def _rounded(function: Callable, *arguments: int) -> Any:
    """The result as float64 with a few decimals; what is no floating tensor as it came."""
    found = function(*arguments)
    if not torch.is_tensor(found) or not found.is_floating_point():
        return found
    return found.double().round(decimals=DECIMALS) + 0.0


def _near_and_far(sine_positions_2d: Callable) -> str | None:
    """The nearer two cells of a row, the more alike."""
    row = sine_positions_2d(1, 6, 16)[0].double()
    alike = [float(row[0] @ row[n]) for n in range(4)]
    falling = sorted(alike, reverse=True) == alike
    given = "h = 1, w = 6, d = 16; products of the first cell with the next ones"
    return None if falling else told(given, "they fall", f"{[round(one, 3) for one in alike]}")


def _waves(positions: Tensor, width: int, *, blocks: bool = False) -> Tensor:
    pair = torch.arange(0, width, 2, dtype=torch.float64)
    angle = positions[..., None] / 10_000 ** (pair / width)
    if blocks:
        return torch.cat([angle.sin(), angle.cos()], dim=-1)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def _placing(
    *,
    first: int = 1,
    normalise: bool = True,
    turn: float = 2 * math.pi,
    steps: int = 0,
    x_first: bool = False,
    added: bool = False,
    exchanged: bool = False,
    blocks: bool = False,
) -> Callable:
    """sine_positions_2d that counts, scales or puts together otherwise."""

    def sine_positions_2d(h, w, d):
        sides = []
        for side in (h, w):
            place = torch.arange(first, side + first, dtype=torch.float64)
            place = turn * place / max(side + steps, 1) if normalise else place
            sides.append(_waves(place, d if added else d // 2, blocks=blocks))
        y = sides[0][:, None].expand(h, w, -1)
        x = sides[1][None].expand(h, w, -1)
        if exchanged:
            y, x = sides[1][None].expand(h, w, -1), sides[0][:, None].expand(h, w, -1)
        if added:
            return y + x
        return torch.cat([x, y] if x_first else [y, x], dim=2)

    return sine_positions_2d


def _flat(h, w, d):
    return _placing()(h, w, d).flatten(0, 1)


SINE_POSITIONS_2D = Exercise(
    target="minivl.nn.resnet.sine_positions_2d",
    number="08.2",
    minutes=12,
    difficulty=2,
    source="Carion et al. 2020, section 3.2, and its code",
    hints=(
        "The first half of the width tells the row y, the second half the column x.",
        "Count from 1, divide by the number of rows (or columns), times 2π. `waves(y, d // 2)` "
        "makes (h, d/2) of the rows.",
        "`waves` of y gets an axis for the columns, `[:, None].expand(-1, w, -1)`; that of x is "
        "expanded to (h, w, d/2). `torch.cat([y, x], dim=2)`.",
    ),
    checks=(
        Case(
            "one row of two cells, by hand",
            lambda: (1, 2, 4),
            numbers([[[0, 1, 0, -1], [0, 1, 0, 1]]]),
        ),
        Case(
            "one cell of eight numbers",
            lambda: (1, 1, 8),
            numbers([[[0, 1, 0.0628, 0.998, 0, 1, 0.0628, 0.998]]]),
        ),
        Case("two rows of one cell", lambda: (2, 1, 8)),
        Case("two rows of three cells", lambda: (2, 3, 12)),
        Property("what is near is alike", _near_and_far),
    ),
    variants=(
        Variant("x first", _placing(x_first=True), "y comes first in DETR's weights."),
        Variant(
            "starting at 0",
            _placing(first=0),
            "Positions start at 1; with 0 the first and last column look alike.",
        ),
        Variant(
            "linspace from 0",
            _placing(first=0, steps=-1),
            "`linspace` from 0 to 2π gives the first and the last row the same waves: row 1 of h "
            "stands at 2π/h.",
        ),
        Variant(
            "not normalised",
            _placing(normalise=False),
            "Without division by the size, positions mean other places at other resolutions.",
        ),
        Variant(
            "sine block, then cosine block",
            _placing(blocks=True),
            "Sine and cosine alternate.",
        ),
        Variant(
            "half a turn",
            _placing(turn=math.pi),
            "The last row stands at 2π, not at π.",
        ),
        Variant(
            "from 0 to 1",
            _placing(turn=1.0),
            "Shares of the side are right, but stretched to 2π.",
        ),
        Variant(
            "added",
            _placing(added=True),
            "A half of the width each: in a sum, row and column cannot be told apart.",
        ),
        Variant("flat", _flat, "Leave the grid as it is: (h, w, d)."),
    ),
    call=_rounded,
)
