"""The hardest wrong partners of a batch, and how likely each is to be drawn."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.style import (
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    wrap,
    write,
)

EDGE, HEAD, SIDE, GAP, LINE, BAR = 0.15, 0.8, 1.25, 0.5, 0.33, 0.7
SENTENCES, THUMB = 5.1, 0.95

HOW_TO_READ = (
    "Left: a picture and its own sentence. In the middle the wrong sentences that are most likely "
    "to be drawn beside this picture, on the right the wrong pictures most likely beside this "
    "sentence, each with its probability. Bars are as long as the probability; the last line is "
    "what is left for all others together. True partners have no probability at all."
)


@styled
def hardest_negatives(  # noqa: PLR0913  (what is drawn from, and how much of it is shown)
    images: np.ndarray,
    captions: Sequence[str],
    wrong_captions: np.ndarray,
    wrong_images: np.ndarray,
    *,
    rows: Sequence[int],
    top: int = 3,
) -> Picture:
    """For some pairs of a batch: the likeliest wrong sentences and the likeliest wrong pictures.

    images (b, h, w, 3) uint8; captions: b; wrong_captions (b, b): the probability that sentence j
    is drawn for picture i; wrong_images (b, b): that picture j is drawn for sentence i. Raises
    ValueError for weights of another shape or whose rows add to neither 1 nor 0.
    """
    tables = [np.asarray(table, dtype=float) for table in (wrong_captions, wrong_images)]
    check(tables, len(images), len(captions))
    height = SIDE + GAP
    right = EDGE + SIDE + 0.2 + SENTENCES + 0.2
    figure = Picture(figsize=(right + top * (THUMB + 0.12), HEAD + len(rows) * height))
    write(figure, EDGE, 0.14, "The hardest wrong partners", fontweight="bold", fontsize=12)
    heads = ((EDGE + SIDE + 0.2, "wrong sentences for this picture"),
             (right, "wrong pictures for this sentence"))  # fmt: skip
    for x, text in heads:
        write(figure, x, 0.47, text, fontsize=10, color=MUTED)
    told = []
    for number, i in enumerate(rows):
        y = HEAD + number * height
        show_image(place(figure, EDGE, y, SIDE, SIDE), images[i])
        write(figure, EDGE, y + SIDE + 0.06, f"“{wrap(captions[i], 100, 1)}”", fontsize=10)
        said = write_sentences(figure, y, captions, tables[0][i], top)
        for place_in_row, j in enumerate(likeliest(tables[1][i], top)):
            x = right + place_in_row * (THUMB + 0.12)
            show_image(place(figure, x, y, THUMB, THUMB), images[j])
            write(figure, x + THUMB / 2, y + THUMB + 0.06, percent(tables[1][i, j]), ha="center",
                  fontsize=9.5)  # fmt: skip
        told.append(f"“{captions[i]}”: {said}")
    alt = f"Pictures with the wrong sentences and pictures drawn most. {'. '.join(told)}."
    figure.caption = Caption("The hardest wrong partners", alt, HOW_TO_READ)
    return figure


def write_sentences(
    figure: Picture, y: float, captions: Sequence[str], weights: np.ndarray, top: int
) -> str:
    """The likeliest sentences with bars, and what is left; the same in words."""
    x = EDGE + SIDE + 0.2
    chosen = likeliest(weights, top)
    lines = [(f"“{wrap(captions[j], 54, 1)}”", weights[j], INK) for j in chosen]
    others = int((weights > 0).sum()) - len(chosen)
    if others > 0:
        lines.append(
            (
                f"{others} other{'s together' if others > 1 else ''}",
                weights.sum() - weights[chosen].sum(),
                MUTED,
            )
        )
    if not lines:
        write(figure, x, y, "nobody: all are true partners", fontsize=9.5, color=MUTED)
    for number, (text, weight, ink) in enumerate(lines):
        top_of_line = y + number * LINE
        bar = place(figure, x, top_of_line + 0.02, BAR, 0.14)
        bar.set(xlim=(0, 1), ylim=(0, 1))
        bar.barh(0.5, 1, height=1, color="#eceff2")
        bar.barh(0.5, weight, height=1, color=VERMILLION if ink == INK else MUTED)
        write(figure, x + BAR + 0.5, top_of_line, percent(weight), ha="right", fontsize=9.5)
        write(figure, x + BAR + 0.58, top_of_line, text, fontsize=9.5, color=ink)
    return ", ".join(f"{text} {percent(weight)}" for text, weight, _ in lines) or "nobody"


def likeliest(weights: np.ndarray, top: int) -> list[int]:
    """The places of the largest weights above 0, largest first."""
    order = np.argsort(-weights, kind="stable")[:top]
    return [int(j) for j in order if weights[j] > 0]


def percent(share: float) -> str:
    """'7 %'; what is there, but less than one per cent, is '<1 %'."""
    return "<1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def check(tables: Sequence[np.ndarray], images: int, captions: int) -> None:
    """Raise ValueError for what are no weights of so many pictures and captions."""
    for table in tables:
        if table.shape != (images, captions) or images != captions:
            raise ValueError(
                f"weights of shape {table.shape} for {images} pictures and {captions} captions"
            )
        total = table.sum(axis=1)
        if (table < 0).any() or not (np.isclose(total, 1, atol=1e-3) | (total == 0)).all():
            raise ValueError("the weights of a row add to 1, or to 0 where nobody can be drawn")
