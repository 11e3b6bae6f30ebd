"""The views of multi-crop: what student and teacher see of a picture (DINO, section 3.1)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from minivl.visualize.style import (
    BLUE,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    write,
)

EDGE, GAP, HEAD = 0.15, 0.14, 0.52
WHOLE, LARGE = 1.9, 1.3
"""Inches of a whole picture and of a global crop; local crops are smaller in proportion."""

HOW_TO_READ = (
    "Each row is one picture. Frames in it show where its crops were cut: solid ones global, "
    "dashed ones local. Crops are mirrored, recoloured and blurred at random, and shown in "
    "proportion to the pixels that the encoder gets."
)


@styled
def crop_sheet(
    images: np.ndarray,
    global_crops: Tensor,
    local_crops: Tensor,
    global_boxes: Tensor,
    local_boxes: Tensor,
) -> Picture:
    """A row a picture: the picture with its frames, its global crops, its local crops.

    images uint8 (n, h, w, 3); crops (n, v, 3, size, size) in [-1, 1]; boxes (n, v, 4): top, left,
    height, width in pixels of the picture (`data.crops.crop_boxes`).
    """
    large, small = global_crops.shape[1], local_crops.shape[1]
    side = LARGE * local_crops.shape[-1] / global_crops.shape[-1]
    first, second = EDGE + WHOLE + GAP, EDGE + WHOLE + 2 * GAP + large * (LARGE + GAP)
    width = second + small * (side + GAP) + EDGE
    row = WHOLE + GAP
    figure = Picture(figsize=(width, EDGE + HEAD + len(images) * row))
    titles = ((EDGE, "the picture", ""), (first, "global crops", "student and teacher"),
              (second, "local crops", "student only"))  # fmt: skip
    for left, title, detail in titles:
        write(figure, left, EDGE, title, fontsize=10.5, fontweight="bold")
        write(figure, left, EDGE + 0.21, detail, fontsize=9.5, color=MUTED)
    for i, image in enumerate(images):
        top = EDGE + HEAD + i * row
        axes = place(figure, EDGE, top, WHOLE, WHOLE)
        show_image(axes, image)
        _frames(axes, global_boxes[i], BLUE, "-")
        _frames(axes, local_boxes[i], VERMILLION, (0, (3, 1.5)))
        for left, crops, inches in (
            (first, global_crops[i], LARGE),
            (second, local_crops[i], side),
        ):
            for number, crop in enumerate(crops):
                down = top + (WHOLE - inches) / 2
                at = place(figure, left + number * (inches + GAP), down, inches, inches)
                show_image(at, pixels(crop))
    figure.caption = Caption(
        "Crops of a picture",
        f"{len(images)} pictures, each with the frames of {large} global and {small} local crops "
        "in it, and beside it the crops: the same thing, cut, mirrored and coloured differently.",
        HOW_TO_READ,
    )
    return figure


def pixels(crop: Tensor) -> np.ndarray:
    """A crop (3, h, w) in [-1, 1] as a picture uint8 (h, w, 3)."""
    return ((crop.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def _frames(axes: Axes, boxes: Tensor, colour: str, line: object) -> None:
    for top, left, height, width in boxes.tolist():
        # Pixel centres are whole numbers in matplotlib: an edge lies half a pixel before.
        frame = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, clip_on=False)
        frame.set(edgecolor=colour, linewidth=1.8, linestyle=line)
        axes.add_patch(frame)
