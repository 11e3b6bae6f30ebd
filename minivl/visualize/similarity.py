"""The similarity matrix of some pictures and captions: what a contrastive model is trained on."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.visualize.style import (
    HEAT,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    share,
    show_image,
    styled,
    wrap,
    write,
)

HOW_TO_READ = (
    "Each row is a caption, each column a picture; brighter means closer together. The framed "
    "diagonal holds the pairs that belong together. The dot marks the picture that the model "
    "finds closest to the row's caption: outside a frame, it is a mistake."
)
CAPTION_WIDTH, TOP, EDGE = 2.75, 0.5, 0.15


@styled
def similarity_matrix(
    similarity: np.ndarray, images: np.ndarray, captions: Sequence[str]
) -> Picture:
    """Heat map of n pairs: captions down, pictures across, the true pairs framed.

    similarity: (n, n), picture i and caption j at [i, j]; images: (n, h, w, 3) uint8.
    """
    values = np.asarray(similarity, dtype=float).T  # captions down: rows of text are readable
    n = len(captions)
    if values.shape != (n, n) or len(images) != n:
        raise ValueError(f"{n} captions, {len(images)} pictures, similarity {values.shape}")
    cell = float(np.clip(5.0 / n, 0.46, 0.8))
    side = n * cell
    top = TOP + cell + 0.08
    width = max(CAPTION_WIDTH + side + 1.0, 7.0)  # at least as wide as the headline
    figure = Picture(figsize=(width, top + side + EDGE))
    axes = place(figure, CAPTION_WIDTH, top, side, side)
    heat = axes.imshow(values, cmap=HEAT, aspect="auto", interpolation="nearest")
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        thumb = place(figure, CAPTION_WIDTH + (i + 0.04) * cell, TOP, 0.92 * cell, 0.92 * cell)
        show_image(thumb, image)
        middle = top + (i + 0.5) * cell
        words = wrap(caption, 34, 3 if cell > 0.6 else 2)
        write(figure, CAPTION_WIDTH - 0.1, middle, words, ha="right", va="center", fontsize=9.5)
    mark(axes, values, cell)
    bar = place(figure, CAPTION_WIDTH + side + 0.15, top, 0.16, side)
    figure.colorbar(heat, cax=bar).set_label("similarity", fontsize=10)
    bar.tick_params(labelsize=9)
    right = int((chosen(values) == np.arange(n)).sum())
    headline = f"The closest picture is the true one for {share(right, n, 'captions')}"
    write(figure, EDGE, 0.14, headline, fontweight="bold", fontsize=12)
    alt = f"Heat map of {n} captions by {n} pictures with the diagonal framed. {headline}."
    figure.caption = Caption("Similarity of pictures and captions", alt, HOW_TO_READ)
    return figure


def chosen(values: np.ndarray) -> np.ndarray:
    """The closest column of each row, (n, n) -> (n,); where the true one ties, another one."""
    tied = values == values.max(axis=1, keepdims=True)
    others = tied & ~np.eye(len(values), dtype=bool)
    return np.where(others.any(axis=1), others.argmax(axis=1), tied.argmax(axis=1))


def mark(axes: Axes, values: np.ndarray, cell: float) -> None:
    """Frames on the diagonal, a dot on each row's largest value, numbers where there is room."""
    n = len(values)
    low, high = float(values.min()), float(values.max())
    for i in range(n):
        # A white line on a black one is seen on every colour of the heat map.
        for colour, width in (("black", 3.4), ("white", 1.6)):
            box = Rectangle((i - 0.47, i - 0.47), 0.94, 0.94, fill=False)
            box.set(edgecolor=colour, linewidth=width)
            axes.add_patch(box)
    axes.scatter(
        chosen(values) + 0.33, np.arange(n) - 0.33, s=30, color=VERMILLION, edgecolor="white",
        linewidth=0.9, zorder=3,
    )  # fmt: skip
    if cell < 0.6:
        return
    for row, column in np.ndindex(n, n):
        value = values[row, column]
        bright = (value - low) / max(high - low, 1e-12) > 0.6
        axes.text(
            column, row + 0.06, f"{value:.2f}".replace("-0.00", "0.00"), fontsize=8,
            color="black" if bright else "white", ha="center", va="center",
        )  # fmt: skip
    axes.tick_params(colors=MUTED)
