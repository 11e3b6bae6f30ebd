"""Pictures and what a classifier calls them, right and wrong ones."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.retrieved import pick_examples
from minivl.visualize.style import (
    MUTED,
    Caption,
    Picture,
    place,
    share,
    styled,
    verdict,
    wrap,
    write,
)

HOW_TO_READ = (
    "Green frames and ticks: named rightly. Red dashed frames and crosses: named wrongly, with the "
    "true name below. Mistakes are shown as often as successes where there are enough of them: "
    "the headline says how rare they really are."
)
EDGE, SIDE, GAP, HEAD, FOOT = 0.15, 1.25, 0.18, 0.5, 0.5


@styled
def named_pictures(
    images: np.ndarray, guesses: Sequence[str], truths: Sequence[str], *, shown: int = 12
) -> Picture:
    """Some of the pictures with the name that was given, and the true one where they differ.

    images: (n, h, w, 3) uint8; guesses, truths: n names; shown: at most so many, six a row.
    """
    if not len(images) == len(guesses) == len(truths):
        raise ValueError(f"{len(images)} pictures, {len(guesses)} guesses, {len(truths)} names")
    right = np.array([guess == truth for guess, truth in zip(guesses, truths, strict=True)], bool)
    chosen = pick_examples(right, shown)
    columns = min(6, max(len(chosen), 1))
    rows = -(-len(chosen) // columns)
    width = max(2 * EDGE + columns * (SIDE + GAP) - GAP, 5.2)
    figure = Picture(figsize=(width, HEAD + rows * (SIDE + FOOT) + 0.05))
    headline = f"Named rightly: {share(int(right.sum()), len(right), 'pictures')}"
    write(figure, EDGE, 0.14, headline, fontweight="bold", fontsize=12)
    for number, i in enumerate(chosen):
        x = EDGE + number % columns * (SIDE + GAP)
        y = HEAD + number // columns * (SIDE + FOOT)
        axes = place(figure, x, y, SIDE, SIDE)
        # Pixels as the model sees them; smooth ones would take four times the bytes too.
        axes.imshow(images[i], interpolation="nearest")
        verdict(axes, bool(right[i]))
        write(figure, x, y + SIDE + 0.06, wrap(guesses[i], 18, 1), fontsize=9.5)
        if not right[i]:
            truth = wrap(f"is: {truths[i]}", 18, 1)
            write(figure, x, y + SIDE + 0.24, truth, fontsize=9, color=MUTED)
    told = "; ".join(
        f"{guesses[i]}, right" if right[i] else f"{guesses[i]}, but it is {truths[i]}"
        for i in chosen
    )
    alt = f"{len(chosen)} pictures with the names given to them: {told}. {headline}."
    figure.caption = Caption("What the classifier calls them", alt, HOW_TO_READ)
    return figure
