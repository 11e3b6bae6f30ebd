"""What a search finds: pictures for captions and captions for pictures, right and wrong ones."""

from collections.abc import Sequence

import numpy as np

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
    verdict,
    wrap,
    write,
)

HOW_TO_READ = (
    "Green frames and ticks mark true partners, red dashed frames and crosses all others. "
    "Mistakes are shown as often as successes where there are enough of them, so that they can "
    "be studied: the headline says how rare they really are. Examples are spread evenly over the "
    "pool, not chosen by eye."
)
EDGE, HEAD = 0.15, 0.75


def ranking(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Candidates of each query, best first. (q, c), (q, c) bool -> (q, c) int.

    At equal similarity the wrong ones come first: a tie is never a success.
    """
    return np.lexsort((np.asarray(relevant), -np.asarray(similarity, dtype=float)), axis=-1)


def pick_examples(right: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` queries, half right and half wrong, each half spread evenly over the pool.

    Where one half has too few, the other fills up. (q,) bool -> at most (count,) int, rising.
    """
    hits, misses = np.flatnonzero(right), np.flatnonzero(~np.asarray(right))
    wrong = min(len(misses), max(count // 2, count - len(hits)))
    return np.sort(np.concatenate([spread(hits, count - wrong), spread(misses, wrong)]))


def spread(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the values, at even distances."""
    count = min(count, len(values))
    return values[np.arange(count) * len(values) // max(count, 1)]


@styled
def retrieved_pictures(
    similarity: np.ndarray,
    images: np.ndarray,
    captions: Sequence[str],
    relevant: np.ndarray,
    *,
    queries: int = 6,
    top: int = 5,
) -> Picture:
    """For some captions the pictures closest to each, and the true one where it is not among them.

    similarity: (n, m), picture i and caption j at [i, j]; images: (n, h, w, 3) uint8;
    captions: m; relevant: (n, m) bool, which belong together.
    """
    check_shapes(similarity, images, captions, relevant)
    scores, truth = np.asarray(similarity).T, np.asarray(relevant, dtype=bool).T
    order = ranking(scores, truth)
    right = np.take_along_axis(truth, order, 1)[:, 0]
    shown = pick_examples(right, queries)
    top = min(top, len(images))
    # The best placed of its true partners is what R@k looks for.
    ranks = np.take_along_axis(truth, order, 1).argmax(1)
    outside = truth.any(1) & (ranks >= top)
    thumb, row_height = 1.12, 1.68
    true_at = EDGE + top * (thumb + 0.1) + 0.25
    width = true_at + thumb + EDGE if outside[shown].any() else true_at
    figure = Picture(figsize=(max(width, 7.2), HEAD + len(shown) * row_height + 0.05))
    for row, query in enumerate(shown):
        y = HEAD + row * row_height
        colour, mark = (GREEN, "✓") if right[query] else (VERMILLION, "✗")
        write(figure, EDGE, y, mark, color=colour, fontweight="bold")
        write(figure, EDGE + 0.22, y, f"“{wrap(captions[query], 72, 1)}”")
        for place_in_row, found in enumerate(order[query, :top]):
            x = EDGE + place_in_row * (thumb + 0.1)
            axes = place(figure, x, y + 0.26, thumb, thumb)
            show_image(axes, images[found])
            verdict(axes, bool(truth[query, found]))
        if outside[query]:
            axes = place(figure, true_at, y + 0.26, thumb, thumb)
            show_image(axes, images[order[query, ranks[query]]])
            verdict(axes, True)
            write(figure, true_at, y, f"true: place {ranks[query] + 1:,}", fontsize=10, color=MUTED)
    words = ("picture", "captions")
    alt = head(figure, right, shown, words)
    figure.caption = Caption("Pictures found for captions", alt, HOW_TO_READ)
    return figure


@styled
def retrieved_captions(
    similarity: np.ndarray,
    images: np.ndarray,
    captions: Sequence[str],
    relevant: np.ndarray,
    *,
    queries: int = 6,
    top: int = 5,
) -> Picture:
    """For some pictures the captions closest to each, with their similarity as a bar.

    Arguments as in `retrieved_pictures`.
    """
    check_shapes(similarity, images, captions, relevant)
    scores, truth = np.asarray(similarity, dtype=float), np.asarray(relevant, dtype=bool)
    order = ranking(scores, truth)
    hits = np.take_along_axis(truth, order, 1)
    shown = pick_examples(hits[:, 0], queries)
    top = min(top, len(captions))
    line, thumb, width = 0.27, 1.5, 8.6
    row_height = max(thumb, line * (top + 1)) + 0.25
    figure = Picture(figsize=(width, HEAD + len(shown) * row_height))
    for row, query in enumerate(shown):
        y = HEAD + row * row_height
        show_image(place(figure, EDGE, y, thumb, thumb), images[query])
        ranks = list(range(top))
        first = int(hits[query].argmax())
        if truth[query].any() and first >= top:
            ranks.append(first)
        for i, rank in enumerate(ranks):
            write_found(figure, (EDGE + thumb + 0.2, y + i * line), rank, order[query, rank],
                        scores[query], truth[query], captions)  # fmt: skip
    alt = head(figure, hits[:, 0], shown, ("caption", "pictures"))
    figure.caption = Caption("Captions found for pictures", alt, HOW_TO_READ)
    return figure


def write_found(
    figure: Picture,
    corner: tuple[float, float],
    rank: int,
    found: int,
    scores: np.ndarray,
    truth: np.ndarray,
    captions: Sequence[str],
) -> None:
    """One line: rank, verdict, a bar as long as the caption is close, and the caption.

    scores, truth: (m,), of every caption for this picture.
    """
    x, y = corner
    colour, mark = (GREEN, "✓") if truth[found] else (VERMILLION, "✗")
    write(figure, x + 0.32, y, f"{rank + 1:,}.", fontsize=10, color=MUTED, ha="right")
    write(figure, x + 0.4, y, mark, fontsize=10, color=colour, fontweight="bold")
    # From the farthest caption of the pool to the closest: raw similarities differ by little.
    length = (scores[found] - scores.min()) / max(float(np.ptp(scores)), 1e-12)
    bar = place(figure, x + 0.62, y, 0.6, 0.12)
    bar.set(xlim=(0, 1), ylim=(0, 1))
    bar.barh(0.5, 1, height=1, color="#eceff2")
    bar.barh(0.5, length, height=1, color=colour)
    weight = "bold" if truth[found] else "normal"
    write(figure, x + 1.32, y, wrap(captions[found], 58, 1), fontsize=10, fontweight=weight)


def head(figure: Picture, right: np.ndarray, shown: np.ndarray, words: tuple[str, str]) -> str:
    """Write how often the first one found is wrong and what is shown; the same as a sentence."""
    found, queries = words
    wrong = int((~right).sum())
    good = int(right[shown].sum())
    headline = f"The {found} found first is wrong for {share(wrong, len(right), queries)}"
    detail = f"shown: {good} right, {len(shown) - good} wrong; best match first"
    write(figure, EDGE, 0.12, headline, fontweight="bold", fontsize=12)
    write(figure, EDGE, 0.4, detail, fontsize=10, color=MUTED)
    return f"{headline}; {detail}."


def check_shapes(similarity: np.ndarray, images: np.ndarray, captions: Sequence[str],
                 relevant: np.ndarray) -> None:  # fmt: skip
    """Raise ValueError unless similarity and relevant are (n pictures, m captions)."""
    expected = (len(images), len(captions))
    if np.shape(similarity) != expected or np.shape(relevant) != expected:
        raise ValueError(
            f"{expected[0]} pictures and {expected[1]} captions, but similarity is "
            f"{np.shape(similarity)} and relevant {np.shape(relevant)}"
        )
