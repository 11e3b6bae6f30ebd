"""What is to be found in a few pictures: numbered boxes, and what is in them."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.found import LINE, Boxes, Example, draw_truth
from minivl.visualize.style import Caption, Picture, styled

EDGE, GAP, WIDTH = 0.15, 0.2, 9.2


@styled
def to_find(images: Sequence[np.ndarray], truths: Sequence[Boxes]) -> Picture:
    """Pictures uint8 (h, w, 3) in a row, each with the boxes and the names of its things."""
    side = (WIDTH - 2 * EDGE - (len(images) - 1) * GAP) / len(images)
    lines = max(len(one.names) for one in truths)
    tall = side * max(image.shape[0] / image.shape[1] for image in images)
    figure = Picture(figsize=(WIDTH, EDGE + tall + 0.1 + LINE * lines + EDGE))
    for number, (image, truth) in enumerate(zip(images, truths, strict=True)):
        draw_truth(figure, EDGE + number * (side + GAP), EDGE, side, Example(image, truth, truth))
    told = "; ".join(
        f"picture {number}: {', '.join(map(truth.called, range(len(truth.names)))) or 'nothing'}"
        for number, truth in enumerate(truths, start=1)
    )
    alt = f"Pictures with a numbered box around each thing, its name below. {told}."
    figure.caption = Caption("What is to be found", alt, "White boxes are true.")
    return figure
