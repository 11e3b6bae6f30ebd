"""Boxes and arrows: what architecture diagrams are drawn with, measured in inches."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from minivl.visualize.style import INK, MUTED, place

Point = tuple[float, float]


def canvas(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Bare axes whose units are inches, the origin at their lower left corner."""
    axes = place(figure, left, top, width, height)
    axes.set(xlim=(0, width), ylim=(0, height))
    return axes


def pale(colour: str, strength: float = 0.18) -> tuple[float, ...]:
    """The colour thinned with white: ink stays readable on it."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def box(axes: Axes, centre: Point, size: Point, text: str, colour: str, **font: float) -> None:
    """A rounded box of this width and height with words in its middle."""
    (x, y), (width, height) = centre, size
    round_corner = "round,pad=0,rounding_size=0.07"
    patch = FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=round_corner)
    patch.set(facecolor=pale(colour), edgecolor=colour, linewidth=1.4)
    axes.add_patch(patch)
    options = {"fontsize": 10, "linespacing": 1.2} | font
    axes.text(x, y, text, ha="center", va="center", **options)


def arrow(axes: Axes, points: Sequence[Point], colour: str = MUTED) -> None:
    """A line through the points with a head at the last one."""
    for start, end in zip(points[:-2], points[1:-1], strict=True):
        axes.plot(*zip(start, end, strict=True), color=colour, linewidth=1.5,
                  solid_capstyle="round")  # fmt: skip
    look = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 1}
    head = FancyArrowPatch(points[-2], points[-1], color=colour, linewidth=1.5, **look)
    axes.add_patch(head)


def sign(axes: Axes, centre: Point, text: str, radius: float = 0.14) -> None:
    """A small circle with a sign in it, for a sum or a product."""
    round_box = {"boxstyle": f"circle,pad={radius}", "facecolor": "white", "edgecolor": INK}
    axes.text(*centre, text, ha="center", va="center", fontsize=11, bbox=round_box, zorder=4)
