"""The same things in several arrangements: what a summary of a picture cannot hold, and fusion can.

A sentence says of each thing where it stands; the pictures to choose from hold the same things on
the same photograph, arranged otherwise. That is why ALBEF (Li et al. 2021) fuses before it ranks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minivl.visualize.retrieved import ranking
from minivl.visualize.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    VERMILLION,
    Caption,
    Picture,
    place,
    share,
    show_image,
    styled,
    verdict,
    wrap,
    write,
)

EDGE, HEAD, NAMES, SIDE, GAP = 0.15, 1.24, 1.3, 1.28, 0.3
LINE, ROW, FOOT = 0.25, 2.82, 0.55
STAGES = ("similarity", "fusion")
COLOURS = (BLUE, ORANGE)
OTHERS, EMPTY = "#9aa3ad", "#eceff2"
KINDS = (
    ("Similarity errs, fusion does not", (False, True)),
    ("Both are right", (True, True)),
    ("Similarity is right, fusion errs", (True, False)),
    ("Both err", (False, False)),
)
"""What can happen to a sentence: (right by similarity, right by fusion), the telling ones first."""

HOW_TO_READ = (
    "Each sentence has a row of pictures with the same things on the same photograph; a tick marks "
    "the one it tells of. Similarity compares one summary of a picture with one of the sentence, "
    "made without each other; fusion lets each word look at the picture and says how sure it is "
    "that they belong together. The highest bar of a line is green where it stands under the right "
    "picture, red where not; the others are grey. Shown is the sentence of each kind for which "
    "fusion is as decided as for the median one, none chosen by eye. Below: how often the right "
    "picture comes first among all of a pool, with 95 % intervals. A bag of words tells the "
    "things, and must guess the arrangement."
)
STAGES_TOLD = (
    "similarity: cosine of two summaries, made apart; "
    "fusion: how sure the matching head is of the pair"
)


@styled
def arrangements(
    images: np.ndarray,
    captions: Sequence[Sequence[str]],
    similarity: np.ndarray,
    beliefs: np.ndarray,
    recalls: Mapping[str, tuple[Any, Any]],
    *,
    shown: int = 3,
) -> Picture:
    """Sentences with their pictures, both judgements of each; below them R@1 by both.

    images: (groups, a, h, w, 3) uint8, a arrangements of the same things; captions: a for each
    group; similarity, beliefs: (groups, a pictures, a captions), beliefs from 0 to 1; recalls: name
    of a pool -> the metrics of R@1 by similarity and by fusion, that of rearranged things last.
    Raises ValueError where the numbers differ.
    """
    groups, each = np.shape(images)[:2]  # of things, of arrangements
    judged = [np.asarray(scores, dtype=float) for scores in (similarity, beliefs)]
    fits = all(scores.shape == (groups, each, each) for scores in judged)
    if not fits or [len(row) for row in captions] != [each] * groups:
        raise ValueError(f"{groups} groups of {each} pictures need as many captions and scores")
    right = np.stack([first_is_right(scores) for scores in judged])  # (2, groups x a)
    chosen = examples(right, margins(judged[1]), shown)
    width = EDGE + NAMES + max(each, 4) * (SIDE + GAP)
    foot = HEAD + ROW * len(chosen)
    height = foot + FOOT + (2 * LINE + 0.42) * len(recalls) + 0.35
    figure = Picture(figsize=(width, height))
    lines = [
        f"Right picture of {each} by {stage}: {share(int(hits.sum()), hits.size, 'sentences')}"
        for stage, hits in zip(STAGES, right, strict=True)
    ]
    write(figure, EDGE, 0.12, "The same things, arranged otherwise: which picture is meant?",
          fontweight="bold", fontsize=13)  # fmt: skip
    for number, line in enumerate(lines):
        write(figure, EDGE, 0.42 + 0.22 * number, line, fontsize=10.5, color=MUTED)
    write(figure, EDGE, 0.86, STAGES_TOLD, fontsize=10, color=MUTED)
    told = []
    for row, (kind, number) in enumerate(chosen):
        group, caption = divmod(number, each)
        y, said = HEAD + row * ROW, captions[group][caption]
        counted = share(int(of_kind(right, kind).sum()), right.shape[1], "sentences")
        write(figure, EDGE, y, f"{KINDS[kind][0]}: {counted}", fontweight="bold", fontsize=11)
        write(figure, EDGE, y + 0.25, wrap(f"“{said}”", 92, 2), fontsize=10.5, linespacing=1.15)
        scores = [one[group, :, caption] for one in judged]
        write_pictures(figure, y + 0.68, images[group], caption, scores)
        told.append(f"{KINDS[kind][0]}, for example “{said}”: {bars_told(scores, caption)}")
    write_recalls(figure, foot, recalls, each)
    alt = f"{'. '.join([*lines, *told, *recalls_told(recalls)])}."
    figure.caption = Caption("The same things, arranged otherwise", alt, HOW_TO_READ)
    return figure


def first_is_right(scores: np.ndarray) -> np.ndarray:
    """Whether each sentence's own picture has the highest score of its group, alone.

    (groups, a pictures, a captions) -> (groups x a) bool
    """
    truth = np.broadcast_to(np.eye(scores.shape[1], dtype=bool), scores.shape)
    first = ranking(scores.swapaxes(1, 2), truth)[..., 0]  # (groups, captions)
    return (first == np.arange(scores.shape[1])).ravel()


def of_kind(right: np.ndarray, kind: int) -> np.ndarray:
    """Sentences of one of `KINDS`. (2, n) bool -> (n) bool."""
    return (right == np.array(KINDS[kind][1])[:, None]).all(axis=0)


def margins(scores: np.ndarray) -> np.ndarray:
    """By how much each sentence's own picture leads the best of the others.

    (groups, a pictures, a captions) -> (groups x a)
    """
    own = np.eye(scores.shape[1], dtype=bool)
    others = np.where(own, -np.inf, scores).max(axis=1)
    return (np.diagonal(scores, axis1=1, axis2=2) - others).ravel()


def examples(right: np.ndarray, lead: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Up to `count` kinds that occur, each with the number of its sentence of median lead.

    right (2, n) bool; lead (n).
    """
    found = [(kind, np.flatnonzero(of_kind(right, kind))) for kind in range(len(KINDS))]
    ordered = [(kind, own[np.argsort(lead[own], kind="stable")]) for kind, own in found]
    return [(kind, int(own[len(own) // 2])) for kind, own in ordered if len(own)][:count]


def write_pictures(
    figure: Picture, top: float, images: np.ndarray, true: int, scores: Sequence[np.ndarray]
) -> None:
    """Pictures (a, h, w, 3) side by side, below each its two bars; scores: two of (a,)."""
    for number, image in enumerate(images):
        x = EDGE + NAMES + number * (SIDE + GAP)
        axes = place(figure, x, top, SIDE, SIDE)
        show_image(axes, image)
        if number == true:
            verdict(axes, True)
    for line, (stage, values) in enumerate(zip(STAGES, scores, strict=True)):
        y = top + SIDE + 0.12 + line * LINE
        write(figure, EDGE, y, stage, fontsize=10, color=INK)
        best = int(ranking(values, np.arange(len(values)) == true)[0])
        for number, value in enumerate(values):
            x = EDGE + NAMES + number * (SIDE + GAP)
            colour = OTHERS if number != best else GREEN if best == true else VERMILLION
            bar = place(figure, x, y + 0.01, 0.78, 0.14)
            bar.set(xlim=(0, 1), ylim=(0, 1))
            bar.barh(0.5, 1, height=1, color=EMPTY)
            bar.barh(0.5, max(value, 0.0), height=1, color=colour)
            weight = "bold" if number == best else "normal"
            write(figure, x + SIDE, y, score_text(stage, value), fontsize=10, ha="right",
                  fontweight=weight, color=INK if number == best else MUTED)  # fmt: skip


def score_text(stage: str, value: float) -> str:
    """A cosine with two decimals, a probability in per cent."""
    return f"{value:.2f}" if stage == "similarity" else f"{100 * value:.0f} %"


def bars_told(scores: Sequence[np.ndarray], true: int) -> str:
    """The bars of one sentence in words, its own picture first."""
    order = [true, *(i for i in range(len(scores[0])) if i != true)]
    parts = [
        f"{stage} {', '.join(score_text(stage, values[i]) for i in order)}"
        for stage, values in zip(STAGES, scores, strict=True)
    ]
    return f"{'; '.join(parts)} (own picture first)"


def write_recalls(
    figure: Picture, top: float, recalls: Mapping[str, tuple[Any, Any]], each: int
) -> None:
    """R@1 of each pool by both stages, with intervals."""
    write(figure, EDGE, top, "Right picture first among all of a pool (R@1)", fontweight="bold",
          fontsize=11)  # fmt: skip
    left, width = EDGE + NAMES, 4.2
    y = top + FOOT - 0.2
    for number, (name, metrics) in enumerate(recalls.items()):
        write(figure, EDGE, y, name, fontsize=10.5)
        axes = place(figure, left, y + 0.24, width, 2 * LINE)
        axes.set(xlim=(0, 1), ylim=(2, 0))
        for line, metric in enumerate(metrics):
            axes.barh(line + 0.5, 1, height=0.66, color=EMPTY)
            axes.barh(line + 0.5, metric.value, height=0.66, color=COLOURS[line])
            axes.plot([metric.low, metric.high], [line + 0.5] * 2, color=INK, linewidth=1.8)
            at = y + 0.24 + line * LINE + LINE / 2
            write(figure, EDGE, at, STAGES[line], fontsize=10, va="center")
            write(figure, left + width + 0.12, at, metric_text(metric), fontsize=10, va="center")
        if number == len(recalls) - 1:
            axes.axvline(1 / each, color=INK, linestyle=":", linewidth=1.4)
            note = f"┊ all that a bag of words can reach: {100 / each:.0f} %"
            write(figure, left + width / each, y + 0.24 + 2 * LINE + 0.05, note, fontsize=9.5,
                  color=MUTED)  # fmt: skip
        y += 2 * LINE + 0.42


def metric_text(metric: Any) -> str:
    """'85.9 % [81.1-89.7]'."""
    low, high = 100 * metric.low, 100 * metric.high
    return f"{100 * metric.value:.1f} % [{low:.1f}–{high:.1f}]"


def recalls_told(recalls: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """R@1 in words."""
    return [
        f"R@1 in {name}: "
        + ", ".join(f"{metric_text(m)} by {s}" for s, m in zip(STAGES, metrics, strict=True))
        for name, metrics in recalls.items()
    ]
