"""Does this sentence belong to this picture? A true one, its mirror image, and a foreign one."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.retrieved import spread
from minivl.visualize.style import (
    GREEN,
    INK,
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

EDGE, HEAD, SIDE, ROW, LINE, BAR = 0.15, 1.35, 1.3, 1.55, 0.36, 1.3
KINDS = ("its own", "mirrored", "foreign")
"""Whose sentence it is; only the first belongs to the picture."""

HOW_TO_READ = (
    "The matching head reads picture and sentence together and says how sure it is that they "
    "belong together: above one half counts as yes. Its own sentence should get a yes; the "
    "mirrored one says the same words with left and right exchanged, the foreign one belongs to "
    "another picture: both should get a no. Ticks mark right answers, crosses wrong ones. A "
    "model that says yes to everything is right on every first line. The mark in the bar is one "
    "half. Pictures are spread evenly over the test, not chosen by eye."
)


@styled
def matching_figure(
    images: np.ndarray, sentences: Sequence[Sequence[str]], beliefs: np.ndarray, shown: int = 6
) -> Picture:
    """Some pictures, each with three sentences and how sure a model is of each pair.

    images: (n, h, w, 3) uint8; sentences: three lists of n, in the order of `KINDS`; beliefs:
    (3, n) from 0 to 1. The headlines count all n. Raises ValueError where the numbers differ.
    """
    count, beliefs = len(images), np.asarray(beliefs)
    if beliefs.shape != (3, count) or any(len(row) != count for row in sentences):
        raise ValueError(f"{count} pictures need three sentences and beliefs each")
    right = verdicts(beliefs)
    chosen = spread(np.arange(count), shown)
    figure = Picture(figsize=(8.6, HEAD + ROW * len(chosen)))
    lines = [
        f"{asked}: {share(int(hits.sum()), count, 'pairs')}"
        for asked, hits in zip(
            ("Own sentence, yes", "Mirrored sentence, no", "Foreign sentence, no"),
            right,
            strict=True,
        )
    ]
    for number, line in enumerate(lines):
        write(figure, EDGE, 0.12 + 0.26 * number, line, fontweight="bold", fontsize=12)
    write(figure, EDGE + SIDE + 0.2, HEAD - 0.3, "sure that they belong together", fontsize=10,
          color=MUTED)  # fmt: skip
    for row, index in enumerate(chosen):
        y = HEAD + row * ROW
        show_image(place(figure, EDGE, y, SIDE, SIDE), images[index])
        for number, kind in enumerate(KINDS):
            top = y + 0.12 + number * LINE
            write_belief(figure, top, float(beliefs[number, index]), bool(right[number, index]))
            x = EDGE + SIDE + 0.2 + BAR + 0.75
            write(figure, x, top, kind, fontsize=9.5, color=MUTED)
            said = wrap(sentences[number][index], 50, 1)
            write(figure, x + 0.75, top, said, fontsize=10, color=INK)
    alt = alt_text(lines, sentences, beliefs, chosen)
    figure.caption = Caption("Do they belong together?", alt, HOW_TO_READ)
    return figure


def verdicts(beliefs: np.ndarray) -> np.ndarray:
    """Which answers are right: yes to the first of three, no to the others. (3, n) -> bool."""
    own, mirrored, foreign = np.asarray(beliefs) > 0.5
    return np.stack([own, ~mirrored, ~foreign])


def write_belief(figure: Picture, top: float, belief: float, right: bool) -> None:
    """A bar from 0 to 1 with a mark at one half, the number, and whether the answer is right."""
    x, colour = EDGE + SIDE + 0.2, GREEN if right else VERMILLION
    bar = place(figure, x, top + 0.01, BAR, 0.14)
    bar.set(xlim=(0, 1), ylim=(0, 1))
    bar.barh(0.5, 1, height=1, color="#eceff2")
    bar.barh(0.5, belief, height=1, color=colour)
    bar.axvline(0.5, color=INK, linewidth=1)
    write(figure, x + BAR + 0.48, top, f"{100 * belief:.0f} %", fontsize=9.5, ha="right")
    mark = "✓" if right else "✗"
    write(figure, x + BAR + 0.54, top, mark, fontsize=10.5, color=colour, fontweight="bold")


def alt_text(
    lines: Sequence[str],
    sentences: Sequence[Sequence[str]],
    beliefs: np.ndarray,
    chosen: np.ndarray,
) -> str:
    """The figure in words."""
    told = []
    for index in chosen:
        pairs = zip(KINDS, sentences, beliefs, strict=True)
        told.append("; ".join(f"{k}: “{s[index]}” {100 * b[index]:.0f} %" for k, s, b in pairs))
    return f"{'. '.join(lines)}. Pictures with three sentences each. {'. '.join(told)}."
