"""The border of chosen cells of a grid, drawn on a picture."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from minivl.visualize.style import ORANGE


def outline(axes: Axes, kept: np.ndarray, color: str = ORANGE) -> None:
    """Draw the border of the kept cells (gh, gw) on axes that show a picture."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()  # y runs down: y0 is the lower edge
    columns, rows = (x1 - x0) / kept.shape[1], (y0 - y1) / kept.shape[0]
    lines = [[(x0 + columns * x, y1 + rows * y) for y, x in edge] for edge in cell_edges(kept)]
    axes.add_collection(LineCollection(lines, colors=color, linewidths=1.4, clip_on=False))
    axes.set(xlim=(x0, x1), ylim=(y0, y1))


def cell_edges(kept: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The edges between kept cells and others, or the outside: pairs of (row, column) corners."""
    padded = np.pad(kept.astype(bool), 1)
    across = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])  # horizontal edges
    down = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    return [((y, x), (y, x + 1)) for y, x in across.tolist()] + [
        ((y, x), (y + 1, x)) for y, x in down.tolist()
    ]
