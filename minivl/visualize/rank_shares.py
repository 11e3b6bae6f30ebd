"""Which cells of the joint similarity matrix each of several processes computes.

Local loss: own pictures against own sentences. Global loss (FLAVA: Singh et al. 2022, arXiv
2112.04482): own pictures against the sentences of all, own sentences against the pictures of all.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.visualize.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    Caption,
    Picture,
    place,
    styled,
    write,
)

HOW_TO_READ = (
    "Rows are the pictures of the joint batch, columns its sentences. Full colour: compared as "
    "picture → sentence; hatched: as sentence → picture; grey: never seen. Frames are the true "
    "pairs, and the numbers in them the labels of the rows."
)
CELL, GAP, EDGE, TOP, FOOT = 0.42, 0.5, 0.62, 0.66, 0.48
COLOURS = (BLUE, ORANGE)
UNSEEN = "#eceff2"
LOCAL = "two, local loss"


@styled
def rank_shares(rows: int = 2) -> Picture:
    """The joint matrix of two processes with `rows` pairs each: one process, local, and global."""
    n = 2 * rows
    side = n * CELL
    figure = Picture(figsize=(EDGE + 4 * side + 3 * GAP + 0.2, TOP + side + FOOT))
    panels = (
        ("one process", "the whole batch", whole(n)),
        (LOCAL, "own × own only", local(rows)),
        ("global loss, rank 0", "own × all", share(rows, 0)),
        ("global loss, rank 1", "own × all", share(rows, 1)),
    )
    for number, (title, detail, owners) in enumerate(panels):
        left = EDGE + number * (side + GAP)
        write(figure, left, 0.12, title, fontweight="bold", fontsize=11)
        write(figure, left, 0.35, detail, fontsize=10, color=MUTED)
        axes = place(figure, left, TOP, side, side)
        draw(axes, owners)
        # With a local loss each process counts its own sentences from 0.
        labels = [i % rows if title == LOCAL else i for i in range(n) if owners[i, i, 0] >= 0]
        pairs = [i for i in range(n) if owners[i, i, 0] >= 0]
        for i, label in zip(pairs, labels, strict=True):
            frame(axes, i, label)
        note = f"labels {', '.join(map(str, labels))}"
        write(figure, left + side / 2, TOP + side + 0.14, note, ha="center", fontsize=9.5)
    for rank in range(2):
        middle = TOP + (rank + 0.5) * rows * CELL
        write(figure, EDGE - 0.1, middle, f"rank {rank}", ha="right", va="center", fontsize=9.5,
              color=COLOURS[rank])  # fmt: skip
    alt = (
        f"Four matrices of {n} pictures by {n} sentences. One process compares all. With a local "
        "loss two processes compare only the two blocks on the diagonal. With the global loss "
        f"rank 0 compares its {rows} rows and columns with everything, its labels start at 0; "
        f"rank 1 does the same with the other {rows}, and its labels start at {rows}."
    )
    figure.caption = Caption("Who compares what", alt, HOW_TO_READ)
    return figure


def whole(n: int) -> np.ndarray:
    """Owner of each cell, (n, n, 2): [..., 0] picture -> sentence, [..., 1] sentence -> picture.

    -1: nobody.
    """
    return np.zeros((n, n, 2), dtype=int)


def local(rows: int) -> np.ndarray:
    """Each of two processes owns its block on the diagonal; as `whole`."""
    owners = np.full((2 * rows, 2 * rows, 2), -1)
    for rank in range(2):
        own = slice(rank * rows, (rank + 1) * rows)
        owners[own, own] = rank
    return owners


def share(rows: int, rank: int) -> np.ndarray:
    """One process of two owns its rows and its columns; as `whole`."""
    owners = np.full((2 * rows, 2 * rows, 2), -1)
    own = slice(rank * rows, (rank + 1) * rows)
    owners[own, :, 0] = rank
    owners[:, own, 1] = rank
    return owners


def draw(axes: Axes, owners: np.ndarray) -> None:
    """Colour each cell by its owner: full for rows, hatched for columns only, grey for nobody."""
    n = len(owners)
    axes.set(xlim=(0, n), ylim=(n, 0))
    for row, column in np.ndindex(n, n):
        across, down = owners[row, column]
        cell = Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, facecolor=UNSEEN, linewidth=0)
        if across >= 0:
            cell.set(facecolor=COLOURS[across], alpha=0.6)
        elif down >= 0:
            cell.set(facecolor="white", edgecolor=COLOURS[down], hatch="////")
        axes.add_patch(cell)


def frame(axes: Axes, pair: int, label: int) -> None:
    """A true pair, number `pair` of the joint batch, with its label."""
    edge = Rectangle((pair + 0.08, pair + 0.08), 0.84, 0.84, fill=False)
    edge.set(edgecolor=INK, linewidth=1.6)
    axes.add_patch(edge)
    axes.text(pair + 0.5, pair + 0.53, str(label), ha="center", va="center", fontsize=10,
              fontweight="bold")  # fmt: skip
