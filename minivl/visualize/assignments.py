"""Who answers for what: a table of costs, and the pairs that ways of matching take from it."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.visualize.style import INK, MUTED, ORANGE, Caption, Picture, place, styled, write

CELL, GAP, EDGE, HEAD, ROWS, FOOT = (0.85, 0.5), 0.5, 0.15, 0.92, 0.85, 0.15
PALE = "#eceff2"

HOW_TO_READ = (
    "Rows are queries, columns are things, a number is what it costs if this query answers for "
    "this thing. Framed: the pairs taken, at most one in a row and one in a column. Queries "
    "without a frame are to say “nothing”. The sum of the framed costs is what matters."
)


@styled
def assignments(
    cost: np.ndarray, ways: Mapping[str, Sequence[tuple[int, int]]], things: Sequence[str] = ()
) -> Picture:
    """The same costs (q, t) once a way of matching, with its pairs (query, thing) framed.

    things: the names of the columns. ValueError for a query or a thing that is taken twice.
    """
    values = np.asarray(cost, dtype=float)
    queries, count = values.shape
    names = list(things) or [f"thing {n + 1}" for n in range(count)]
    for name, pairs in ways.items():
        for side in zip(*pairs, strict=True):
            if len(set(side)) < len(side):
                raise ValueError(f"{name}: {pairs} takes one of them twice")
    panel = max(ROWS + count * CELL[0], 2.6)
    width = 2 * EDGE + len(ways) * panel + (len(ways) - 1) * GAP
    figure = Picture(figsize=(width, HEAD + queries * CELL[1] + FOOT))
    sums = {name: sum(values[pair] for pair in pairs) for name, pairs in ways.items()}
    for number, (name, pairs) in enumerate(ways.items()):
        left = EDGE + number * (panel + GAP)
        write(figure, left, 0.1, name, fontweight="bold", fontsize=11.5)
        write(figure, left, 0.34, f"together {sums[name]:.2f}", fontsize=10, color=MUTED)
        for column, thing in enumerate(names):
            middle = left + ROWS + (column + 0.5) * CELL[0]
            write(figure, middle, HEAD - 0.24, thing, ha="center", fontsize=9.5)
        for row in range(queries):
            y = HEAD + (row + 0.5) * CELL[1]
            write(figure, left, y, f"query {row}", va="center", fontsize=9.5)
        axes = place(figure, left + ROWS, HEAD, count * CELL[0], queries * CELL[1])
        draw(axes, values, pairs)
    told = "; ".join(
        f"{name}: {', '.join(f'query {q} with {names[t]}' for q, t in pairs)}, together "
        f"{sums[name]:.2f}"
        for name, pairs in ways.items()
    )
    alt = f"A table of costs of {queries} queries and {count} things, with pairs framed. {told}."
    figure.caption = Caption("Who answers for what", alt, HOW_TO_READ)
    return figure


def draw(axes: Axes, values: np.ndarray, pairs: Sequence[tuple[int, int]]) -> None:
    """Cells with their costs; those of the pairs framed."""
    queries, count = values.shape
    axes.set(xlim=(0, count), ylim=(queries, 0))
    taken = {(int(q), int(t)) for q, t in pairs}
    for row, column in np.ndindex(queries, count):
        cell = Rectangle((column + 0.04, row + 0.05), 0.92, 0.9, facecolor=PALE)
        if (row, column) in taken:
            cell.set(edgecolor=ORANGE, linewidth=2.6, facecolor="white")
        axes.add_patch(cell)
        axes.text(column + 0.5, row + 0.53, f"{values[row, column]:.2f}", ha="center", va="center",
                  fontsize=10, color=INK)  # fmt: skip
