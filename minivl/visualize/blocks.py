"""A transformer block as a highway with two branches: norms inside the branches, or on the way."""

from matplotlib.axes import Axes

from minivl.visualize.diagram import arrow, box, canvas, sign
from minivl.visualize.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    styled,
    write,
)

WIDTH, HEIGHT, GAP, EDGE, TOP, FOOT = 3.6, 4.5, 0.5, 0.2, 0.75, 0.35
ROAD, BRANCH = 0.75, 2.35
"""Across a panel: the highway, and the branches beside it."""
STEP = 2.0
"""Inches from one branch to the next."""

HOW_TO_READ = (
    "Read from the bottom up. The thick line carries each token's vector; each branch reads it, "
    "computes something, and adds it back. On the left no norm touches the thick line. On the "
    "right every sum is normalised before it goes on."
)


@styled
def block_orders() -> Picture:
    """The pre-norm block of ViT beside the post-norm block of BERT."""
    panels = (
        ("Pre-norm", "ViT, FLAVA", pre_norm, "x + f(norm(x))"),
        ("Post-norm", "the first transformer, BERT", post_norm, "norm(x + f(x))"),
    )
    width = 2 * EDGE + len(panels) * WIDTH + (len(panels) - 1) * GAP
    figure = Picture(figsize=(width, TOP + HEIGHT + FOOT))
    for column, (title, models, draw, formula) in enumerate(panels):
        left = EDGE + column * (WIDTH + GAP)
        write(figure, left, 0.14, title, fontsize=13, fontweight="bold")
        write(figure, left, 0.42, models, fontsize=10, color=MUTED)
        axes = canvas(figure, left, TOP, WIDTH, HEIGHT)
        axes.text(ROAD, 0.02, "x", ha="center", va="bottom", fontsize=12, fontweight="bold")
        axes.text(ROAD, 4.48, "out", ha="center", va="top", fontsize=12, fontweight="bold")
        for bottom, layer, number, colour in ((0.3, "attention", 1, BLUE),
                                              (0.3 + STEP, "mlp", 2, VERMILLION)):  # fmt: skip
            draw(axes, bottom, layer, number, colour)
        axes.text(ROAD - 0.2, 0.3 + STEP, "y", ha="right", va="center", fontsize=12)
        write(figure, left + WIDTH / 2, TOP + HEIGHT + 0.06, formula, ha="center", fontsize=11)
    alt = (
        "Two diagrams of a transformer block, read from the bottom up. A thick line leads from x "
        "to out; the attention branch and then the mlp branch leave it and are added back. "
        "Pre-norm: each branch begins with its norm, the line has none. Post-norm: the branches "
        "have none, and the line passes through a norm after each sum."
    )
    figure.caption = Caption("Two orders of a transformer block", alt, HOW_TO_READ)
    return figure


def pre_norm(axes: Axes, bottom: float, layer: str, number: int, colour: str) -> None:
    """A branch of norm and layer beside an open road."""
    top = bottom + STEP - 0.3
    road(axes, bottom, bottom + STEP)
    arrow(axes, [(ROAD, bottom + 0.25), (BRANCH, bottom + 0.25), (BRANCH, bottom + 0.45)], colour)
    box(axes, (BRANCH, bottom + 0.63), (1.3, 0.36), f"norm{number}", GREEN)
    arrow(axes, [(BRANCH, bottom + 0.81), (BRANCH, bottom + 1.05)], colour)
    box(axes, (BRANCH, bottom + 1.23), (1.3, 0.36), layer, colour)
    arrow(axes, [(BRANCH, bottom + 1.41), (BRANCH, top), (ROAD + 0.11, top)], colour)
    sign(axes, (ROAD, top), "+")


def post_norm(axes: Axes, bottom: float, layer: str, number: int, colour: str) -> None:
    """A branch of the layer alone; the norm stands on the road behind the sum."""
    top = bottom + 1.2
    road(axes, bottom, bottom + STEP)
    arrow(axes, [(ROAD, bottom + 0.25), (BRANCH, bottom + 0.25), (BRANCH, bottom + 0.52)], colour)
    box(axes, (BRANCH, bottom + 0.7), (1.3, 0.36), layer, colour)
    arrow(axes, [(BRANCH, bottom + 0.88), (BRANCH, top), (ROAD + 0.11, top)], colour)
    sign(axes, (ROAD, top), "+")
    box(axes, (ROAD, bottom + 1.62), (1.0, 0.36), f"norm{number}", GREEN)


def road(axes: Axes, bottom: float, top: float) -> None:
    """A piece of the thick line."""
    axes.plot([ROAD, ROAD], [bottom, top], color=INK, linewidth=4, zorder=0)
