"""Sentences with a blank, and the words that a model would put there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minivl.visualize.retrieved import pick_examples
from minivl.visualize.style import (
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    share,
    styled,
    wrap,
    write,
)

EDGE, HEAD, LINE, TEXT, BAR, WIDTH = 0.15, 0.8, 0.235, 4.3, 1.3, 8.6
BLANK = "_____"

HOW_TO_READ = (
    "One word of each text is hidden; the model reads the rest, on both sides. Bars show how sure "
    "it is of its five likeliest words; the hidden one is green, and has a tick if it comes first. "
    "Mistakes are shown as often as successes where there are enough of them: the headline says "
    "how frequent they are."
)


@dataclass(frozen=True)
class Guess:
    """A text with one hidden word, and what a model thinks of it."""

    before: str
    """The text up to the hidden word."""
    after: str
    answer: str
    words: tuple[str, ...]
    """The likeliest words, best first."""
    shares: tuple[float, ...]
    """Their probabilities."""
    rank: int
    """How many words the model likes better than the hidden one."""


@styled
def blanks(guesses: Sequence[Guess], shown: int = 8, title: str = "Sentences filled in") -> Picture:
    """Some texts, half of them filled in rightly where there are enough, with the likeliest words.

    The headline counts all guesses; `title` is the caption's.
    """
    right = np.array([guess.rank == 0 for guess in guesses], dtype=bool)
    chosen = [guesses[i] for i in pick_examples(right, shown)]
    heights = [LINE * (len(guess.words) + (guess.rank >= len(guess.words))) for guess in chosen]
    figure = Picture(figsize=(WIDTH, HEAD + sum(heights) + 0.28 * len(chosen)))
    headline = f"The hidden word comes first for {share(int(right.sum()), len(right), 'texts')}"
    good = sum(guess.rank == 0 for guess in chosen)
    detail = f"shown: {good} right, {len(chosen) - good} wrong"
    write(figure, EDGE, 0.12, headline, fontweight="bold", fontsize=12)
    write(figure, EDGE, 0.4, detail, fontsize=10, color=MUTED)
    y = HEAD
    for guess, height in zip(chosen, heights, strict=True):
        sentence = f"{guess.before} {BLANK} {guess.after}".strip()
        write(figure, EDGE, y, wrap(sentence, 46, 5), fontsize=11, linespacing=1.2)
        write_words(figure, guess, y)
        y += height + 0.28
    texts = "; ".join(
        f"“{guess.before} {BLANK} {guess.after}”: {', '.join(guess.words)} ({guess.answer})"
        for guess in chosen
    )
    alt = f"{headline}; {detail}. Texts and their likeliest words (hidden one): {texts}."
    figure.caption = Caption(title, alt, HOW_TO_READ)
    return figure


def write_words(
    figure: Picture,
    guess: Guess,
    top: float,
    left: float = EDGE + TEXT,
    note_at: float = BAR + 0.62,
) -> None:
    """The likeliest words with bars; below them the hidden one, if it is not among them.

    top, left: inches; note_at: of the line below, from the left. The hidden word is green; it has
    a tick only where it comes first.
    """
    x = left
    for place_in_list, (word, probability) in enumerate(
        zip(guess.words, guess.shares, strict=True)
    ):
        y, hit = top + place_in_list * LINE, place_in_list == guess.rank
        colour = GREEN if hit else MUTED
        bar = place(figure, x, y + 0.01, BAR, 0.13)
        bar.set(xlim=(0, 1), ylim=(0, 1))
        bar.barh(0.5, 1, height=1, color="#eceff2")
        bar.barh(0.5, probability, height=1, color=colour)
        percent = f"{100 * probability:.0f} %"
        write(figure, x + BAR + 0.5, y, percent, fontsize=9.5, color=MUTED, ha="right")
        mark = " ✓" if hit and guess.rank == 0 else ""
        weight = "bold" if hit else "normal"
        write(
            *(figure, x + BAR + 0.62, y, f"{word}{mark}"),
            fontsize=10.5,
            color=GREEN if hit else INK,
            fontweight=weight,
        )
    if guess.rank >= len(guess.words):
        y = top + len(guess.words) * LINE
        note = f"✗ hidden: {guess.answer} (place {guess.rank + 1:,})"
        write(figure, x + note_at, y, note, fontsize=10, color=VERMILLION)
