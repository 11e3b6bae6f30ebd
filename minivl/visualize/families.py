"""Three ways to bring a picture and a sentence together, side by side."""

import numpy as np
from matplotlib.axes import Axes

from minivl.visualize.diagram import Point, arrow, box, canvas
from minivl.visualize.style import (
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    VERMILLION,
    Caption,
    Picture,
    show_image,
    styled,
    wrap,
    write,
)

WIDTH, HEIGHT, GAP, EDGE, TOP, FOOT = 3.05, 3.98, 0.25, 0.15, 0.72, 0.68
LEFT, RIGHT = 0.78, WIDTH - 0.78
"""Across a panel: the picture's side and the sentence's side."""
ENCODER = (1.3, 0.46)

HOW_TO_READ = (
    "Read from the bottom up. Blue: what happens to the picture. Red: what happens to the "
    "sentence. Green: where both are seen at once. The higher the two meet, the faster is a search "
    "and the less can be asked about both."
)


@styled
def families(image: np.ndarray, sentence: str) -> Picture:
    """Dual encoder, fusion encoder and encoder-decoder, each with this picture and this sentence.

    image: (h, w, 3) uint8.
    """
    panels = (
        ("Dual encoder", "CLIP, ALIGN", dual, "They meet at the end,\nin one number."),
        (
            "Fusion encoder",
            "ViLBERT, ImageBERT",
            fusion,
            "They meet inside:\nwords look at patches.",
        ),
        ("Encoder-decoder", "UniT", decoder, "A task's queries\nread from both."),
    )
    width = 2 * EDGE + len(panels) * WIDTH + (len(panels) - 1) * GAP
    figure = Picture(figsize=(width, TOP + HEIGHT + FOOT))
    for column, (title, models, draw, foot) in enumerate(panels):
        left = EDGE + column * (WIDTH + GAP)
        write(figure, left, 0.13, title, fontsize=13, fontweight="bold")
        write(figure, left, 0.4, models, fontsize=10, color=MUTED)
        axes = canvas(figure, left, TOP, WIDTH, HEIGHT)
        inputs(axes, image, sentence)
        draw(axes)
        write(figure, left + WIDTH / 2, TOP + HEIGHT + 0.17, foot, ha="center", fontsize=10)
    alt = (
        "Three diagrams, read from the bottom up. Dual encoder: picture and sentence pass through "
        "an encoder each and become one vector each; a dot product compares them. Fusion encoder: "
        "patches and words enter one transformer together, and a head answers. Encoder-decoder: "
        "both encoders fill a memory, from which a decoder reads with the queries of a task."
    )
    figure.caption = Caption("Three families of models", alt, HOW_TO_READ)
    return figure


def inputs(axes: Axes, image: np.ndarray, sentence: str) -> None:
    """The picture at the lower left, the sentence at the lower right."""
    side = 0.72
    thumb = axes.inset_axes((LEFT - side / 2, 0, side, side), transform=axes.transData)
    thumb.set(xticks=[], yticks=[])
    thumb.grid(False)
    thumb.spines[:].set_visible(False)
    show_image(thumb, image)
    words = wrap(f"“{sentence}”", 18, 3)
    axes.text(RIGHT, 0.36, words, ha="center", va="center", fontsize=9.5, linespacing=1.2)


def encoders(axes: Axes, bottom: float) -> float:
    """An encoder above each input; returns the height of their upper edges."""
    middle = bottom + ENCODER[1] / 2
    for x, name, colour in ((LEFT, "image encoder", BLUE), (RIGHT, "text encoder", VERMILLION)):
        arrow(axes, [(x, 0.78), (x, bottom)], colour)
        box(axes, (x, middle), ENCODER, name, colour)
    return bottom + ENCODER[1]


def dual(axes: Axes) -> None:
    """Two encoders, two vectors, one dot product."""
    top = encoders(axes, 1.15)
    for x, colour in ((LEFT, BLUE), (RIGHT, VERMILLION)):
        arrow(axes, [(x, top), (x, 2.2)], colour)
        box(axes, (x, 2.4), (1.1, 0.4), "one vector", colour, fontsize=9.5)
        rise(axes, (x, 2.6), (WIDTH / 2 + (x - WIDTH / 2) * 0.35, 3.15), colour)
    box(axes, (WIDTH / 2, 3.37), (1.5, 0.44), "dot product", GREEN)
    result(axes, 3.59, "how similar?")


def fusion(axes: Axes) -> None:
    """Patches and words side by side in one transformer."""
    for x, name, colour in ((LEFT, "patches", BLUE), (RIGHT, "words", VERMILLION)):
        arrow(axes, [(x, 0.78), (x, 1.06)], colour)
        tokens(axes, (x, 1.2), colour)
        axes.text(x, 1.44, name, ha="center", va="center", fontsize=9.5)
        arrow(axes, [(x, 1.58), (x, 1.86)], colour)
    words = "one transformer:\nevery token looks\nat all patches and words"
    box(axes, (WIDTH / 2, 2.4), (2.75, 1.08), words, GREEN)
    arrow(axes, [(WIDTH / 2, 2.94), (WIDTH / 2, 3.15)], GREEN)
    box(axes, (WIDTH / 2, 3.37), (1.5, 0.44), "head", GREEN)
    result(axes, 3.59, "match? answer?")


def decoder(axes: Axes) -> None:
    """Two encoders fill a memory that a decoder reads with a task's queries."""
    top = encoders(axes, 1.0)
    for x, colour in ((LEFT, BLUE), (RIGHT, VERMILLION)):
        arrow(axes, [(x, top), (x, 1.7)], colour)
    box(axes, (WIDTH / 2, 1.9), (2.75, 0.4), "memory: all their tokens", MUTED, fontsize=9.5)
    arrow(axes, [(RIGHT - 0.15, 2.1), (RIGHT - 0.15, 2.42)], MUTED)
    box(axes, (RIGHT - 0.15, 2.66), (1.3, 0.46), "decoder", GREEN)
    box(axes, (0.58, 2.66), (1.0, 0.52), "queries\nof a task", PURPLE, fontsize=9.5)
    arrow(axes, [(1.08, 2.66), (RIGHT - 0.8, 2.66)], PURPLE)
    arrow(axes, [(RIGHT - 0.15, 2.89), (RIGHT - 0.15, 3.15)], GREEN)
    box(axes, (RIGHT - 0.15, 3.37), (1.5, 0.44), "heads of tasks", GREEN)
    result(axes, 3.59, "boxes? answer? class?", RIGHT - 0.35)


def tokens(axes: Axes, centre: Point, colour: str, count: int = 4) -> None:
    """A short row of small squares."""
    for number in range(count):
        x = centre[0] + (number - (count - 1) / 2) * 0.24
        box(axes, (x, centre[1]), (0.18, 0.18), "", colour)


def rise(axes: Axes, start: Point, end: Point, colour: str) -> None:
    """Up, across and up again."""
    middle = (start[1] + end[1]) / 2
    arrow(axes, [start, (start[0], middle), (end[0], middle), end], colour)


def result(axes: Axes, bottom: float, text: str, x: float = WIDTH / 2) -> None:
    """What comes out, above the topmost box."""
    axes.text(x, bottom + 0.14, text, ha="center", va="bottom", fontsize=11, fontweight="bold")
