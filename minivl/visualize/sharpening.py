"""A similarity matrix at several moments of a training, on one scale: the diagonal lights up."""

from collections.abc import Mapping

import numpy as np

from minivl.visualize.similarity import chosen
from minivl.visualize.style import (
    HEAT,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    write,
)

HOW_TO_READ = (
    "Each row is a picture, each column a sentence, in the same order: true pairs lie on the "
    "diagonal from top left to bottom right. Brighter means closer together; all panels share one "
    "scale. The dot marks the sentence that is closest to the row's picture."
)
SIDE, GAP, EDGE, TOP, FOOT = 2.6, 0.3, 0.15, 0.62, 0.42


@styled
def sharpening(moments: Mapping[str, np.ndarray], images: np.ndarray) -> Picture:
    """Heat maps side by side, with the pictures of the rows at the left.

    moments: title -> (n, n) similarities, picture i and sentence j at [i, j], in order of time;
    images: (n, h, w, 3) uint8.
    """
    n = len(images)
    matrices = {title: np.asarray(values, dtype=float) for title, values in moments.items()}
    if not matrices or any(values.shape != (n, n) for values in matrices.values()):
        shapes = {title: values.shape for title, values in matrices.items()}
        raise ValueError(f"{n} pictures, similarities {shapes}: pass (n, n) for each title")
    cell = SIDE / n
    left = EDGE + cell + 0.06
    width = left + len(matrices) * SIDE + (len(matrices) - 1) * GAP + 0.95
    figure = Picture(figsize=(width, TOP + SIDE + FOOT))
    for i, image in enumerate(images):
        thumb = place(figure, EDGE, TOP + (i + 0.04) * cell, 0.92 * cell, 0.92 * cell)
        show_image(thumb, image)
    low = min(values.min() for values in matrices.values())
    high = max(values.max() for values in matrices.values())
    found = []
    for number, (title, values) in enumerate(matrices.items()):
        x = left + number * (SIDE + GAP)
        axes = place(figure, x, TOP, SIDE, SIDE)
        heat = axes.imshow(values, cmap=HEAT, vmin=low, vmax=high, aspect="auto")
        nearest = chosen(values)
        axes.scatter(nearest, np.arange(n), s=220 * cell**1.5, color=VERMILLION,
                     edgecolor="white", linewidth=0.8)  # fmt: skip
        axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
        found.append(int((nearest == np.arange(n)).sum()))
        write(figure, x, 0.14, title, fontweight="bold", fontsize=12)
        write(figure, x, 0.37, f"{found[-1]} of {n} closest are true", fontsize=10, color=MUTED)
        write(figure, x + SIDE / 2, TOP + SIDE + 0.1, f"sentences 1 to {n}", ha="center",
              fontsize=9.5, color=MUTED)  # fmt: skip
    bar = place(figure, width - 0.8, TOP, 0.14, SIDE)
    figure.colorbar(heat, cax=bar).set_label("cosine", fontsize=10)
    bar.tick_params(labelsize=9)
    told = "; ".join(
        f"{t}: {f} of {n} on the diagonal" for t, f in zip(matrices, found, strict=True)
    )
    alt = f"Heat maps of {n} pictures by {n} sentences, and the closest sentences: {told}."
    figure.caption = Caption("The similarity matrix while it learns", alt, HOW_TO_READ)
    return figure
