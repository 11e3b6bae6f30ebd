"""A few lines in one plot: what was measured in a lesson, against what was varied."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minivl.visualize.style import CYCLE, MUTED, Caption, Picture, styled

DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
"""Lines differ in pattern too: one may lie on another, and a print may be grey."""


LEGEND = 82
"""Characters that fit beside each other; a line's sample and its gap take eight."""


@styled
def line_chart(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    logarithmic: bool = False,
    level: tuple[float, str] | None = None,
) -> Picture:
    """One line for each series over the same x, named at its end or in a legend.

    logarithmic: both axes; level: (value, label) of a dotted line to compare with.
    Raises ValueError where a series is not as long as x.
    """
    for name, values in series.items():
        if len(values) != len(x):
            raise ValueError(f"{name} has {len(values)} values for {len(x)} places")
    figure = Picture(figsize=(7.2, 3.9), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(series.items()):
        axes.plot(x, values, label=name, color=CYCLE[number % len(CYCLE)], marker="o",
                  markersize=4 if len(x) < 30 else 0, linestyle=DASHES[number % len(DASHES)],
                  linewidth=2.6 - 0.5 * min(number, 2))  # fmt: skip
    if level is not None:
        axes.axhline(level[0], color=MUTED, linestyle=":", linewidth=1.6, label=level[1])
    if logarithmic:
        axes.set(xscale="log", yscale="log")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    names = [*series, *([level[1]] if level else [])]
    columns = legend_columns(names)
    axes.set_title(title, fontweight="bold", pad=12 + 18 * math.ceil(len(names) / columns))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=columns,
                handlelength=2.4)  # fmt: skip
    ends = "; ".join(
        f"{name} goes from {known[0]:.3g} to {known[-1]:.3g}"
        for name, values in series.items()
        if len(known := np.asarray(values, dtype=float)[np.isfinite(values)])
    )
    figure.caption = Caption(title, f"{ylabel} over {xlabel}: {ends or 'nothing was measured'}.")
    return figure


def legend_columns(names: Sequence[str]) -> int:
    """Into how many columns names go without running out of the figure: 1 to 3."""
    for columns in (3, 2):
        parts = np.array_split(np.array(names), columns)  # as a legend fills its columns
        if sum(max(map(len, part), default=0) + 8 for part in parts) <= LEGEND:
            return columns
    return 1
