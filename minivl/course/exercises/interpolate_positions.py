"""Exercise 01.2, interpolate_positions: learned positions on a grid of another size."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import drawn, numbers, told

TWO = (0.0, 1.0)
THREE = (-25 / 288, 1 / 2, 313 / 288)
FOUR = (-27 / 256, 58 / 256, 198 / 256, 283 / 256)
"""The numbers 0 and 1 stretched to three and to four places by the cubic with a = -0.75, whose
weight at a distance t is (a+2)t^3 - (a+3)t^2 + 1 below 1 and a(t^3 - 5t^2 + 8t - 4) below 2."""


def _two_by_two(*grid: int) -> tuple[Tensor, tuple[int, ...]]:
    """The class token's 9, the cells 0, 1 and 2, 3."""
    return numbers([[[9], [0], [1], [2], [3]]]), grid


def _stretched(rows: Sequence[float], columns: Sequence[float]) -> Tensor:
    """What becomes of them: cells are 2 row + column, and both are stretched alike."""
    return numbers([[[9], *([2 * row + column] for row in rows for column in columns)]])


def _two_channels() -> tuple[Tensor, tuple[int, int]]:
    positions, _ = _two_by_two()
    return torch.cat([positions, 10 * positions], dim=2), (2, 3)


def _ones_stay_ones(interpolate_positions: Callable) -> str | None:
    got = interpolate_positions(torch.ones(1, 10, 2, dtype=torch.float64), (5, 4))
    if torch.is_tensor(got) and got.shape == (1, 21, 2) and (got - 1).abs().max() < 1e-9:
        return None
    shape = f"shape {tuple(got.shape)}" if torch.is_tensor(got) else f"{got}"
    return told("ten positions of ones to a grid of 5 x 4", "21 positions of ones", shape)


def _sixty_one(interpolate_positions: Callable) -> str | None:
    """61/7 is no number of base two: seven times it, rounded down, is 60."""
    got = interpolate_positions(torch.ones(1, 50, 1, dtype=torch.float64), (61, 61))
    rows = 1 + 61 * 61
    if torch.is_tensor(got) and got.shape == (1, rows, 1):
        return None
    shape = f"shape {tuple(got.shape)}" if torch.is_tensor(got) else f"{got}"
    return told("a grid of 7 x 7 to 61 x 61", f"shape (1, {rows}, 1)", shape)


def _by_a_factor(positions, grid):
    side = round((positions.shape[1] - 1) ** 0.5)
    cells = rearrange(positions[:, 1:], "1 (g1 g2) d -> 1 d g1 g2", g1=side)
    factor = (grid[0] / side, grid[1] / side)
    cells = F.interpolate(cells, scale_factor=factor, mode="bicubic")
    return torch.cat([positions[:, :1], rearrange(cells, "1 d h w -> 1 (h w) d")], dim=1)


def _stretching(
    *, swapped: bool = False, put: Callable = lambda cls, cells: [cls, cells], **options
) -> Callable:
    """interpolate_positions with other options for torch, or another way to put back the CLS."""

    def interpolate_positions(positions, grid):
        side = round((positions.shape[1] - 1) ** 0.5)
        cells = rearrange(positions[:, 1:], "1 (g1 g2) d -> 1 d g1 g2", g1=side)
        size = grid[::-1] if swapped else grid
        cells = F.interpolate(cells, size=size, **{"mode": "bicubic", **options})
        return torch.cat(put(positions[:, :1], rearrange(cells, "1 d h w -> 1 (h w) d")), dim=1)

    return interpolate_positions


def _reshaped(positions, grid, back: str = "1 d h w -> 1 (h w) d"):
    side, width = round((positions.shape[1] - 1) ** 0.5), positions.shape[2]
    cells = positions[:, 1:].reshape(1, width, side, side)
    cells = F.interpolate(cells, size=grid, mode="bicubic")
    cells = rearrange(cells, back) if back else cells.reshape(1, -1, width)
    return torch.cat([positions[:, :1], cells], dim=1)


CHANNELS = (
    "Position and channel got mixed: after the reshape the width is last, `interpolate` wants it "
    "second. Move it with `permute` or `rearrange`."
)

INTERPOLATE_POSITIONS = Exercise(
    target="minivl.nn.vit.interpolate_positions",
    number="01.2",
    minutes=15,
    difficulty=2,
    source="Dosovitskiy et al. 2020, section 3.2",
    hints=(
        "The class token has no place in the grid: keep its position aside.",
        "The others form a square grid. `F.interpolate` wants channels second: (1, d, g, g).",
        'Reshape to (1, g, g, d), permute, `F.interpolate(cells, size=grid, mode="bicubic")`, '
        "flatten back to (1, gh·gw, d) and put the class token's position in front.",
    ),
    checks=(
        Case("2 x 2 to 2 x 4 by hand", partial(_two_by_two, 2, 4), _stretched(TWO, FOUR)),
        Case("2 x 2 to 2 x 3 by hand", partial(_two_by_two, 2, 3), _stretched(TWO, THREE)),
        Case("2 x 2 to 3 x 2 by hand", partial(_two_by_two, 3, 2), _stretched(THREE, TWO)),
        Case("2 x 2 to 3 x 3 by hand", partial(_two_by_two, 3, 3), _stretched(THREE, THREE)),
        Case("the same grid", partial(_two_by_two, 2, 2), _stretched(TWO, TWO)),
        Case(
            "two channels by hand",
            _two_channels,
            torch.cat([_stretched(TWO, THREE), 10 * _stretched(TWO, THREE)], dim=2),
        ),
        Case("3 x 3 to 5 x 2", lambda: (drawn(1, 1, 10, 3), (5, 2)), gradient=(0,)),
        Case("4 x 4 to 2 x 3", lambda: (drawn(2, 1, 17, 2), (2, 3))),
        Property("equal positions stay equal", _ones_stay_ones),
        Property("a grid of 61 x 61", _sixty_one),
    ),
    variants=(
        Variant(
            "bilinear",
            _stretching(mode="bilinear"),
            "A straight-line resize. DINO, ALBEF and ViT use bicubic; official weights were tuned "
            "with it.",
        ),
        Variant(
            "nearest",
            _stretching(mode="nearest"),
            "You copied the nearest cell, which is what `interpolate` does if no mode is given. "
            'ViT uses `mode="bicubic"`.',
        ),
        Variant(
            "by a factor",
            _by_a_factor,
            "You asked for a factor, and rounding lost a row: 7 times 61/7 gave 60. Ask for a "
            "`size`.",
        ),
        Variant(
            "CLS lost",
            _stretching(put=lambda cls, cells: [cells]),
            "The CLS position is missing. It is not part of the grid: keep it aside and put it "
            "back in front.",
        ),
        Variant(
            "CLS last",
            _stretching(put=lambda cls, cells: [cells, cls]),
            "You put the CLS position at the end. The class token is token 0.",
        ),
        Variant(
            "h and w swapped",
            _stretching(swapped=True),
            "You resized to (w, h). The grid is given as (rows, columns).",
        ),
        Variant(
            "align_corners",
            _stretching(align_corners=True),
            "You pinned corner cells to corner cells. The reference code keeps the area of cells: "
            "`align_corners=False`.",
        ),
        Variant(
            "bilinear, align_corners",
            _stretching(mode="bilinear", align_corners=True),
            "A straight-line resize with pinned corners. Use bicubic and `align_corners=False`.",
        ),
        Variant(
            "antialias",
            _stretching(antialias=True),
            "You asked for `antialias=True`, which takes another cubic curve and blurs when "
            "shrinking. Official weights were resized without.",
        ),
        Variant("reshape instead of permute", _reshaped, CHANNELS),
        Variant("reshape both ways", partial(_reshaped, back=""), CHANNELS),
    ),
)
