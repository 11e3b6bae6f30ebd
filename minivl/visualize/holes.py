"""Pictures with holes, filled in: what masked image modeling expects behind them."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.outline import outline
from minivl.visualize.style import (
    INK,
    MUTED,
    Caption,
    Picture,
    place,
    share,
    show_image,
    styled,
    write,
)

EDGE, SIDE, GAP, HEAD, FOOT = 0.15, 1.55, 0.12, 0.98, 0.42
GREY = 205
"""Of the hidden patches, in the picture that the model sees."""

COLUMNS = (
    ("the picture", ""),
    ("with holes", "hidden patches grey"),
    ("copied", "the nearest seen patch"),
    ("the model's guess", "its likeliest codes"),
    ("the best possible", "the right codes"),
)

HOW_TO_READ = (
    "The model names a code for each hidden patch, and the tokenizer's decoder draws the codes: "
    "those of the seen patches are the right ones. The last column is the best that any model can "
    "reach. Copying shows what is easy: where it looks as good, nothing was understood. The "
    "pictures are the first of the test, not chosen by eye."
)


@styled
def filled_in(
    images: Sequence[np.ndarray],
    hidden: Sequence[np.ndarray],
    drawn: Sequence[Sequence[np.ndarray]],
    right: Sequence[int],
) -> Picture:
    """One row a picture: as it is, with its holes, and drawn from copied, named and right codes.

    images: each (h, w, 3) uint8; hidden: each (gh, gw) bool; drawn: the last three columns, each a
    list of pictures (H, W, 3) uint8; right: how many hidden patches' codes the model names.
    """
    rows = len(images)
    figure = Picture(
        figsize=(
            2 * EDGE + len(COLUMNS) * SIDE + (len(COLUMNS) - 1) * GAP,
            HEAD + rows * (SIDE + FOOT),
        )
    )
    asked = [int(mask.sum()) for mask in hidden]
    headline = f"Right codes: {share(sum(right), sum(asked), 'hidden patches')}"
    write(figure, EDGE, 0.12, headline, fontweight="bold", fontsize=12)
    for column, (title, detail) in enumerate(COLUMNS):
        x = EDGE + column * (SIDE + GAP)
        write(figure, x, HEAD - 0.45, title, fontsize=10.5, color=INK)
        write(figure, x, HEAD - 0.25, detail, fontsize=8.5, color=MUTED)
    for row in range(rows):
        y = HEAD + row * (SIDE + FOOT)
        seen = holed(images[row], hidden[row])
        pictures = [images[row], seen, *(column[row] for column in drawn)]
        for column, picture in enumerate(pictures):
            axes = place(figure, EDGE + column * (SIDE + GAP), y, SIDE, SIDE)
            show_image(axes, picture)
            if column:
                outline(axes, hidden[row], "white")
        note = f"{right[row]} of {asked[row]} right"
        write(figure, EDGE + 3 * (SIDE + GAP), y + SIDE + 0.06, note, fontsize=9.5)
    alt = (
        f"{rows} pictures, each beside itself with blocks of patches greyed out and beside "
        f"three versions with these blocks filled in. {headline}."
    )
    figure.caption = Caption("Holes filled in", alt, HOW_TO_READ)
    return figure


def holed(image: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The picture (h, w, 3) uint8 with its hidden patches grey. hidden (gh, gw) bool."""
    rows, columns = (side // cells for side, cells in zip(image.shape, hidden.shape, strict=False))
    cells = hidden.repeat(rows, axis=0).repeat(columns, axis=1)
    return np.where(cells[..., None], GREY, image).astype(np.uint8)
