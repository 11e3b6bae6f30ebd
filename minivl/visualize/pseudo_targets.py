"""What a momentum twin holds for right: its first words for a hidden one, its first captions.

They are the soft targets that ALBEF's student follows beside the label (Li et al. 2021, arXiv
2107.07651, section 3.3 and figure 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minivl.visualize.blanks import BLANK, Guess, write_words
from minivl.visualize.retrieved import pick_examples, spread
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

EDGE, HEAD, SIDE, ROW, WIDTH = 0.15, 0.8, 1.45, 1.85, 8.6
LIST = EDGE + SIDE + 0.2
"""Where the list of targets begins, in inches from the left."""

READ_WORDS = (
    "One word of each caption is hidden. The momentum twin, a running mean of the model, names it "
    "from the picture and the other words; bars are the shares it gives its likeliest words. The "
    "label, the word that stood there, is green, and has a tick where the twin likes it best. A "
    "cross before a caption says that it was spoilt: its word need not be true of the picture. The "
    "student follows label and shares together, so that words that fit as well cost less. Examples "
    "are spread evenly, not chosen by eye."
)
READ_CAPTIONS = (
    "Each picture stands beside the caption that training would read, with a tick or, where it is "
    "spoilt, a cross. Below are the captions that the momentum twin holds for likeliest among all "
    "of the test, with the shares it gives them; green ones are true of the picture. Where a "
    "caption is spoilt the twin may know better: its shares are what the student follows beside "
    "the label. Examples are spread evenly over the test, spoilt captions as often as clean ones "
    "where there are enough."
)


@dataclass(frozen=True)
class Named:
    """A picture whose caption has one word hidden, and the twin's likeliest words for it."""

    image: np.ndarray
    """(h, w, 3) uint8."""
    guess: Guess
    """Its answer is the label."""
    spoilt: bool = False
    """Whether the caption is not the picture's own."""


@styled
def word_targets(found: Sequence[Named], shown: int = 6) -> Picture:
    """Some captions with the twin's words for the hidden one; the headline counts all."""
    first = sum(one.guess.rank == 0 for one in found)
    listed = sum(one.guess.rank < len(one.guess.words) for one in found)
    chosen = [found[i] for i in spread(np.arange(len(found)), shown)]
    headline = f"The label is the twin's first word for {share(first, len(found), 'captions')}"
    detail = f"among the words shown for {share(listed, len(found), 'captions')}"
    figure = drawn(headline, detail, len(chosen))
    for row, one in enumerate(chosen):
        y, guess = HEAD + row * ROW, one.guess
        show_image(place(figure, EDGE, y, SIDE, SIDE), one.image)
        read(figure, y, f"{guess.before} {BLANK} {guess.after}".strip(), spoilt=one.spoilt)
        write_words(figure, guess, y + 0.3, left=LIST)
    told = " ".join(
        f"“{one.guess.before} {BLANK} {one.guess.after}” ({one.guess.answer}): "
        f"{listing(one.guess.words, one.guess.shares)}."
        for one in chosen
    )
    figure.caption = Caption("What the twin reads there", f"{headline}; {told}", READ_WORDS)
    return figure


@styled
def caption_targets(  # noqa: PLR0913  (pictures, their captions, the twin's belief, and how much of it)
    images: np.ndarray,
    said: Sequence[str],
    clean: Sequence[str],
    candidates: Sequence[str],
    shares: np.ndarray,
    *,
    shown: int = 6,
    top: int = 5,
) -> Picture:
    """Some pictures with the caption that training reads, and the twin's likeliest ones.

    images (n, h, w, 3) uint8; said, clean: what training reads beside each, and what is true;
    candidates: m different captions; shares (n, m): how the twin divides its belief about a picture
    among them. Raises ValueError where the numbers differ.
    """
    shares, n = np.asarray(shares, dtype=float), len(images)
    if shares.shape != (n, len(candidates)) or len(said) != n or len(clean) != n:
        raise ValueError(f"{n} pictures need as many captions twice, and shares of candidates")
    order = np.argsort(-shares, axis=1, kind="stable")[:, : min(top, len(candidates))]
    first = [candidates[i] for i in order[:, 0]]
    true = sum(found == own for found, own in zip(first, clean, strict=True))
    spoilt = np.array([one != other for one, other in zip(said, clean, strict=True)], dtype=bool)
    headline = f"The twin's first caption is true for {share(true, n, 'pictures')}"
    bad = share(int(spoilt.sum()), n, "pictures")
    detail = f"the caption that training reads is spoilt for {bad}"
    chosen = pick_examples(~spoilt, shown)
    figure = drawn(headline, detail, len(chosen))
    told = []
    for row, index in enumerate(chosen):
        y = HEAD + row * ROW
        show_image(place(figure, EDGE, y, SIDE, SIDE), images[index])
        read(figure, y, said[index], spoilt=bool(spoilt[index]))
        words = [candidates[i] for i in order[index]]
        rank = words.index(clean[index]) if clean[index] in words else -1
        own = tuple(shares[index, order[index]].tolist())
        shortened = tuple(wrap(word, 54, 1) for word in words)
        guess = Guess("", "", clean[index], shortened, own, rank)
        write_words(figure, guess, y + 0.3, left=LIST)
        told.append(f"“{said[index]}” (true: “{clean[index]}”): {listing(words, own)}")
    alt = f"{headline}; {detail}. {'. '.join(told)}."
    figure.caption = Caption("What the twin finds for pictures", alt, READ_CAPTIONS)
    return figure


def read(figure: Picture, top: float, sentence: str, *, spoilt: bool) -> None:
    """The caption that training reads, a tick before it or a cross. top: inches."""
    mark, colour = ("✗", VERMILLION) if spoilt else ("✓", GREEN)
    write(figure, LIST, top, mark, color=colour, fontweight="bold")
    write(figure, LIST + 0.22, top, wrap(sentence, 74, 1), fontsize=11)


def drawn(headline: str, detail: str, rows: int) -> Picture:
    """A figure with two lines on top and room for so many pictures."""
    figure = Picture(figsize=(WIDTH, HEAD + ROW * rows))
    write(figure, EDGE, 0.12, headline, fontweight="bold", fontsize=12)
    write(figure, EDGE, 0.4, detail, fontsize=10, color=MUTED)
    return figure


def listing(words: Sequence[str], shares: Sequence[float]) -> str:
    """'zoo 41 %, pool 20 %'."""
    return ", ".join(f"{w} {100 * s:.0f} %" for w, s in zip(words, shares, strict=True))
