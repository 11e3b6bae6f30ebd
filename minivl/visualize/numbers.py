"""Small matrices with their numbers, side by side: a calculation that fits into the head."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.visualize.diagram import pale
from minivl.visualize.style import (
    BLUE,
    CYCLE,
    HAIRLINE,
    INK,
    Caption,
    Picture,
    place,
    styled,
    write,
)

CELL, EDGE, SIGN, TITLE, HEAD = 0.6, 0.15, 0.5, 0.5, 0.26
LETTER = 0.088
"""Inches of a letter in a row's name."""


@dataclass(frozen=True)
class Grid:
    """One matrix of a calculation."""

    title: str
    values: np.ndarray
    """(rows, columns)."""
    rows: Sequence[str] = ()
    """Names of the rows; none: not named."""
    columns: Sequence[str] = ()
    """Names of the columns; none: not named."""
    groups: np.ndarray | None = None
    """Whole numbers (rows, columns): a colour for each; None: the larger, the darker."""

    @property
    def margin(self) -> float:
        """Inches that the rows' names take."""
        return LETTER * max((len(name) for name in self.rows), default=0) + 0.08

    @property
    def width(self) -> float:
        """Inches from the rows' names to the last column, or of the title if that is wider."""
        longest = max(map(len, self.title.split("\n")))
        return self.margin + max(CELL * np.shape(self.values)[1], LETTER * longest - self.margin)


@styled
def number_grids(
    grids: Sequence[Grid],
    *,
    signs: Sequence[str] = (),
    title: str = "A calculation in numbers",
    decimals: int = 2,
) -> Picture:
    """Matrices from left to right, each number in its cell, a sign before each but the first.

    signs: one fewer than grids ("→" by default). Shades are those of values from zero up; negative
    ones stay white.
    """
    signs = list(signs) or ["→"] * (len(grids) - 1)
    if len(signs) != len(grids) - 1:
        raise ValueError(f"{len(grids)} grids need {len(grids) - 1} signs, got {len(signs)}")
    arrays = [np.asarray(grid.values, dtype=float) for grid in grids]
    tallest = max(len(values) for values in arrays)
    lines = max(grid.title.count("\n") for grid in grids) + 1
    head = HEAD if any(grid.columns for grid in grids) else 0.05
    top = EDGE + 0.19 * lines + 0.08 + head
    width = 2 * EDGE + sum(grid.width for grid in grids) + SIGN * len(signs)
    figure = Picture(figsize=(width, top + CELL * tallest + EDGE))
    left = EDGE
    for number, (grid, values) in enumerate(zip(grids, arrays, strict=True)):
        if number:
            middle = top + CELL * tallest / 2
            write(figure, left + SIGN / 2, middle, signs[number - 1], ha="center", va="center",
                  fontsize=15 if len(signs[number - 1]) == 1 else 10.5)  # fmt: skip
            left += SIGN
        start = left + grid.margin
        write(figure, start, top - head - 0.08, grid.title, va="baseline", fontsize=10.5,
              linespacing=1.15)  # fmt: skip
        # Short matrices stand in the middle of the tall ones' height.
        down = top + CELL * (tallest - len(values)) / 2
        axes = place(figure, start, down, CELL * values.shape[1], CELL * len(values))
        draw_cells(axes, values, grid.groups, decimals)
        for row, name in enumerate(grid.rows):
            write(figure, start - 0.08, down + CELL * (row + 0.5), name, ha="right", va="center",
                  fontsize=10)  # fmt: skip
        for column, name in enumerate(grid.columns):
            write(figure, start + CELL * (column + 0.5), down - 0.06, name, ha="center",
                  va="bottom", fontsize=10)  # fmt: skip
        left += grid.width
    told = "; ".join(
        f"{' '.join(grid.title.split())}: {spoken(values, decimals)}"
        for grid, values in zip(grids, arrays, strict=True)
    )
    figure.caption = Caption(title, f"Matrices with their numbers. {told}.")
    return figure


def draw_cells(axes: Axes, values: np.ndarray, groups: np.ndarray | None, decimals: int) -> None:
    """The cells of a matrix, shaded by value or coloured by group, with their numbers."""
    rows, columns = values.shape
    texts = number_texts(values, decimals)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    largest = max(float(values.max()), 1e-12)
    for row, column in np.ndindex(rows, columns):
        value = values[row, column]
        if groups is None:
            colour = pale(BLUE, 0.75 * max(value, 0.0) / largest)
        else:
            colour = pale(CYCLE[int(groups[row, column]) % len(CYCLE)], 0.3)
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor=HAIRLINE))
        axes.text(column + 0.5, row + 0.5, texts[row][column], ha="center", va="center",
                  fontsize=10.5, color=INK)  # fmt: skip
    border = Rectangle((0, 0), columns, rows, fill=False, edgecolor=INK, linewidth=1.2)
    axes.add_patch(border)
    border.set_clip_on(False)


def number_texts(values: np.ndarray, decimals: int) -> list[list[str]]:
    """The numbers of a matrix rounded alike: without a point where all are whole, no "-0.00"."""
    rounded = np.round(values, decimals) + 0.0  # -0.0 + 0.0 is 0.0
    digits = 0 if (rounded == np.round(rounded)).all() else decimals
    return [[f"{value:.{digits}f}" for value in row] for row in rounded]


def spoken(values: np.ndarray, decimals: int) -> str:
    """The rows of a matrix in words: "3, 6 / 2, 4"."""
    return " / ".join(", ".join(row) for row in number_texts(values, decimals))
