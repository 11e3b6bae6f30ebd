"""What several encoders know: a share of right answers each, run by run, beside chance."""

from collections.abc import Mapping, Sequence

import numpy as np

from minivl.visualize.style import CYCLE, MUTED, Caption, Picture, place, styled, write

EDGE, LABEL, WIDTH, ROW, TOP, FOOT, END = 0.15, 2.6, 4.4, 0.42, 0.55, 0.62, 0.75


@styled
def probe_bars(
    shares: Mapping[str, Sequence[float]],
    *,
    chance: float,
    title: str = "Named rightly by a linear probe",
) -> Picture:
    """A bar for the mean of each encoder's runs, a dot for each run, a dotted line at chance.

    shares: name -> one share or more, from 0 to 1; chance: the share of guessing.
    Raises ValueError where nothing was measured.
    """
    if not all(len(runs) for runs in shares.values()) or not shares:
        raise ValueError("nothing was measured: pass one share or more for each encoder")
    figure = Picture(figsize=(EDGE + LABEL + WIDTH + END, TOP + ROW * len(shares) + FOOT))
    write(figure, EDGE, 0.14, title, fontweight="bold", fontsize=12)
    left, height = EDGE + LABEL, ROW * len(shares)
    axes = place(figure, left, TOP, WIDTH, height)
    axes.set_frame_on(True)
    values = [np.asarray(runs, dtype=float) for runs in shares.values()]
    most = 100 * max([chance, *(run.max() for run in values)])
    axes.set(xlim=(0, 1.08 * most), ylim=(len(shares) - 0.5, -0.5), xlabel="right, %")
    axes.xaxis.set_major_locator(_ticks())
    axes.spines["bottom"].set_visible(True)
    for row, (name, runs) in enumerate(zip(shares, values, strict=True)):
        axes.barh(row, 100 * runs.mean(), height=0.55, color=CYCLE[row % len(CYCLE)], alpha=0.85)
        if len(runs) > 1:
            axes.plot(100 * runs, np.full(len(runs), row), "o", color="black", markersize=4,
                      alpha=0.6)  # fmt: skip
        y = TOP + (row + 0.5) * ROW
        write(figure, left - 0.1, y, name, ha="right", va="center", fontsize=10.5)
        number = f"{100 * runs.mean():.1f} %"
        write(figure, left + WIDTH + 0.08, y, number, va="center", fontsize=10.5)
    axes.axvline(100 * chance, color=MUTED, linestyle=":", linewidth=1.6)
    note = f"dotted: guessing, {100 * chance:.1f} %"
    write(figure, left + WIDTH, 0.3, note, ha="right", fontsize=9.5, color=MUTED)
    told = "; ".join(
        f"{name}: {100 * runs.mean():.1f} %" for name, runs in zip(shares, values, strict=True)
    )
    reading = (
        "Each encoder is frozen; only a linear classifier on its vectors learns the names. Bars "
        "are means over runs with other first weights, dots are the runs."
    )
    figure.caption = Caption(title, f"Bars. {told}. Guessing: {100 * chance:.1f} %.", reading)
    return figure


def _ticks():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(6)
