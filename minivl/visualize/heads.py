"""What each attention head looks at, and how that comes about (DINO, figures 3 and 8)."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from minivl.visualize.attention import lit
from minivl.visualize.outline import outline
from minivl.visualize.style import (
    Caption,
    Picture,
    place,
    show_image,
    styled,
    wrap,
    write,
)

EDGE, SIDE, GAP, HEAD, FOOT, LABEL = 0.15, 1.5, 0.14, 0.3, 0.3, 0.6
BESIDE = EDGE + SIDE + GAP + LABEL
"""Where the maps begin that stand beside one picture and their heads' names."""

OUTLINE = "The outline holds 60 % of the attention."


@styled
def heads_figure(
    images: Sequence[np.ndarray],
    maps: Tensor,
    kept: Tensor,
    *,
    names: Sequence[str] = (),
    overlaps: Tensor | None = None,
) -> Picture:
    """One row a picture: the picture, and lit by each head's attention of the class token.

    images: n times (h, w, 3) uint8; maps (n, heads, gh, gw), not negative; kept: the cells to be
    outlined, bool of the same shape (`evaluation.grounding.mass_mask`); names: what each picture
    shows; overlaps (n, heads): how well the outline fits the thing, written below.
    """
    heads = maps.shape[1]
    foot = FOOT if overlaps is not None or names else 0.05
    row = SIDE + foot + GAP
    figure = _page(heads + 1, len(images), row)
    _titles(figure, ["the picture", *(f"head {head + 1}" for head in range(heads))])
    for i, image in enumerate(images):
        top = EDGE + HEAD + i * row
        show_image(place(figure, EDGE, top, SIDE, SIDE), image)
        if names:
            write(figure, EDGE, top + SIDE + 0.06, wrap(names[i], 20, 1), fontsize=9.5)
        for head in range(heads):
            left = EDGE + (head + 1) * (SIDE + GAP)
            _lit(place(figure, left, top, SIDE, SIDE), image, maps[i, head], kept[i, head])
            if overlaps is not None:
                told = f"overlap {100 * overlaps[i, head]:.0f} %"
                write(figure, left, top + SIDE + 0.06, told, fontsize=9.5)
    figure.caption = Caption(
        "What each head looks at", _alt(maps, names),
        "Bright cells weigh most when the class token of the last block reads the picture. "
        + OUTLINE
        + (" Overlap: pixels in both the outline and the thing, over pixels in either."
           if overlaps is not None else ""),
    )  # fmt: skip
    return figure


@styled
def heads_over_training(
    image: np.ndarray, maps_by_step: Mapping[int, Tensor], kept_by_step: Mapping[int, Tensor]
) -> Picture:
    """One row a head, one column a moment of the training: attention settling on the thing.

    image (h, w, 3) uint8; step -> maps (heads, gh, gw) of that picture, and the cells to be
    outlined. Raises ValueError where there is no moment.
    """
    if not maps_by_step:
        raise ValueError("no moment of the training to show")
    steps = sorted(maps_by_step)
    heads = len(maps_by_step[steps[0]])
    figure = _page(len(steps) + 1, heads, SIDE + GAP, LABEL)
    _titles(figure, ["the picture"])
    _titles(figure, ["untrained" if step == 0 else f"step {step:,}" for step in steps], BESIDE)
    show_image(place(figure, EDGE, EDGE + HEAD, SIDE, SIDE), image)
    for head in range(heads):
        top = EDGE + HEAD + head * (SIDE + GAP)
        write(figure, BESIDE - 0.08, top + SIDE / 2, f"head {head + 1}", ha="right", va="center",
              fontsize=10)  # fmt: skip
        for column, step in enumerate(steps):
            axes = place(figure, BESIDE + column * (SIDE + GAP), top, SIDE, SIDE)
            _lit(axes, image, maps_by_step[step][head], kept_by_step[step][head])
    first, last = maps_by_step[steps[0]], maps_by_step[steps[-1]]
    figure.caption = Caption(
        "The heads while they learn",
        f"{heads} rows, one a head, and {len(steps)} moments from step {steps[0]:,} to "
        f"{steps[-1]:,}. The brightest cell weighs {_peak(first):.1f} times the average one at "
        f"first and {_peak(last):.1f} times at the end.",
        f"Bright cells weigh most. {OUTLINE}",
    )
    return figure


def _page(columns: int, rows: int, row: float, extra: float = 0.0) -> Picture:
    width = 2 * EDGE + columns * SIDE + (columns - 1) * GAP + extra
    return Picture(figsize=(width, 2 * EDGE + HEAD + rows * row - GAP))


def _titles(figure: Picture, titles: Sequence[str], left: float = EDGE) -> None:
    for column, title in enumerate(titles):
        write(figure, left + column * (SIDE + GAP), EDGE + HEAD - 0.06, title, va="bottom",
              fontsize=10.5)  # fmt: skip


def _lit(axes: Axes, image: np.ndarray, values: Tensor, kept: Tensor) -> None:
    """The picture under the map's heat, with the kept cells outlined."""
    picture = lit(image, values.float().numpy())
    axes.imshow(picture)
    outline(axes, kept.numpy())


def _peak(maps: Tensor) -> float:
    """Largest over mean weight of a map, the mean over maps (heads, gh, gw)."""
    flat = torch.as_tensor(maps).float().flatten(-2)
    return float((flat.amax(-1) / flat.mean(-1).clamp_min(1e-12)).mean())


def _alt(maps: Tensor, names: Sequence[str]) -> str:
    """How concentrated each head is."""
    peaks = ", ".join(f"head {i + 1} {_peak(maps[:, i]):.1f}" for i in range(maps.shape[1]))
    what = f" ({'; '.join(names)})" if names else ""
    return (
        f"{len(maps)} pictures{what} in rows, each beside {maps.shape[1]} heat maps of it. Peak "
        f"over average cell: {peaks}."
    )
