"""A contact sheet: pictures with their captions, boxes and outlines, to look at data with."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.visualize.style import (
    MUTED,
    ORANGE,
    SKY,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    wrap,
    write,
)

EDGE, GAP, LINE = 0.15, 0.22, 0.185
BOX_COLOURS = (ORANGE, SKY, "#F0E442", "#ff9ed8")


@styled
def contact_sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    *,
    boxes: Sequence[np.ndarray] | None = None,
    masks: Sequence[np.ndarray] | None = None,
    columns: int = 4,
    side: float = 1.9,
) -> Picture:
    """Pictures in rows, each above its caption.

    images: each (h, w, 3) uint8; boxes: for each picture (n, 4) x, y, width, height in pixels;
    masks: for each picture (n, h, w) bool, drawn as outlines; side: inches of a picture.
    """
    columns = max(1, min(columns, len(images)))
    words = [wrap(caption, round(side * 13), 6) for caption in captions]
    figure = Picture(figsize=(2 * EDGE + columns * side + (columns - 1) * GAP, 1))
    rows = [range(first, min(first + columns, len(images)))
            for first in range(0, len(images), columns)]  # fmt: skip
    lines = [max(words[i].count("\n") + 1 for i in row) for row in rows]
    heights = [side + 0.1 + LINE * count + GAP for count in lines]
    figure.set_size_inches(figure.get_figwidth(), EDGE + max(sum(heights), 1))
    for row, top in zip(rows, EDGE + np.cumsum([0.0, *heights]), strict=False):
        for column, i in enumerate(row):
            x = EDGE + column * (side + GAP)
            axes = place(figure, x, top, side, side)
            show_image(axes, images[i])
            draw_boxes(axes, boxes[i] if boxes is not None else ())
            draw_outlines(axes, masks[i] if masks is not None else ())
            write(figure, x, top + side + 0.07, words[i], fontsize=9.5, linespacing=1.15)
    if not len(images):
        write(figure, EDGE, EDGE, "no pictures", color=MUTED)
    alt = f"{len(images)} pictures with their captions: " + "; ".join(captions) + "."
    marked = ("boxes" if boxes is not None else "", "outlines" if masks is not None else "")
    shown = " and ".join(word for word in marked if word)
    text = f"The {shown} are exact: they were drawn with the pictures." if shown else ""
    figure.caption = Caption("Pictures and their captions", alt, text)
    return figure


def draw_boxes(axes: Axes, boxes: np.ndarray) -> None:
    """Rectangles around the pixels of (n, 4) x, y, width, height."""
    for i, (x, y, width, height) in enumerate(boxes):
        # Pixel centres are whole numbers in matplotlib: the box's edge lies half a pixel before.
        for colour, line in (("black", 3.2), (BOX_COLOURS[i % len(BOX_COLOURS)], 1.8)):
            frame = Rectangle((x - 0.5, y - 0.5), width, height, fill=False)
            frame.set(edgecolor=colour, linewidth=line)
            axes.add_patch(frame)


def draw_outlines(axes: Axes, masks: np.ndarray) -> None:
    """The borders of (n, h, w) bool masks."""
    for i, mask in enumerate(masks):
        if np.any(mask) and not np.all(mask):
            colour = BOX_COLOURS[i % len(BOX_COLOURS)]
            for shade, line in (("black", 2.6), (colour, 1.3)):
                axes.contour(np.asarray(mask, dtype=float), [0.5], colors=shade, linewidths=line)
