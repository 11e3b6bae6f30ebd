"""What a second look changes: captions found by similarity, and the same ranked by fusion."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.retrieved import check_shapes, ranking, spread, write_found
from minivl.visualize.style import (
    MUTED,
    Caption,
    Picture,
    place,
    share,
    show_image,
    styled,
    write,
)

EDGE, HEAD, SIDE, LINE = 0.15, 1.0, 1.5, 0.27
STAGES = ("by similarity", "after fusion")

HOW_TO_READ = (
    "Similarity compares a summary of the picture with summaries of all captions. The most similar "
    "captions then go through the fusion encoder, whose matching head ranks them anew; no other "
    "caption can come first. Ticks mark the true one, bars how high each scores in its own stage. "
    "Shown are pictures where the second look mended a mistake, made one, or left it, each kind "
    "in turn, spread evenly over the pool: the headlines say how often each happens."
)


@styled
def before_and_after(  # noqa: PLR0913  (two stages, what they rank, and how much of it is shown)
    similarity: np.ndarray,
    scores: np.ndarray,
    images: np.ndarray,
    captions: Sequence[str],
    relevant: np.ndarray,
    *,
    queries: int = 5,
    top: int = 3,
) -> Picture:
    """For some pictures the first captions by similarity, below them those after re-ranking.

    similarity (n pictures, m captions); scores (n, m), lowest where nothing was scored, as
    `rerank` gives them; images (n, h, w, 3) uint8; relevant (n, m) bool.
    """
    stages = [np.asarray(similarity, dtype=float), np.asarray(scores, dtype=float)]
    truth, n = np.asarray(relevant, dtype=bool), len(images)
    for stage in stages:
        check_shapes(stage, images, captions, truth)
    orders = [ranking(stage, truth) for stage in stages]
    right = [np.take_along_axis(truth, order, 1)[:, 0] for order in orders]
    top = min(top, len(captions))
    chosen = examples(*right, queries)
    row_height = 2 * (top + 1) * LINE + 0.3
    figure = Picture(figsize=(8.6, HEAD + len(chosen) * row_height))
    counts = [share(int(hits.sum()), n, "pictures") for hits in right]
    mended, spoilt = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    lines = [f"First caption right {name}: {c}" for name, c in zip(STAGES, counts, strict=True)]
    detail = f"mended: {mended:,}; made wrong: {spoilt:,}"
    for number, line in enumerate(lines):
        write(figure, EDGE, 0.12 + 0.26 * number, line, fontweight="bold", fontsize=12)
    write(figure, EDGE, 0.66, detail, fontsize=10, color=MUTED)
    told = []
    for row, query in enumerate(chosen):
        y = HEAD + row * row_height
        show_image(place(figure, EDGE, y, SIDE, SIDE), images[query])
        for number, (stage, order) in enumerate(zip(stages, orders, strict=True)):
            x, at = EDGE + SIDE + 0.2, y + number * (top + 1) * LINE
            write(figure, x + 0.4, at, STAGES[number], fontsize=9.5, color=MUTED)
            known = scored(stage[query])
            for rank, found in enumerate(order[query, :top]):
                corner = (x, at + (rank + 1) * LINE)
                write_found(figure, corner, rank, found, known, truth[query], captions)
        first = [captions[order[query, 0]] for order in orders]
        own = captions[int(truth[query].argmax())]
        told.append(f"“{own}”: “{first[0]}” before, “{first[1]}” after")
    alt = f"{'. '.join(lines)}; {detail}. {'. '.join(told)}."
    figure.caption = Caption("Captions before and after the second look", alt, HOW_TO_READ)
    return figure


def scored(scores: np.ndarray) -> np.ndarray:
    """Scores (m,) whose lowest, where no look was taken, is put at the lowest of the others."""
    looked = scores > scores.min()
    return np.maximum(scores, scores[looked].min()) if looked.any() else scores


def examples(before: np.ndarray, after: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` pictures, rising: mended ones, spoilt ones, wrong both times, right both times.

    before, after (n,) bool: was the first caption right? The kinds take turns, in this order; each
    is spread over the pool.
    """
    kinds = [after & ~before, before & ~after, ~before & ~after, before & after]
    queues = [spread(np.flatnonzero(kind), count).tolist() for kind in kinds]
    # Turn by turn, so that the rarer kinds are seen too.
    turns = [queue[turn] for turn in range(count) for queue in queues if turn < len(queue)]
    return np.sort(np.array(turns[:count], dtype=int))
