"""Where a box would go to overlap better: measures of overlap as what pulls it.

The measure of a far box is flat for IoU and not for its generalised form (Rezatofighi et al. 2019,
arXiv 1902.09630, figure 1).
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from minivl.visualize.found import key_height, write_key
from minivl.visualize.style import (
    BLUE,
    GREEN,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    styled,
    write,
)

Measure = Callable[[Tensor, Tensor], Tensor]
"""Boxes as corners (n, 4) and (m, 4) -> (n, m)."""

SIDE, GAP, EDGE, HEAD = 4.2, 0.5, 0.15, 0.6
REACH, COUNT = 3.0, 11
"""Centres are from -REACH to REACH; so many in a row."""
TRUE = (-0.8, -0.6, 0.8, 0.6)
STILL = 1e-9

KEY = (
    "Green: the true box. Dashed: how large a guess is. Arrows: which way a step moves its "
    "centre; their lengths, all alike, say nothing. Dots: a step moves it nowhere."
)
HOW_TO_READ = (
    "The green box is true. At each place a dashed box of the size shown in the corner is guessed; "
    "the arrow is where a step against the loss would move its centre, all arrows of one length. A "
    "dot: it would stay where it is, for a step to either side changes nothing."
)


def pull(measure: Measure, centres: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """How the measure grows with the centre of a box: centres (n, 2) -> (n, 2)."""
    middle = torch.tensor(centres, dtype=torch.float64, requires_grad=True)
    half = torch.tensor(size, dtype=torch.float64) / 2
    boxes = torch.cat([middle - half, middle + half], dim=1)
    overlap = measure(boxes, torch.tensor([TRUE], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(overlap.sum(), middle)
    return gradient.numpy()


@styled
def pulls(measures: Mapping[str, Measure], size: tuple[float, float] = (1.0, 0.8)) -> Picture:
    """A panel a measure: which way a guessed box is pulled, from places all around the true one."""
    steps = np.linspace(-REACH, REACH, COUNT)
    centres = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    width = 2 * EDGE + len(measures) * SIDE + (len(measures) - 1) * GAP
    below, across = HEAD + SIDE + 0.12, width - 2 * EDGE
    figure = Picture(figsize=(width, below + key_height(KEY, across)))
    told = []
    for number, (name, measure) in enumerate(measures.items()):
        left = EDGE + number * (SIDE + GAP)
        arrows = pull(measure, centres, size)
        still = int((np.linalg.norm(arrows, axis=1) < STILL).sum())
        words = f"{still} of {len(centres)} boxes are not pulled at all"
        write(figure, left, 0.08, name, fontweight="bold", fontsize=11.5)
        write(figure, left, 0.32, words, fontsize=9.5, color=MUTED)
        draw(place(figure, left, HEAD, SIDE, SIDE), centres, arrows, size)
        told.append(f"{name}: {words}")
    write_key(figure, EDGE, below, KEY, across)
    alt = (
        f"Arrows at places around a true box show where a guessed box is pulled. {'; '.join(told)}."
    )
    figure.caption = Caption("What pulls a box", alt, HOW_TO_READ)
    return figure


def draw(axes: Axes, centres: np.ndarray, arrows: np.ndarray, size: tuple[float, float]) -> None:
    """The true box, a guess in the corner, and an arrow or a dot at each centre."""
    edge = REACH + 0.65
    axes.set(xlim=(-edge, edge), ylim=(edge, -edge), aspect="equal")
    axes.set_facecolor("#f6f7f8")
    x0, y0, x1, y1 = TRUE
    true = Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=GREEN, alpha=0.35, edgecolor=GREEN)
    true.set_linewidth(2)
    axes.add_patch(true)
    corner = centres[0] - np.array(size) / 2
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BLUE, linestyle="--"))
    lengths = np.linalg.norm(arrows, axis=1)
    moving = lengths >= STILL
    steps = 0.42 * arrows[moving] / lengths[moving, None]
    axes.quiver(*centres[moving].T, *steps.T, angles="xy", scale_units="xy", scale=1, color=BLUE,
                width=0.006, zorder=3)  # fmt: skip
    axes.scatter(*centres[~moving].T, s=14, color=VERMILLION, zorder=3)
