"""Pictures beside what a tokenizer draws of them: while it trains, and at several temperatures."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.style import (
    MUTED,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    write,
)

EDGE, GAP, LINE = 0.15, 0.08, 0.17
SMALLEST_WIDTH = 6.0

Column = tuple[str, np.ndarray]
"""What stands above the column, in lines, and its pictures, uint8 (n, h, w, 3)."""


def psnr(drawn: np.ndarray, images: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, the mean over pictures. Both uint8 (n, h, w, 3).

    An error below half a step of 255 counts as half a step.
    """
    difference = (drawn.astype(float) - images.astype(float)) / 255
    squared = np.square(difference).mean(axis=(1, 2, 3))
    return float(-10 * np.log10(np.maximum(squared, (0.5 / 255) ** 2)).mean())


@styled
def reconstructions(
    images: np.ndarray,
    drawn: Sequence[Column],
    *,
    caption: Caption | None = None,
    side: float = 1.15,
) -> Picture:
    """Each picture in a row with what was drawn of it, the mean error above each column.

    images: uint8 (n, h, w, 3); drawn: columns of pictures alike; side: inches of a picture.
    Raises ValueError where a column has pictures of another shape.
    """
    images = np.asarray(images)
    for label, pictures in drawn:
        if np.shape(pictures) != images.shape:
            raise ValueError(
                f"{label}: pictures {np.shape(pictures)}, but the originals are {images.shape}"
            )
    columns: list[Column] = [("picture", images), *drawn]
    lines = max(label.count("\n") + 1 for label, _ in columns)
    head = 0.12 + LINE * (lines + 1) + 0.1
    width = 2 * EDGE + len(columns) * (side + GAP) - GAP
    height = head + len(images) * (side + GAP) + EDGE
    figure = Picture(figsize=(max(width, SMALLEST_WIDTH), height))
    for number, (label, pictures) in enumerate(columns):
        x = EDGE + number * (side + GAP)
        write(figure, x, 0.12, label, fontsize=9.5, linespacing=1.15)
        if number:
            below = 0.12 + LINE * lines + 0.02
            write(figure, x, below, f"{psnr(pictures, images):.1f} dB", fontsize=9, color=MUTED)
        for row, picture in enumerate(pictures):
            show_image(place(figure, x, head + row * (side + GAP), side, side), picture)
    figure.caption = caption or Caption("Pictures and their reconstructions", "")
    if not figure.caption.alt:
        figure.caption = Caption(figure.caption.title, describe(images, drawn), figure.caption.text)
    return figure


def describe(images: np.ndarray, drawn: Sequence[Column]) -> str:
    """The columns in words, with their mean errors."""
    parts = [
        f"{' '.join(label.split())}: {psnr(pictures, images):.1f} dB" for label, pictures in drawn
    ]
    return f"{len(images)} pictures, each with what was drawn of it. " + "; ".join(parts) + "."
