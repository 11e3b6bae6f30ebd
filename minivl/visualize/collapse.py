"""The two ways to collapse, seen in the teacher's entropies (DINO, section 5.3 and figure 7)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from minivl.visualize.curves import column
from minivl.visualize.lines import DASHES
from minivl.visualize.style import CYCLE, MUTED, Caption, Picture, styled

PANELS = {
    "teacher_entropy": "entropy of one answer",
    "entropy_of_mean": "entropy of the mean answer",
    "mutual_information": "their difference",
}
"""Monitor -> what it is; the difference is what an answer tells of the picture."""

HOW_TO_READ = (
    "Healthy: each answer is sure (low), all answers together use many outputs (high), and their "
    "difference, what an answer tells of its picture, stays well above 0. All outputs alike: both "
    "entropies at ln k. One output for everything: both at 0. In either collapse the difference "
    "is 0."
)


@styled
def collapse_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], outputs: int) -> Picture:
    """Entropies of the teacher over the steps, one line a run.

    runs: name -> lines of its metrics.jsonl; outputs: k, for the level ln k that a teacher without
    an opinion stands on.
    """
    figure = Picture(figsize=(9.6, 3.6), layout="constrained")
    grid = figure.subplots(1, len(PANELS), sharex=True, sharey=True)
    for axes, (name, title) in zip(grid, PANELS.items(), strict=True):
        for number, (run, lines) in enumerate(runs.items()):
            axes.plot(
                column(lines, "step"),
                column(lines, name),
                label=run,
                color=CYCLE[number % len(CYCLE)],
                linestyle=DASHES[number % len(DASHES)],
            )
        _levels(axes, outputs)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("step")
    grid[0].set_ylabel("nats")
    names = figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    names.set_in_layout(True)
    figure.caption = Caption("Has it collapsed?", _alt(runs), HOW_TO_READ)
    return figure


def _levels(axes: Axes, outputs: int) -> None:
    top = math.log(outputs)
    axes.axhline(top, color=MUTED, linestyle=":", linewidth=1.6)
    axes.set_ylim(-0.04 * top, 1.16 * top)
    axes.annotate(
        f"ln {outputs:,}", (1, top), xycoords=("axes fraction", "data"), xytext=(-2, 3),
        textcoords="offset points", ha="right", va="bottom", color=MUTED, fontsize=9.5,
    )  # fmt: skip


def _alt(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Where each run ends."""
    ends = []
    for run, lines in runs.items():
        parts = []
        for name, title in PANELS.items():
            known = column(lines, name)
            known = known[np.isfinite(known)]
            if len(known):
                parts.append(f"{title} {known[-1]:.2f}")
        ends.append(f"{run}: {', '.join(parts) or 'nothing logged'}")
    return f"Curves of the teacher's entropies in nats. At the end, {'; '.join(ends)}."
