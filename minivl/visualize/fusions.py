"""Three ways to let a picture and a sentence meet: who hears of whom, and what it costs.

Nothing here is drawn from a description. `hears` asks the module itself, by its gradient, and
`work` counts what its layers compute.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from minivl.nn.attention import Attention
from minivl.visualize.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    Caption,
    Picture,
    place,
    styled,
    write,
)

Fuse = Callable[[Tensor, Tensor], Tensor]
"""image (b, n, width), text (b, t, width) -> all tokens that come out (b, m, width).

m is n + t, or 1 + n + t where the fusion brings a class token of its own, which stands first. A
side that the fusion leaves as it was comes out as it went in.
"""

CELL, EDGE, GAP, TOP, SIDE, FOOT = 0.2, 0.6, 0.45, 0.95, 0.5, 0.1
WITHIN, ACROSS, OWN, EMPTY = "#9aa5b1", BLUE, PURPLE, "#f0f2f4"

LEGEND = {
    "from side to side": ACROSS,
    "within a side": WITHIN,
    "to the class token": OWN,
    "row does not hear of column": EMPTY,
}
LETTER = 0.075
"""Room for a letter of the legend, in inches."""
LEGEND_WIDTH = sum(CELL + 0.28 + LETTER * len(words) for words in LEGEND)

HOW_TO_READ = (
    "A filled cell: what stands in this column before the blocks changes the token of this row "
    "after them. Blue cells join picture and sentence, grey ones stay within a side, purple ones "
    "belong to a class token of the fusion's own. The diagonal is always filled: residual "
    "connections keep each token. Drawn from the modules' gradients, not from a description."
)


def hears(fuse: Fuse, patches: int, words: int, width: int) -> np.ndarray:
    """Which token's output depends on which token's input, asked of the module by its gradient.

    -> (m, n + t) bool: rows are tokens that come out, columns the patches and then the words.
    """
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(1, patches, width, generator=draw).requires_grad_()
    text = torch.randn(1, words, width, generator=draw).requires_grad_()
    tokens = fuse(image, text)
    rows = []
    for token in range(tokens.shape[1]):
        # Weights that differ: the sum of a normed token would not depend on anything.
        asked = (tokens[0, token] * torch.linspace(-1, 2, width)).sum()
        found = torch.autograd.grad(asked, (image, text), retain_graph=True, allow_unused=True)
        sides = [
            torch.zeros(side.shape[1]) if gradient is None else gradient[0].abs().amax(dim=1)
            for side, gradient in zip((image, text), found, strict=True)
        ]
        rows.append(torch.cat(sides) > 0)
    return torch.stack(rows).numpy()


class Work(NamedTuple):
    """What a module computed."""

    products: int
    """Of a query with a key, in one head."""
    multiplications: int
    """In its linear layers, and in its attention's products and sums."""


@torch.no_grad()
def work(module: nn.Module, run: Callable[[], object]) -> Work:
    """What `run()` lets the module compute, counted in its layers while they run."""
    lengths: dict[nn.Module, list[int]] = {}
    counted = [0]

    def note(layer: nn.Linear, given: tuple[Tensor], out: Tensor) -> None:
        counted[0] += out.numel() * layer.in_features
        lengths.setdefault(layer, []).append(given[0].shape[0] * given[0].shape[1])
        pairs[layer] = given[0].shape[0]

    pairs: dict[nn.Module, int] = {}
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in linear]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    products = multiplications = 0
    for part in module.modules():
        if isinstance(part, Attention) and part.q_proj in lengths:
            calls = zip(lengths[part.q_proj], lengths[part.k_proj], strict=True)
            found = sum(queries * keys for queries, keys in calls) // pairs[part.q_proj]
            products += found
            # Each product is a row of the width, and so is each value that is added up.
            multiplications += 2 * found * part.q_proj.out_features
    return Work(products, counted[0] + multiplications)


@styled
def fusions(heard: Mapping[str, Mapping[str, np.ndarray]], patches: int) -> Picture:
    """Grids of who hears of whom: a column for each fusion, a row for each number of blocks.

    heard: fusion -> {"after one block": what `hears` gave, ...}; `patches`: how many of the columns
    are patches. Raises ValueError where fusions have other rows of grids.
    """
    depths = [list(grids) for grids in heard.values()]
    if not depths or any(names != depths[0] for names in depths):
        raise ValueError(f"each fusion needs the same grids, in one order: {depths}")
    tallest = max(len(grid) for grids in heard.values() for grid in grids.values())
    widest = max(grid.shape[1] for grids in heard.values() for grid in grids.values())
    across, down = (widest * CELL + SIDE, tallest * CELL + GAP)
    height = TOP + len(depths[0]) * (down + 0.2)
    width = max(EDGE + len(heard) * (across + GAP), EDGE + LEGEND_WIDTH)
    figure = Picture(figsize=(width, height + FOOT))
    told = []
    for column, (name, grids) in enumerate(heard.items()):
        left = EDGE + SIDE + column * (across + GAP)
        write(figure, left, 0.12, name, fontweight="bold", fontsize=11)
        for row, (when, grid) in enumerate(grids.items()):
            top = TOP + row * (down + 0.2)
            write(figure, left, top - 0.5, when, fontsize=9.5, color=MUTED)
            draw(figure, left, top, grid, patches)
            told.append(f"{name}, {when}: {in_words(grid, patches)}")
    legend(figure, height - 2 * CELL + FOOT)
    alt = f"Grids of tokens. {'. '.join(told)}."
    figure.caption = Caption("Who hears of whom", alt, HOW_TO_READ)
    return figure


def legend(figure: Picture, top: float) -> None:
    """What each colour of a filled cell says, on one line."""
    left = EDGE
    for words, colour in LEGEND.items():
        axes = place(figure, left, top, CELL, CELL)
        axes.set(xlim=(0, 1), ylim=(1, 0))
        axes.add_patch(cell(0, 0, colour))
        write(figure, left + CELL + 0.08, top + CELL / 2, words, va="center", fontsize=9, color=INK)
        left += CELL + 0.08 + LETTER * len(words) + 0.2


def draw(figure: Picture, left: float, top: float, grid: np.ndarray, patches: int) -> None:
    """One grid with its names: columns above, rows at the left."""
    rows, columns = grid.shape
    words = columns - patches
    axes = place(figure, left, top, columns * CELL, rows * CELL)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    first = rows - columns  # 1 where a class token of the fusion's own comes first
    for row, column in np.ndindex(rows, columns):
        axes.add_patch(cell(row, column, shade(grid[row, column], row - first, column, patches)))
    border(axes, rows, columns, first, patches)
    for name, start, count in (("patches", 0, patches), ("words", patches, words)):
        middle = left + (start + count / 2) * CELL
        write(figure, middle, top - 0.05, name, ha="center", va="bottom", fontsize=9, color=INK)
        middle = top + (first + start + count / 2) * CELL
        write(figure, left - 0.06, middle, name, ha="right", va="center", fontsize=9, color=INK)
    if first:
        write(figure, left - 0.06, top + CELL / 2, "[CLS]", ha="right", va="center", fontsize=8.5,
              color=OWN)  # fmt: skip


def shade(hears: bool, row: int, column: int, patches: int) -> str:
    """The colour of a cell; row -1 is the fusion's own class token."""
    if not hears:
        return EMPTY
    if row < 0:
        return OWN
    return ACROSS if (row < patches) != (column < patches) else WITHIN


def cell(row: int, column: int, colour: str) -> Rectangle:
    """A square of the grid."""
    return Rectangle((column + 0.06, row + 0.06), 0.88, 0.88, facecolor=colour, linewidth=0)


def border(axes: Axes, rows: int, columns: int, first: int, patches: int) -> None:
    """Lines where the picture's tokens end."""
    axes.plot([patches, patches], [0, rows], color=ORANGE, linewidth=1)
    axes.plot([0, columns], [first + patches, first + patches], color=ORANGE, linewidth=1)


def in_words(grid: np.ndarray, patches: int) -> str:
    """'patches hear of all patches and of no word; words hear of …'."""
    columns = grid.shape[1]
    first = len(grid) - columns
    rows = {"patches": (first, first + patches), "words": (first + patches, len(grid))}
    if first:
        rows = {"the class token": (0, first)} | rows
    of = {"patches": (0, patches), "words": (patches, columns)}
    said = []
    for who, (start, stop) in rows.items():
        parts = [
            f"{amount(grid[start:stop, begin:end])} {what}" for what, (begin, end) in of.items()
        ]
        verb = "hears" if who == "the class token" else "hear"
        said.append(f"{who} {verb} of {' and '.join(parts)}")
    return "; ".join(said)


def amount(block: np.ndarray) -> str:
    """How much of a block is filled."""
    if block.all():
        return "all"
    if not block.any():
        return "no"
    square = block.shape[0] == block.shape[1] and (block == np.eye(len(block), dtype=bool)).all()
    return "only their own" if square else "some"
