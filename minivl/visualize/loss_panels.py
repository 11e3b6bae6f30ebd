"""Several losses of several trainings: a panel a loss, each with the line of who knows nothing."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minivl.visualize.curves import running_mean
from minivl.visualize.lines import DASHES
from minivl.visualize.style import CYCLE, MUTED, Caption, Picture, styled

COLUMNS = 3
WIDTHS = {1: 6.4, 2: 7.6, 3: 9.4}
"""Inches, by the number of panels beside each other; names need room above a single one, too."""
HOW_TO_READ = (
    "A panel a loss, over the steps that had it: each step feeds some losses only. The dotted line "
    "is ln k, what a model pays that holds all k answers for equally likely; or, where the title "
    "says so, what it pays that always gives the same answer, with the share of its kind."
)


@styled
def loss_panels(
    runs: Mapping[str, Sequence[Mapping[str, float]]],
    classes: Mapping[str, int | tuple[float, str]],
    window: int = 9,
) -> Picture:
    """Running means of each loss, one line a training.

    runs: name -> for each step its losses; classes: loss -> number k of answers, or where one is
    more frequent than another a level as `curves.constant_level` gives it; window: steps of the
    mean, odd.
    """
    columns = min(COLUMNS, len(classes))
    rows = math.ceil(len(classes) / columns)
    figure = Picture(figsize=(WIDTHS[columns], 0.5 + 2.35 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(classes) :]:
        axes.remove()
    told, longest = [], max((len(steps) for steps in runs.values()), default=1)
    for axes, (loss, k) in zip(grid.flat, classes.items(), strict=False):
        for number, (name, steps) in enumerate(runs.items()):
            at = np.array([i + 1 for i, line in enumerate(steps) if loss in line])
            if not len(at):
                continue
            values = np.array([line[loss] for line in steps if loss in line], dtype=float)
            smooth = running_mean(values, window) if len(values) > 2 * window else values
            axes.plot(at, smooth, color=CYCLE[number % len(CYCLE)], label=name, linewidth=1.8,
                      linestyle=DASHES[number % len(DASHES)])  # fmt: skip
            told.append(f"{loss}, {name}: {values[0]:.2f} to {smooth[-1]:.2f}")
        level, words = k if isinstance(k, tuple) else (math.log(k), f"ln {k:,} = {math.log(k):.2f}")
        axes.axhline(level, color=MUTED, linestyle=":", linewidth=1.5)
        axes.set_title(f"{loss}, {words}", fontsize=10.5)
        highest = max(level, axes.dataLim.y1)
        axes.set(ylim=(0, 1.1 * highest), xlim=(0, longest + 1))
        axes.tick_params(labelsize=9)
        axes.set_xlabel("step", fontsize=10)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    if len(runs) > 1:
        figure.legend(handles, labels, loc="outside upper left", ncols=len(runs))
    figure.caption = Caption("Losses", f"Curves. {'; '.join(told)}.", HOW_TO_READ)
    return figure
