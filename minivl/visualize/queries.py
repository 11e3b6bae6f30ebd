"""Where a decoder's queries look: each with its box, or the one that answers a question."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from minivl.data.questions import VERDICTS
from minivl.visualize.attention import peak
from minivl.visualize.boxes import EDGE, GAP, WIDTH
from minivl.visualize.found import (
    LINE,
    SURE,
    Example,
    draw_box,
    draw_truth,
    hits,
    key_height,
    panel,
    small,
    surest_first,
    write_key,
)
from minivl.visualize.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    styled,
    wrap,
    write,
)

ABREAST, SHOWN, BLOCKS = 6, 18, 6

QUERIES = (
    "Each small picture is one query of the decoder: bright is where it looks in the last block "
    "(the mean of the heads), the frame is the box that it tells. The surest come first; green "
    "ones have found a thing, orange dashed ones are wrong. A pale frame belongs to a query that "
    "believes more in “nothing” than in any thing: most queries say nothing of any one picture. "
    "The number says how much more the brightest cell gets than an average one. A map is a hint "
    "at what the model used, no proof."
)
QUERIES_KEY = (
    "Bright: where the query looks in the last block (the mean of its heads). Peak: the brightest "
    "cell beside an average one. Frame: the box it tells, and how sure it is of the name. Green: "
    "name and place are right. Orange, dashed: wrong, or found already. White: rather “nothing”. A "
    "map is a hint, no proof."
)
ASKED_KEY = (
    "Bright: where the query that answers looks in a block. Bars: what it reads of the words. Both "
    "are parts of one whole."
)
JUDGED_ALONE = (
    "In brackets: how sure it is. Each answer has a yes or no of its own: those of all answers are "
    "not parts of 100 %."
)
JUDGED_TOGETHER = "In brackets: how sure it is, of 100 % for all answers together."
HIDDEN = (
    "Grey in a picture: a part is hidden; what is said of it cannot be decided, so it is neutral."
)
FIRST_WORD = "Of the words the decoder sees only [CLS], which has heard them all."
MARKS = "[CLS] and [SEP]: the marks at both ends of the words."
HINT = "A map is a hint, no proof."
ASKED = (
    "The first query of a question's task tells the answer. Block by block of the decoder: bright "
    "is where it looks in the picture, the bars are what it reads of the question, all shares of "
    "one whole (the mean of the heads). [CLS] and [SEP] are the marks at the beginning and the "
    "end; they have heard all words. A map is a hint at what the model used, no proof."
)


@styled
def query_attention(example: Example, looks: np.ndarray, *, shown: int = SHOWN) -> Picture:
    """The picture, and a panel a query: its box and where it looks. looks: (q, gh, gw), from 0."""
    image, found, truth = example
    which, order = hits(found, truth), surest_first(found)[:shown]
    side = (WIDTH - 2 * EDGE - ABREAST * 0.1) / (ABREAST + 1)
    tall = 2 * LINE + 0.08 + side * image.shape[0] / image.shape[1] + LINE + 0.2
    rows = max(-(-len(order) // ABREAST), 1)
    least = tall + LINE * len(truth.names)
    below, across = EDGE + max(rows * tall, least), WIDTH - 2 * EDGE
    figure = Picture(figsize=(WIDTH, below + key_height(QUERIES_KEY, across)))
    write_key(figure, EDGE, below, QUERIES_KEY, across)
    write(figure, EDGE, EDGE, "the picture", fontsize=9.5, fontweight="bold")
    draw_truth(figure, EDGE, EDGE + 2 * LINE + 0.05, side, example)
    told = []
    for at, number in enumerate(order):
        x = EDGE + (1 + at % ABREAST) * (side + 0.1)
        y = EDGE + at // ABREAST * tall
        sure, right = found.scores[number] > SURE, which[number] >= 0
        colour = MUTED if not sure else GREEN if right else VERMILLION
        said = f"{'✓' if right else '✗'} {found.names[number]}" if sure else "nothing"
        share = f" {100 * found.scores[number]:.0f} %" if sure else ""
        write(figure, x, y, f"query {number + 1}:{share}" if sure else f"query {number + 1}",
              fontsize=9.5, fontweight="bold")  # fmt: skip
        small(figure, x, y + LINE, said, side, colour)
        axes, under = panel(figure, x, y + 2 * LINE + 0.05, side, image, looks[number])
        if sure:
            draw_box(axes, found.boxes[number], colour, dashed=not right)
        else:
            draw_box(axes, found.boxes[number], "white", dense=0.7)
        note = f"peak {peak(looks[number]):.1f} × mean"
        small(figure, x, under, note, side, MUTED)
        told.append(f"query {number + 1} {said}{share}, {note}")
    alt = f"A picture under the attention of its queries, each with its box: {'; '.join(told)}."
    figure.caption = Caption("What each query looks at", alt, QUERIES)
    return figure


@dataclass(frozen=True)
class Looked:
    """A question, what was answered, and where the query that tells it looked in each block."""

    image: np.ndarray
    """(h, w, 3) uint8."""
    question: str
    words: tuple[str, ...]
    """The t pieces of the question that the decoder sees."""
    answer: str
    share: float
    """How sure it is, 0 to 1."""
    right: tuple[str, ...]
    """Each answer that is right; none where nobody has said."""
    picture: np.ndarray
    """(l, gh, gw): weights of the picture's cells in the l blocks."""
    said: np.ndarray
    """(l, t): weights of the words."""
    soft: bool = False
    """Whether each answer has a yes or no of its own, so that `share` is no part of one whole."""

    @property
    def verdict(self) -> str:
        """'says dog (93 %) ✓'; without a mark where nobody has said what is right."""
        said = f"says {self.answer} ({100 * self.share:.0f} %)"
        if not self.right:
            return said
        hit = self.answer in self.right
        return f"{said} ✓" if hit else f"{said} ✗ true: {' or '.join(self.right)}"


@styled
def asked_where(asked: Sequence[Looked], *, title: str = "Where an answer comes from") -> Picture:
    """Question, answer and picture; block by block what is looked at, and bars for the words."""
    blocks = min(len(asked[0].picture), BLOCKS)
    abreast = 2 if blocks <= 2 else 1
    wide = (WIDTH - 2 * EDGE - (abreast - 1) * GAP) / abreast
    side = min((wide - blocks * 0.08) / (blocks + 1), 1.4)
    rows = [asked[first : first + abreast] for first in range(0, len(asked), abreast)]
    heights = [max(height_of(one, side) for one in row) for row in rows]
    # As wide as what stands above: `show` cuts off the empty place beside a single question.
    key, across = key_of(asked), wide if len(asked) == 1 else WIDTH - 2 * EDGE
    figure = Picture(figsize=(WIDTH, EDGE + sum(heights) + key_height(key, across)))
    write_key(figure, EDGE, EDGE + sum(heights), key, across)
    most = max(float(one.said.max()) for one in asked)
    for row, y in zip(rows, EDGE + np.cumsum([0.0, *heights]), strict=False):
        for number, one in enumerate(row):
            draw_asked(figure, EDGE + number * (wide + GAP), y, wide, side, one, most)
    told = " ".join(
        f"“{one.question}”: {one.verdict}; {', '.join(attention_told(one))}." for one in asked
    )
    alt = f"Questions with pictures under the attention of the query that answers. {told}"
    figure.caption = Caption(title, alt, ASKED)
    return figure


def key_of(asked: Sequence[Looked]) -> str:
    """What the marks of these questions, or claims, mean."""
    words = FIRST_WORD if all(len(one.words) == 1 for one in asked) else MARKS
    sure = JUDGED_ALONE if all(one.soft for one in asked) else JUDGED_TOGETHER
    verdicts = any(answer in VERDICTS for one in asked for answer in (one.answer, *one.right))
    return " ".join([ASKED_KEY, words, sure, *[HIDDEN] * verdicts, HINT])


def height_of(one: Looked, side: float) -> float:
    """Inches of one question."""
    picture = side * one.image.shape[0] / one.image.shape[1]
    return 3 * LINE + 0.2 + picture + 2 * LINE + 0.08 + LINE * len(one.words) + 0.25


def draw_asked(
    figure: Picture, x: float, y: float, wide: float, side: float, one: Looked, most: float
) -> None:
    """One question; `most`: the largest share of a word, whose bar is the longest."""
    write(figure, x, y, f"“{wrap(one.question, round(wide * 10.5), 1)}”", fontweight="bold")
    judged = GREEN if one.answer in one.right else VERMILLION
    colour = judged if one.right else INK
    write(figure, x, y + 0.22, wrap(one.verdict, round(wide * 11), 1), fontsize=10, color=colour)
    top = y + 2 * LINE + 0.2
    height = side * one.image.shape[0] / one.image.shape[1]
    below = top + LINE + height + 0.06
    words = below + 2 * LINE + 0.08
    write(figure, x, top, "the picture", fontsize=9, color=MUTED)
    panel(figure, x, top + LINE, side, one.image)
    axes = word_axes(figure, x, words, side, len(one.words))
    for number, word in enumerate(one.words):
        axes.text(side - 0.04, number, wrap(word, 16, 1), va="center_baseline", fontsize=9,
                  ha="right")  # fmt: skip
    chosen = np.linspace(0, len(one.picture) - 1, min(len(one.picture), BLOCKS)).round().astype(int)
    for column, block in enumerate(chosen, start=1):
        left, seen, read = x + column * (side + 0.08), one.picture[block], one.said[block]
        write(figure, left, top, f"block {block + 1}", fontsize=9, color=MUTED)
        panel(figure, left, top + LINE, side, one.image, seen)
        write(figure, left, below, f"picture {100 * seen.sum():.0f} %", fontsize=9)
        write(figure, left, below + LINE, f"words {100 * read.sum():.0f} %", fontsize=9)
        draw_bars(figure, left, words, side, read, most)


def draw_bars(
    figure: Picture, x: float, y: float, side: float, shares: np.ndarray, most: float
) -> None:
    """A bar a word with its percentage, one below the other."""
    axes = word_axes(figure, x, y, side, len(shares))
    lengths = (side - 0.42) * shares / max(most, 1e-9)
    axes.barh(range(len(shares)), lengths, height=0.62, color=BLUE)
    axes.axvline(0, color=MUTED, linewidth=1)
    for number, (share, length) in enumerate(zip(shares, lengths, strict=True)):
        if share >= 0.005:
            axes.text(length + 0.04, number, f"{100 * share:.0f} %", va="center_baseline",
                      fontsize=8.5)  # fmt: skip


def word_axes(figure: Picture, x: float, y: float, side: float, words: int) -> Axes:
    """Room for a line a word, measured in inches across and in words down."""
    axes = place(figure, x, y, side, LINE * words)
    axes.set(xlim=(0, side), ylim=(words - 0.5, -0.5))
    return axes


def attention_told(one: Looked) -> list[str]:
    """Of each block, how much goes to the picture, and the word that gets most."""
    return [
        f"block {block}: picture {100 * seen.sum():.0f} %, of the words most to "
        f"“{one.words[int(read.argmax())]}” {100 * read.max():.0f} %"
        for block, (seen, read) in enumerate(zip(one.picture, one.said, strict=True), start=1)
    ]
