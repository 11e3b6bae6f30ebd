"""Where each query finds what it finds: the centres of its boxes over many pictures.

Carion et al. 2020 (arXiv 2005.12872), figure 7.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.visualize.found import SURE, Boxes, key_height, write_key
from minivl.visualize.style import (
    BLUE,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    styled,
    write,
)

SIDE, GAP, HEAD, EDGE, ABREAST = 1.35, 0.14, 0.42, 0.15, 6
LARGE = 0.25
"""A box is large from this share of the picture's area on."""

HOW_TO_READ = (
    "A small square a query: the picture's area. Each dot is the centre of a box that this query "
    "told in one of the pictures, where it believed in a thing more than in “nothing”: large boxes "
    "orange (a quarter of the picture's area or more), smaller ones blue. The percentage says in "
    "how many pictures it did."
)


@styled
def query_places(found: Sequence[Boxes], side: int) -> Picture:
    """found: what the same q queries told in many pictures of a side in pixels; q panels."""
    boxes = np.stack([one.boxes for one in found]) / side
    sure = np.stack([one.scores for one in found]) > SURE
    queries = boxes.shape[1]
    rows = -(-queries // ABREAST)
    columns = min(queries, ABREAST)
    width = 2 * EDGE + columns * (SIDE + GAP) - GAP
    width, below = max(width, 5.0), EDGE + rows * (HEAD + SIDE + GAP)
    key = (
        f"Dots: centres of the boxes told in {len(found):,} pictures. Orange: large, a quarter of "
        "the picture's area or more. Blue: smaller. “Speaks in”: the share of pictures where "
        "the query believes in a thing more than in “nothing”."
    )
    figure = Picture(figsize=(width, below + key_height(key, width - 2 * EDGE)))
    told = []
    for number in range(queries):
        x = EDGE + number % ABREAST * (SIDE + GAP)
        y = EDGE + number // ABREAST * (HEAD + SIDE + GAP)
        own = boxes[sure[:, number], number]
        speaks = float(sure[:, number].mean())
        write(figure, x, y, f"query {number + 1}", fontsize=9.5, fontweight="bold")
        write(figure, x, y + 0.19, f"speaks in {100 * speaks:.0f} %", fontsize=9, color=MUTED)
        draw(place(figure, x, y + HEAD, SIDE, SIDE), own)
        told.append(f"query {number + 1} {spoken(own, speaks)}")
    write_key(figure, EDGE, below, key, width - 2 * EDGE)
    alt = f"Where the boxes of each query lie in {len(found):,} pictures: {'; '.join(told)}."
    figure.caption = Caption("A place for each query?", alt, HOW_TO_READ)
    return figure


def draw(axes: Axes, boxes: np.ndarray) -> None:
    """Centres of boxes (n, 4), corners as shares of the picture."""
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#f1f3f5", zorder=0))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    large = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) >= LARGE
    for chosen, colour in ((~large, BLUE), (large, VERMILLION)):
        axes.scatter(*centres[chosen].T, s=7, color=colour, alpha=0.7, linewidth=0)


def spoken(boxes: np.ndarray, speaks: float) -> str:
    """'speaks in 40 %, mostly at 0.25, 0.70 of width and height'."""
    if not len(boxes):
        return "never speaks"
    x, y = np.median((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0)
    return f"speaks in {100 * speaks:.0f} %, its middle at {x:.2f}, {y:.2f}"
