"""A picture as a grid of code numbers, and the picture that the numbers draw."""

import numpy as np

from minivl.visualize.style import INK, MUTED, Caption, Picture, place, show_image, styled, write

EDGE, SIDE, WORDS, GAP, HEAD = 0.15, 2.2, 5.0, 0.2, 0.45
NUMBERED_FROM = 0.27
"""Inches of a cell from which its number fits inside."""


@styled
def picture_words(
    image: np.ndarray, tokens: np.ndarray, tiles: np.ndarray, drawn: np.ndarray
) -> Picture:
    """The picture, its words on what each draws alone, and what they draw together.

    image, drawn: uint8 (h, w, 3); tokens: (gh, gw) int; tiles: uint8 (k, s, s, 3).
    """
    gh, gw = tokens.shape
    tall = WORDS * gh / gw
    small = SIDE * gh / gw
    figure = Picture(figsize=(2 * EDGE + 2 * SIDE + WORDS + 2 * GAP, HEAD + tall + EDGE))
    at_words, at_drawn = EDGE + SIDE + GAP, EDGE + SIDE + WORDS + 2 * GAP
    bits = gh * gw * np.log2(len(tiles))
    titles = (
        (EDGE, f"{image.shape[0]} × {image.shape[1]} pixels"),
        (at_words, f"{gh} × {gw} words of {len(tiles):,}: {bits:,.0f} bits"),
        (at_drawn, "drawn from the words"),
    )
    for x, title in titles:
        write(figure, x, 0.14, title, fontsize=10.5)
    middle = HEAD + (tall - small) / 2
    show_image(place(figure, EDGE, middle, SIDE, small), image)
    show_image(place(figure, at_drawn, middle, SIDE, small), drawn)
    mosaic = tiles[tokens].swapaxes(1, 2).reshape(gh * tiles.shape[1], gw * tiles.shape[2], 3)
    axes = place(figure, at_words, HEAD, WORDS, tall)
    axes.imshow(mosaic, interpolation="nearest", extent=(0, gw, gh, 0), aspect="auto")
    if min(WORDS / gw, tall / gh) >= NUMBERED_FROM:
        for row in range(gh):
            for column in range(gw):
                bright = tiles[tokens[row, column]].mean() > 127
                axes.text(column + 0.5, row + 0.5, str(tokens[row, column]), fontsize=8,
                          ha="center", va="center", color=INK if bright else "white")  # fmt: skip
    else:
        write(figure, EDGE, HEAD + tall - 0.2, "numbers left out", fontsize=9, color=MUTED)
    figure.caption = Caption(
        "A picture in words",
        f"A picture, its {gh} by {gw} code numbers on what each code draws alone, and the picture "
        f"drawn from them. {len(np.unique(tokens))} different codes.",
        "The encoder names each cell with one code; that is all the decoder sees. It draws better "
        "than the tiles side by side, for neighbours tell it more.",
    )
    return figure
