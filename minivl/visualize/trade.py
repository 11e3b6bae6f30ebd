"""What is gained and what it costs: a share of right answers against the time for one of them."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import FuncFormatter, NullFormatter

from minivl.visualize.style import CYCLE, MUTED, Caption, Picture, styled

HOW_TO_READ = (
    "Up is better, left is cheaper; the cost doubles at equal steps. Bars are 95 % intervals: "
    "points whose bars overlap much may stand in another order next time. The dotted line is what "
    "guessing reaches."
)


class Measured(NamedTuple):
    """One choice, its cost, and the share of right answers with its 95 % interval."""

    label: str
    cost: float
    value: float
    low: float
    high: float


@styled
def trade_off(points: Sequence[Measured], *, chance: float, cost: str) -> Picture:
    """Each point's share (in %) over its cost (logarithmic). `cost` names the horizontal axis.

    Raises ValueError for a cost that is not above 0.
    """
    if any(point.cost <= 0 for point in points):
        raise ValueError("a cost must be above 0 to stand on a logarithmic axis")
    figure = Picture(figsize=(6.4, 3.9), layout="constrained")
    axes = figure.add_subplot()
    for point, colour in zip(points, CYCLE, strict=False):
        below, above = point.value - point.low, point.high - point.value
        axes.errorbar(
            point.cost, 100 * point.value, [[100 * below], [100 * above]], fmt="o", markersize=8,
            capsize=4, color=colour, linewidth=1.8,
        )  # fmt: skip
        axes.annotate(point.label, (point.cost, 100 * point.value), xytext=(9, 0), va="center",
                      textcoords="offset points", fontsize=10, color=colour)  # fmt: skip
    axes.axhline(100 * chance, color=MUTED, linestyle=":", linewidth=1.6)
    costs = [point.cost for point in points] or [1.0]
    axes.set_xscale("log", base=2)
    axes.set(xlim=(min(costs) / 1.5, max(costs) * 4), ylim=(0, 105))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=cost, ylabel="right answers, %")
    axes.text(
        max(costs) * 3.8, 100 * chance + 1.5, "guessing", ha="right", color=MUTED, fontsize=9.5
    )
    told = "; ".join(f"{p.label}: {100 * p.value:.0f} % at {p.cost:.3g}" for p in points)
    alt = (
        f"Points of right answers in per cent over {cost}. {told}. Guessing: {100 * chance:.0f} %."
    )
    figure.caption = Caption("Gain and cost", alt, HOW_TO_READ)
    return figure
