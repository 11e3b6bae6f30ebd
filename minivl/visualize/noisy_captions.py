"""Pictures beside captions as the web has them: what was done to each, and what would be true."""

from collections.abc import Sequence

import numpy as np

from minivl.data.noise import Kind, Told
from minivl.visualize.style import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILLION,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    wrap,
    write,
)

SIDE, EDGE, GAP, COLUMN = 1.25, 0.15, 0.2, 4.35
"""Inches: a picture, the margin, between two, and from one column to the next."""

SAID: dict[Kind, tuple[str, str, str]] = {
    "none": ("✓", "as it should be", GREEN),
    "wrong": ("✗", "another picture's", VERMILLION),
    "missing": ("✗", "something left out", BLUE),
    "extra": ("✗", "something added", PURPLE),
    "titled": ("?", "what somebody called it", ORANGE),
}
"""Kind of noise -> mark, words and colour."""

READ = (
    "What training reads stands beside each picture, under what was done to it. Where that is not "
    "the whole truth, the true caption follows in grey: training never sees it. Of a drawing that "
    "somebody titled, nobody knows it."
)


@styled
def noisy_captions(images: np.ndarray, told: Sequence[Told]) -> Picture:
    """Pictures in two columns, each with its caption, what was done to it, and what is true.

    images (n, h, w, 3) uint8, told: one each. Raises ValueError where the numbers differ.
    """
    if len(images) != len(told):
        raise ValueError(f"{len(images)} pictures, but {len(told)} captions")
    rows = -(-len(told) // 2)
    figure = Picture(figsize=(2 * COLUMN, EDGE + rows * (SIDE + GAP)))
    for number, (image, one) in enumerate(zip(images, told, strict=True)):
        row, column = divmod(number, 2)
        left, top = EDGE + column * COLUMN, EDGE + row * (SIDE + GAP)
        show_image(place(figure, left, top, SIDE, SIDE), image)
        mark, words, colour = SAID[one.kind]
        left += SIDE + 0.12
        write(figure, left, top, f"{mark} {words}", color=colour, fontweight="bold", fontsize=9.5)
        write(figure, left, top + 0.22, wrap(one.said, 38, 2), fontsize=9.5)
        if one.said != one.clean:
            clean = wrap(f"true: {one.clean}", 42, 3)
            write(figure, left, top + 0.62, clean, color=MUTED, fontsize=8.5)
    alt = " ".join(
        f"“{one.said}”: {SAID[one.kind][1]}"
        + ("." if one.said == one.clean else f"; true would be “{one.clean}”.")
        for one in told
    )
    figure.caption = Caption("Captions as the web has them", alt, READ)
    return figure
