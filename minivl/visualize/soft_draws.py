"""Soft draws of a code at several temperatures: from blends of all codes to nearly one.

The Gumbel-softmax (Jang et al. 2017, arXiv 1611.01144, figure 1).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minivl.visualize.style import (
    CYCLE,
    MUTED,
    Caption,
    Picture,
    place,
    png_bytes,
    styled,
    write,
)

if TYPE_CHECKING:
    import ipywidgets

SHOWN = 8
EDGE, LABEL, TOP, BAR, HEIGHT, STEP, GAP = 0.15, 1.55, 0.72, 2.0, 0.2, 0.27, 0.3
HOW_TO_READ = (
    "Each bar is one draw: how much of each code it holds, a colour a code. Above, the "
    "probabilities that are drawn from. Below, the mean of all draws, and how often each code is "
    "the largest in its draw: that follows the probabilities at every temperature."
)


@styled
def soft_draws(probabilities: Sequence[float], draws: Mapping[float, np.ndarray]) -> Picture:
    """A column of bars for each temperature: some draws, the mean of all, and the winners.

    probabilities: (k,), with k up to 7; draws: temperature -> (n, k), rows that add to 1.
    Raises ValueError where the numbers of codes differ.
    """
    probabilities = np.asarray(probabilities, dtype=float)
    for temperature, shares in draws.items():
        if np.shape(shares)[1:] != probabilities.shape or len(probabilities) > len(CYCLE):
            raise ValueError(
                f"draws {np.shape(shares)} at temperature {temperature:g} of "
                f"{len(probabilities)} codes: pass (n, k), k at most {len(CYCLE)}"
            )
    rows = [("probabilities", 0.0)]
    rows += [(f"draw {i + 1}", 0.16 + STEP * (i + 1)) for i in range(SHOWN)]
    low = 0.32 + STEP * (SHOWN + 1)
    rows += [("mean of all draws", low), ("winners", low + STEP)]
    width = EDGE + LABEL + len(draws) * (BAR + GAP)
    figure = Picture(figsize=(width, TOP + low + 2 * STEP + EDGE))
    counts = ", ".join(f"{len(shares):,}" for shares in list(draws.values())[:1])
    title = "Soft draws of one code" + (f", {counts} at each temperature" if counts else "")
    write(figure, EDGE, 0.14, title, fontweight="bold", fontsize=12)
    for label, y in rows:
        write(figure, EDGE + LABEL - 0.1, TOP + y + HEIGHT / 2, label, ha="right", va="center",
              fontsize=9.5, color=MUTED if label.startswith("draw") else "black")  # fmt: skip
    for column, (temperature, shares) in enumerate(draws.items()):
        left = EDGE + LABEL + column * (BAR + GAP)
        write(figure, left, TOP - 0.08, f"temperature {temperature:.3g}", va="bottom",
              fontsize=10.5)  # fmt: skip
        shares = np.asarray(shares, dtype=float)
        bars = [probabilities, *shares[:SHOWN], shares.mean(axis=0), winners(shares)]
        # With fewer draws than lines, the lines between stay empty.
        places = [rows[0], *rows[1 : 1 + len(shares[:SHOWN])], *rows[-2:]]
        for (_, y), bar in zip(places, bars, strict=True):
            draw_bar(figure, left, TOP + y, bar)
    told = "; ".join(
        f"at temperature {temperature:.3g} the largest share of a draw is "
        f"{np.asarray(shares).max(axis=1).mean():.2f} on average"
        for temperature, shares in draws.items()
    )
    alt = f"Bars of {len(probabilities)} coloured shares, one a draw: {told}."
    figure.caption = Caption("Soft draws at several temperatures", alt, HOW_TO_READ)
    return figure


def winners(shares: np.ndarray) -> np.ndarray:
    """How often each code has the largest share of a draw: (n, k) -> (k,), adding to 1."""
    counts = np.bincount(shares.argmax(axis=1), minlength=shares.shape[1])
    return counts / len(shares)


def draw_bar(figure: Picture, left: float, top: float, shares: np.ndarray) -> None:
    """Shares that add to 1, side by side in one bar; wide ones carry their number."""
    axes = place(figure, left, top, BAR, HEIGHT)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    start = 0.0
    for code, value in enumerate(shares):
        axes.barh(0.5, value, left=start, height=1, color=CYCLE[code], linewidth=0)
        if value >= 0.18:
            axes.text(start + value / 2, 0.47, f"{value:.2f}", ha="center", va="center",
                      fontsize=8.5, color="white")  # fmt: skip
        start += value


def soft_draws_slider(
    probabilities: Sequence[float],
    draw: Callable[[float], np.ndarray],
    *,
    start: float = 1.0,
) -> "ipywidgets.VBox":
    """`soft_draws` under a slider from 1/32 to 8; draw(temperature) -> shares (n, k)."""
    import ipywidgets

    slider = ipywidgets.FloatLogSlider(
        value=start, base=2, min=-5, max=3, step=0.25, description="temperature",
        readout_format=".3f", layout=ipywidgets.Layout(width="420px"),
    )  # fmt: skip
    slider.style.description_width = "90px"
    view = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))

    def redraw(temperature: float) -> None:
        view.value = png_bytes(soft_draws(probabilities, {temperature: draw(temperature)}))

    slider.observe(lambda change: redraw(change["new"]), names="value")
    redraw(start)
    return ipywidgets.VBox([slider, view])
