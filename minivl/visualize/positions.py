"""How alike the embeddings of places are: what a vision transformer knows of the picture's plane.

Dosovitskiy et al. 2020 (arXiv 2010.11929), figure 7, centre.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minivl.visualize.style import HEAT, Caption, Picture, place, styled, write

HOW_TO_READ = (
    "Each small map belongs to one place of the grid and lies where that place lies. Its pixels "
    "are all places; brighter means that the two embeddings point more alike. A place is always "
    "brightest at itself."
)
EDGE, SIDE, GAP, HEAD, BAR = 0.15, 3.5, 0.35, 0.33, 0.75


def position_similarity(pos_embed: Tensor) -> np.ndarray:
    """Cosine of every two places' embeddings, (1, 1+n, width) -> (n, n), without the class token.

    A place whose embedding is zero resembles none: its row and column are zero.
    """
    places = F.normalize(pos_embed.detach()[0, 1:].double(), dim=-1)
    return (places @ places.T).clamp(-1, 1).cpu().numpy()


def mosaic(similarity: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Each place's map at its place, a gap of NaN between. (gh*gw, gh*gw) -> (gh², …) with gaps."""
    gh, gw = grid
    maps = rearrange(similarity, "(gh gw) (r c) -> gh gw r c", gh=gh, gw=gw, r=gh, c=gw)
    gap = [(0, 0), (0, 0), (0, 1), (0, 1)]
    padded = np.pad(maps.astype(float), gap, constant_values=np.nan)
    return rearrange(padded, "gh gw r c -> (gh r) (gw c)")[:-1, :-1]


@styled
def position_maps(positions: Mapping[str, tuple[Tensor, tuple[int, int]]]) -> Picture:
    """For every place, how alike its embedding is to that of all places; one panel an entry.

    positions: title -> (pos_embed (1, 1+gh*gw, width), grid (gh, gw)).
    """
    found = {
        title: (position_similarity(torch.as_tensor(table)), grid)
        for title, (table, grid) in positions.items()
    }
    lowest = min(min(float(values.min()), 0.0) for values, _ in found.values())
    tallest = max(SIDE * grid[0] / grid[1] for _, grid in found.values())
    width = 2 * EDGE + len(found) * SIDE + (len(found) - 1) * GAP + BAR
    figure = Picture(figsize=(width, EDGE + HEAD + tallest + EDGE))
    for column, (title, (values, grid)) in enumerate(found.items()):
        left = EDGE + column * (SIDE + GAP)
        write(figure, left, EDGE, title, fontsize=10.5)
        axes = place(figure, left, EDGE + HEAD, SIDE, SIDE * grid[0] / grid[1])
        heat = axes.imshow(mosaic(values, grid), cmap=HEAT, vmin=lowest, vmax=1, aspect="auto",
                           interpolation="nearest")  # fmt: skip
    bar = place(figure, width - BAR + 0.05, EDGE + HEAD, 0.14, tallest)
    figure.colorbar(heat, cax=bar).set_label("cosine similarity", fontsize=10)
    bar.tick_params(labelsize=9)
    alt = "; ".join(f"{title}: {neighbours(*entry)}" for title, entry in found.items())
    figure.caption = Caption("Similarity of position embeddings", f"{alt}.", HOW_TO_READ)
    return figure


def neighbours(similarity: np.ndarray, grid: tuple[int, int]) -> str:
    """The maps in words: how alike neighbours are, and how alike all others."""
    rows, columns = np.divmod(np.arange(len(similarity)), grid[1])
    distance = abs(rows[:, None] - rows) + abs(columns[:, None] - columns)
    near, far = similarity[distance == 1], similarity[distance > 1]
    shown = [
        f"{words} {float(values.mean()):.2f}"
        for words, values in (("next to each other", near), ("farther apart", far))
        if values.size
    ]
    return f"{grid[0]} by {grid[1]} places, mean similarity " + ", ".join(shown)
