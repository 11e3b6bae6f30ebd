"""Pictures with holes, filled in with the sentence beside them and without it."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.holes import EDGE, FOOT, GAP, SIDE, holed
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
    wrap,
    write,
)

HEAD, SAID = 1.25, 0.28
COLUMNS = (
    ("the picture", ""),
    ("with holes", "hidden patches grey"),
    ("without the sentence", "all words hidden"),
    ("with the sentence", "as it stands above"),
    ("the best possible", "the right codes"),
)

HOW_TO_READ = (
    "The model names a code for each hidden patch, once with the sentence and once with all its "
    "words hidden, and the tokenizer's decoder draws the codes: those of the seen patches are the "
    "right ones. The last column is the best that any model can reach. A thing that appears only "
    "where the sentence names it was read, not seen. The pictures are the first of the test, not "
    "chosen by eye."
)


@styled
def holes_with_and_without(
    images: Sequence[np.ndarray],
    sentences: Sequence[str],
    hidden: Sequence[np.ndarray],
    drawn: Sequence[Sequence[np.ndarray]],
    right: Sequence[tuple[int, int]],
    totals: tuple[int, int, int],
) -> Picture:
    """One row a pair: its picture, with holes, and drawn from codes named blindly, named and right.

    images: each (h, w, 3) uint8; hidden: each (gh, gw) bool; drawn: the last three columns, each a
    list of pictures (H, W, 3) uint8; right: of each row the codes named rightly without and with
    the sentence; totals: the same two numbers over the whole test, and the patches asked there.
    """
    height = SAID + SIDE + FOOT
    width = 2 * EDGE + len(COLUMNS) * SIDE + (len(COLUMNS) - 1) * GAP
    figure = Picture(figsize=(width, HEAD + len(images) * height))
    blind, seeing, asked = totals
    lines = (
        f"Right codes with the sentence: {share(seeing, asked, 'hidden patches')}",
        f"Right codes without it: {share(blind, asked, 'hidden patches')}",
    )
    for number, line in enumerate(lines):
        write(figure, EDGE, 0.12 + 0.26 * number, line, fontweight="bold", fontsize=12)
    for number, (title, detail) in enumerate(COLUMNS):
        x = EDGE + number * (SIDE + GAP)
        write(figure, x, HEAD - 0.5, title, fontsize=10.5, color=INK)
        write(figure, x, HEAD - 0.3, detail, fontsize=8.5, color=MUTED)
    for row, image in enumerate(images):
        y = HEAD + row * height
        write(figure, EDGE, y, f"“{wrap(sentences[row], 96, 1)}”", fontsize=10.5)
        pictures = [image, holed(image, hidden[row]), *(column[row] for column in drawn)]
        for number, picture in enumerate(pictures):
            axes = place(figure, EDGE + number * (SIDE + GAP), y + SAID, SIDE, SIDE)
            show_image(axes, picture)
            if number:
                outline(axes, hidden[row], "white")
        for number, hits in zip((2, 3), right[row], strict=True):
            x, note = EDGE + number * (SIDE + GAP), f"{hits} of {int(hidden[row].sum())} right"
            write(figure, x, y + SAID + SIDE + 0.06, note, fontsize=9.5)
    alt = (
        f"{len(images)} pictures, each beside itself with blocks of patches greyed out and beside "
        f"three versions with these blocks filled in. {lines[0]}. {lines[1]}. Sentences: "
        + "; ".join(sentences)
        + "."
    )
    figure.caption = Caption("Holes filled in, with and without the sentence", alt, HOW_TO_READ)
    return figure
