"""A hidden word of a caption, filled in with the picture and without it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minivl.visualize.blanks import BLANK, Guess, write_words
from minivl.visualize.retrieved import pick_examples
from minivl.visualize.style import (
    GREEN,
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

EDGE, HEAD, SIDE, ROW, LIST, GAP = 0.15, 1.05, 1.45, 2.05, 3.2, 0.2
SIDES = ("with the picture", "without the picture")

HOW_TO_READ = (
    "One word of each caption is hidden, one that tells of a thing. The same model "
    "fills it in twice, once looking at the picture, once with every patch hidden, so that only "
    "the other words help. Bars show how sure it is of its likeliest words; the hidden one is "
    "green. What is right on the left and wrong on the right was read off the picture. Examples "
    "are spread evenly over the test, mistakes as often as successes where there are enough."
)


@dataclass(frozen=True)
class Seen:
    """A pair with one hidden word, and what a model thinks of it with and without the picture."""

    image: np.ndarray
    """(h, w, 3) uint8."""
    seeing: Guess
    blind: Guess


@styled
def words_with_and_without(found: Sequence[Seen], shown: int = 6) -> Picture:
    """Some pairs, half of them filled in rightly with the picture; the headline counts all."""
    right = [np.array([one.rank == 0 for one in guesses], dtype=bool) for guesses in sides(found)]
    chosen = [found[i] for i in pick_examples(right[0], shown)]
    figure = Picture(figsize=(2 * EDGE + SIDE + GAP + 2 * LIST, HEAD + ROW * len(chosen)))
    counts = [share(int(hits.sum()), len(hits), "captions") for hits in right]
    headline = f"Right {SIDES[0]}: {counts[0]}"
    write(figure, EDGE, 0.12, headline, fontweight="bold", fontsize=12)
    second = f"Right {SIDES[1]}: {counts[1]}"
    write(figure, EDGE, 0.38, second, fontweight="bold", fontsize=12)
    for number, title in enumerate(SIDES):
        write(figure, column(number), 0.76, title, fontsize=10.5, color=MUTED)
    for row, one in enumerate(chosen):
        y = HEAD + row * ROW
        sentence = f"{one.seeing.before} {BLANK} {one.seeing.after}".strip()
        write(figure, EDGE, y, wrap(sentence, 88, 1), fontsize=11)
        show_image(place(figure, EDGE, y + 0.3, SIDE, SIDE), one.image)
        for number, guess in enumerate((one.seeing, one.blind)):
            write_words(figure, guess, y + 0.32, left=column(number), note_at=0.0)
            right_one = guess.rank == 0
            mark, colour = ("✓", GREEN) if right_one else ("✗", VERMILLION)
            write(figure, column(number) - 0.22, y + 0.3, mark, color=colour, fontsize=11)
    alt = f"{headline}. {second}. {' '.join(map(told, chosen))}"
    figure.caption = Caption("Hidden words, with and without the picture", alt, HOW_TO_READ)
    return figure


def sides(found: Sequence[Seen]) -> tuple[list[Guess], list[Guess]]:
    """The guesses with the picture, and those without."""
    return [one.seeing for one in found], [one.blind for one in found]


def column(number: int) -> float:
    """Where a list of words begins, in inches."""
    return EDGE + SIDE + GAP + 0.12 + number * LIST


def told(one: Seen) -> str:
    """One pair in words."""
    first, second = (guess.words[0] for guess in (one.seeing, one.blind))
    return (
        f"“{one.seeing.before} {BLANK} {one.seeing.after}” ({one.seeing.answer}): "
        f"{first} with the picture, {second} without."
    )
