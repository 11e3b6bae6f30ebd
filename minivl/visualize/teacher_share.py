"""What grows and what falls with the teacher's share: the score, and how much the teacher says."""

import math
from collections.abc import Sequence

import numpy as np

from minivl.visualize.curves import draw_level
from minivl.visualize.recall import chance_label, percent, told
from minivl.visualize.style import BLUE, MUTED, VERMILLION, Caption, Picture, styled


@styled
def teacher_share(
    alphas: Sequence[float],
    recalls: Sequence[Sequence[float]],
    entropies: Sequence[Sequence[float]],
    *,
    chance: float,
    candidates: int,
) -> Picture:
    """R@1 above the entropy of the teacher's belief, against alpha: a dot a run, a line the means.

    recalls, entropies: for each alpha those of several runs; chance: R@1 of guessing; candidates:
    among how many the teacher divides its belief. Raises ValueError for other numbers of runs.
    """
    rows = [np.asarray(values, dtype=float) for values in (recalls, entropies)]
    if rows[0].shape != rows[1].shape or rows[0].ndim != 2 or len(rows[0]) != len(alphas):
        raise ValueError(f"{len(alphas)} alphas need as many rows of runs, twice alike")
    figure = Picture(figsize=(6.4, 5.2), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    marks = ((above, rows[0], BLUE, "o"), (below, rows[1], VERMILLION, "s"))
    for axes, runs, colour, marker in marks:
        axes.plot(alphas, runs.mean(axis=1), color=colour, marker=marker, markersize=6)
        axes.plot(alphas, runs, linestyle="none", color=colour, marker=marker, markersize=4,
                  alpha=0.45)  # fmt: skip
    draw_level(above, chance, chance_label(chance), MUTED, crowded=True)
    above.legend(loc="lower left")
    percent(above)
    above.set_title("R@1 of the student")
    nothing = math.log(candidates)
    draw_level(below, nothing, f"says nothing: ln {candidates} = {nothing:.2f}", MUTED, False)
    below.set_ylim(0, 1.12 * nothing)
    below.set_title("entropy of what the teacher believes")
    below.set(xlabel="alpha, the teacher's share")
    below.set_xticks(list(alphas), [f"{alpha:g}" for alpha in alphas])
    means = [dict(zip(alphas, runs.mean(axis=1).tolist(), strict=True)) for runs in rows]
    ends = ", ".join(f"{value:.2f} at {alpha:g}" for alpha, value in means[1].items())
    figure.caption = Caption(
        "How much of the target the teacher may have",
        f"{told('R@1 against alpha', means[0])}. Entropy of the teacher's belief: {ends}.",
        "Small dots are single runs, lines join their means. A teacher with the entropy of the "
        "dotted line finds all candidates alike, and teaches nothing.",
    )
    return figure
