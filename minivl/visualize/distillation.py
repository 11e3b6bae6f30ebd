"""Self-distillation as a diagram: what flows forward, what learns, what only follows (DINO)."""

from minivl.visualize.diagram import arrow, box, canvas
from minivl.visualize.style import (
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    VERMILLION,
    Caption,
    Picture,
    styled,
)

WIDTH, HEIGHT, EDGE = 9.4, 3.1, 0.15
ABOVE, BELOW = 2.45, 0.75
"""Where the student's row and the teacher's row lie."""
COLUMNS = (0.95, 3.25, 5.75, 8.45)
TALL = 0.8

HOW_TO_READ = (
    "Read from left to right. Only the student learns by gradient: it flows back from the loss "
    "along the upper row, and stops at the double line. The teacher follows the student's weights "
    "as their running mean."
)


@styled
def distillation() -> Picture:
    """Student and teacher, from the crops to the loss."""
    figure = Picture(figsize=(WIDTH + 2 * EDGE, HEIGHT + 2 * EDGE))
    axes = canvas(figure, EDGE, EDGE, WIDTH, HEIGHT)
    crops, network, spread, end = COLUMNS
    middle = (ABOVE + BELOW) / 2
    for y, words in ((ABOVE, "all crops"), (BELOW, "global crops\nonly")):
        box(axes, (crops, y), (1.5, TALL), words, MUTED)
        arrow(axes, [(crops + 0.75, y), (network - 0.85, y)])
        arrow(axes, [(network + 0.85, y), (spread - 1.05, y)])
    box(axes, (network, ABOVE), (1.7, TALL), "student\nencoder and head", BLUE)
    box(axes, (network, BELOW), (1.7, TALL), "teacher\nencoder and head", VERMILLION)
    box(axes, (spread, ABOVE), (2.1, TALL), "temperature,\nsoftmax", BLUE)
    box(axes, (spread, BELOW), (2.1, TALL), "minus centre,\nlow temperature, softmax", VERMILLION,
        fontsize=9.5)  # fmt: skip
    box(axes, (end, middle), (1.5, TALL), "loss: do\nthey agree?", GREEN)
    corner = end - 0.2
    arrow(axes, [(spread + 1.05, ABOVE), (corner, ABOVE), (corner, middle + TALL / 2)], BLUE)
    arrow(axes, [(spread + 1.05, BELOW), (corner, BELOW), (corner, middle - TALL / 2)], VERMILLION)
    for shift in (0.3, 0.38):
        x = spread + 1.05 + shift
        axes.plot([x, x], [BELOW - 0.17, BELOW + 0.17], color=VERMILLION, linewidth=2)
    axes.text(spread + 1.05, BELOW - 0.45, "no gradient", fontsize=9.5, color=MUTED, va="center")
    arrow(axes, [(network, ABOVE - TALL / 2), (network, BELOW + TALL / 2)], PURPLE)
    axes.text(network + 0.12, middle, "running mean", fontsize=9.5, color=MUTED, va="center")
    alt = (
        "A diagram of two rows that meet in the loss. Above: all crops go through the student, a "
        "temperature and a softmax. Below: only the global crops go through the teacher; the "
        "centre is subtracted, a low temperature and a softmax follow, and no gradient passes. An "
        "arrow leads from the student down to the teacher: running mean."
    )
    figure.caption = Caption("Self-distillation", alt, HOW_TO_READ)
    return figure
