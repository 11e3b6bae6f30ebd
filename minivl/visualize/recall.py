"""R@1 over training, and R@1 against a knob: the batch size, the temperature, a share.

R@1 is the share of queries whose nearest candidate is a true one. It means something only beside
chance, so chance is always drawn.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from minivl.visualize.curves import draw_level, running_mean
from minivl.visualize.style import CYCLE, MUTED, Caption, Picture, styled

MARKERS = "os^Dv"


@styled
def learning(
    losses: Sequence[float],
    recalls: Mapping[str, Mapping[int, float]],
    *,
    level: tuple[float, str],
    chance: float,
) -> Picture:
    """The loss of each step above R@1 at some of them.

    losses: one a step; recalls: name of the pool -> {steps done: R@1 as a share}; level: the loss
    of a model that knows nothing, with its label; chance: R@1 of guessing.
    """
    figure = Picture(figsize=(7.2, 4.9), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    steps = np.arange(1, len(losses) + 1)
    top.plot(steps, losses, color=MUTED, alpha=0.35, linewidth=1)
    smooth = running_mean(np.asarray(losses, dtype=float), 2 * (len(losses) // 60) + 3)
    top.plot(steps, smooth, color=MUTED)
    draw_level(top, *level, MUTED, crowded=False)
    top.set_ylim(0, 1.15 * max(level[0], *losses))
    top.set_title("loss")
    for number, (name, values) in enumerate(recalls.items()):
        bottom.plot(list(values), list(values.values()), color=CYCLE[number % len(CYCLE)],
                    marker=MARKERS[number % len(MARKERS)], markersize=5, label=name)  # fmt: skip
    draw_level(bottom, chance, chance_label(chance), MUTED, crowded=False)
    bottom.set_title("R@1, picture → sentence")
    bottom.set_xlabel("training steps")
    bottom.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    percent(bottom)
    bottom.legend(loc="upper left")
    alt = f"The loss goes from {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses):,} steps. "
    alt += " ".join(f"R@1 for {told(name, values)}." for name, values in recalls.items())
    reading = (
        "Above: the loss of each step, pale, and its running mean. Below: R@1, the share of "
        "pictures whose nearest sentence is true. The dotted lines are a model that knows nothing."
    )
    figure.caption = Caption("Loss and R@1 while the model learns", alt, reading)
    return figure


@styled
def recall_against(
    knob: str,
    settings: Sequence[float],
    recalls: Mapping[str, Sequence],
    *,
    chance: float,
    log: bool = True,
) -> Picture:
    """R@1 at each setting of a knob: a dot a run, a line through their means.

    recalls: name of the curve -> for each setting R@1 or the R@1 of several runs, as shares;
    log: settings stand at the distances of their logarithms.
    """
    figure = Picture(figsize=(6.4, 3.7), layout="constrained")
    axes = figure.subplots()
    means = {}
    for number, (name, values) in enumerate(recalls.items()):
        runs = np.asarray(values, dtype=float).reshape(len(settings), -1)
        means[name] = dict(zip(settings, runs.mean(axis=1).tolist(), strict=True))
        look = {"color": CYCLE[number % len(CYCLE)], "marker": MARKERS[number % len(MARKERS)]}
        axes.plot(settings, runs.mean(axis=1), markersize=6, label=name, **look)
        if runs.shape[1] > 1:
            axes.plot(settings, runs, linestyle="none", markersize=4, alpha=0.45, **look)
    if log:
        axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(settings), [f"{setting:g}" for setting in settings])
    draw_level(axes, chance, chance_label(chance), MUTED, crowded=False)
    axes.set(xlabel=knob, title="R@1")
    percent(axes)
    if len(recalls) > 1:
        axes.legend(loc="best")
    alt = " ".join(f"R@1 of {told(name, values)}." for name, values in means.items())
    reading = f"R@1 against {knob}; small dots are single runs, the line joins their means."
    figure.caption = Caption(f"R@1 against {knob}", alt, reading)
    return figure


def chance_label(chance: float) -> str:
    """'chance: 0.4 %'."""
    return f"chance: {100 * chance:.2g} %"


def percent(axes: Axes) -> None:
    """The vertical axis in percent, from below zero, so that a curve at chance is seen, to 100."""
    axes.set_ylim(-0.04, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def told(name: str, values: Mapping[float, float]) -> str:
    """A curve in words: 'known artists: 0.4 % at 0, 82.0 % at 500'."""
    points = ", ".join(f"{100 * value:.1f} % at {setting:g}" for setting, value in values.items())
    return f"{name}: {points}"
