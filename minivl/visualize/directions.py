"""One matrix of logits, two questions: which sentence for this picture, which picture for this one.

The two halves of CLIP's loss (Radford et al. 2021, arXiv 2103.00020, figure 3), small enough to
be worked by hand.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.visualize.style import (
    BLUE,
    HEAT,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    styled,
    write,
)

HOW_TO_READ = (
    "Left: the logits, a row for each picture, a column for each sentence. In the middle each row "
    "is shared out among the sentences, on the right each column among the pictures. The framed "
    "diagonal holds what the true partner gets; the loss of a direction is the mean of "
    "−ln of it."
)
CELL, GAP, EDGE, TOP = 0.85, 1.05, 0.75, 0.95


@styled
def two_directions(logits: np.ndarray) -> Picture:
    """The logits, their softmax along rows, and along columns, with every number written.

    logits: (n, n), n of 2 to 4, pictures down, sentences across.
    """
    logits = np.asarray(logits, dtype=float)
    n = len(logits)
    if logits.shape != (n, n) or not 2 <= n <= 4:
        raise ValueError(f"logits of shape {logits.shape}: pass (n, n) with n from 2 to 4")
    rows, columns = shared_out(logits, 1), shared_out(logits, 0)
    side = n * CELL
    figure = Picture(figsize=(EDGE + 3 * side + 2 * GAP + 0.5, TOP + side + 0.55))
    panels = (
        ("logits", "", logits, INK),
        ("each row adds to 1", "picture → sentence", rows, BLUE),
        ("each column adds to 1", "sentence → picture", columns, VERMILLION),
    )
    for number, (title, detail, values, colour) in enumerate(panels):
        left = EDGE + number * (side + GAP)
        write(figure, left, 0.14, title, fontweight="bold", fontsize=11, color=colour)
        write(figure, left, 0.38, detail, fontsize=10, color=MUTED)
        axes = place(figure, left, TOP, side, side)
        draw(axes, values, colour)
        label(figure, left, n)
        if number:
            loss = -np.log(np.diagonal(values)).mean()
            note = f"mean of −ln framed: {loss:.3f}"
            write(figure, left, TOP + side + 0.2, note, fontsize=10, color=colour)
    of_rows, of_columns = listed(np.diagonal(rows)), listed(np.diagonal(columns))
    alt = (
        f"Three tables of {n} by {n} numbers: the logits, their rows as shares that add to 1, and "
        "their columns as shares that add to 1. The diagonal is framed: the true partners get "
        f"{of_rows} of the rows and {of_columns} of the columns."
    )
    figure.caption = Caption("One matrix, two questions", alt, HOW_TO_READ)
    return figure


def shared_out(logits: np.ndarray, axis: int) -> np.ndarray:
    """Softmax along an axis: positive shares that add to 1. (n, m) -> (n, m)."""
    weights = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


def draw(axes: Axes, values: np.ndarray, colour: str) -> None:
    """Coloured cells with their numbers; the diagonal framed."""
    n = len(values)
    low, high = values.min(), values.max()
    axes.imshow(values, cmap=HEAT, vmin=low - 0.2 * (high - low), vmax=high, alpha=0.35)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    for row, column in np.ndindex(n, n):
        number = f"{values[row, column]:.2f}"
        weight = "bold" if row == column else "normal"
        axes.text(column, row, number, ha="center", va="center", fontweight=weight)
    for i in range(n):
        frame = Rectangle((i - 0.46, i - 0.46), 0.92, 0.92, fill=False, clip_on=False)
        frame.set(edgecolor=colour, linewidth=2)
        axes.add_patch(frame)


def label(figure: Picture, left: float, n: int) -> None:
    """Names of the rows, left of a panel, and of the columns, above it."""
    for i in range(n):
        middle = (i + 0.5) * CELL
        write(figure, left - 0.08, TOP + middle, f"pict. {i + 1}", ha="right", va="center",
              fontsize=9, color=MUTED)  # fmt: skip
        write(figure, left + middle, TOP - 0.06, f"sent. {i + 1}", ha="center", va="bottom",
              fontsize=9, color=MUTED)  # fmt: skip


def listed(values: np.ndarray) -> str:
    """'0.50 and 0.25'."""
    *first, last = [f"{value:.2f}" for value in values]
    return f"{', '.join(first)} and {last}"
