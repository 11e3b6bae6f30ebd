"""Do tasks pull a shared network the same way? Cosines of their gradients, as heat maps."""

from collections.abc import Mapping, Sequence

import numpy as np

from minivl.visualize.style import INK, MUTED, Caption, Picture, place, styled, write

CELL, NAMES, GAP, EDGE, HEAD = 0.5, 1.35, 0.4, 0.15, 0.7
COLOURS = "RdBu"

HOW_TO_READ = (
    "Each task gives the shared weights a gradient; a cell is the cosine between those of two "
    "tasks, from different examples. Blue: what helps the one helps the other. Red: they pull "
    "against each other. White: they do not meet. On the diagonal stands a task with itself, from "
    "other examples: how much of it is noise."
)


@styled
def gradient_cosines(panels: Mapping[str, np.ndarray], names: Sequence[str]) -> Picture:
    """Heat maps of matrices (n, n) under their titles, for n tasks.

    ValueError where a matrix has another shape, or a number is no cosine.
    """
    count = len(names)
    for title, matrix in panels.items():
        if np.shape(matrix) != (count, count) or np.abs(matrix).max() > 1 + 1e-6:
            raise ValueError(f"{title}: {np.shape(matrix)} for {count} tasks")
    side = count * CELL
    width = NAMES + EDGE + len(panels) * side + (len(panels) - 1) * GAP + 0.95
    figure = Picture(figsize=(width, HEAD + side + EDGE + 0.25))
    for number, (title, matrix) in enumerate(panels.items()):
        left = EDGE + NAMES + number * (side + GAP)
        write(figure, left, 0.1, title, fontweight="bold", fontsize=11.5)
        axes = place(figure, left, HEAD, side, side)
        heat = axes.imshow(matrix, cmap=COLOURS, vmin=-1, vmax=1, aspect="auto",
                           interpolation="nearest")  # fmt: skip
        for row, column in np.ndindex(count, count):
            value = matrix[row][column]
            axes.text(column, row + 0.03, f"{value:.2f}".replace("-0.00", "0.00"), fontsize=8,
                      ha="center", va="center",
                      color="white" if abs(value) > 0.6 else INK)  # fmt: skip
        for at in range(count):
            middle = left + (at + 0.5) * CELL
            write(figure, middle, HEAD - 0.25, f"{at + 1}", ha="center", fontsize=9.5)
    for at, name in enumerate(names):
        y = HEAD + (at + 0.5) * CELL
        write(figure, EDGE + NAMES - 0.08, y, f"{name} {at + 1}", ha="right", va="center",
              fontsize=9)  # fmt: skip
    bar = place(figure, width - 0.85, HEAD, 0.14, side)
    figure.colorbar(heat, cax=bar).set_label("cosine", fontsize=10)
    bar.tick_params(labelsize=9)
    words = "Numbers above the columns are those of the rows."
    write(figure, EDGE + NAMES, HEAD + side + 0.08, words, fontsize=9, color=MUTED)
    alt = " ".join(f"{title}: {told(np.asarray(m), names)}." for title, m in panels.items())
    figure.caption = Caption("Do tasks pull the same way?", alt, HOW_TO_READ)
    return figure


def told(matrix: np.ndarray, names: Sequence[str]) -> str:
    """The most alike and the most opposed two tasks, and how alike a task is to itself."""
    own = float(np.diag(matrix).mean())
    if len(names) < 2:
        return f"with itself {own:.2f}"
    rows, columns = np.triu_indices(len(names), k=1)
    values = matrix[rows, columns]
    ends = [
        f"{words} {names[rows[at]]} and {names[columns[at]]} with {values[at]:.2f}"
        for words, at in (("most alike are", values.argmax()), ("least alike", values.argmin()))
    ]
    return f"{', '.join(ends)}; with itself, from other examples, a task has {own:.2f} on average"
