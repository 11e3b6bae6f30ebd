"""Timetables: which stream feeds which step, and what share each stream gets in the end."""

from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle

from minivl.visualize.diagram import pale
from minivl.visualize.style import CYCLE, MUTED, Caption, Picture, place, styled, write

EDGE, HEAD, STRIP, ROW, WIDE = 0.15, 0.62, 0.3, 1.02, 8.6

HOW_TO_READ = (
    "Each square is a step of training, its colour and letter the stream that feeds it. Behind the "
    "squares: each stream's share of all steps."
)


@styled
def turns(timetables: Mapping[str, Sequence[str]], shown: int = 40) -> Picture:
    """One strip a timetable: the first `shown` steps, and below it the shares of all its steps.

    timetables: name -> the stream of each step.
    """
    streams = list(dict.fromkeys(name for steps in timetables.values() for name in steps))
    colours = dict(zip(streams, CYCLE, strict=False))
    figure = Picture(figsize=(WIDE + 2 * EDGE, HEAD + ROW * len(timetables) - 0.2))
    write(figure, EDGE, 0.12, "Who feeds the step?", fontweight="bold", fontsize=12)
    told = []
    for row, (title, steps) in enumerate(timetables.items()):
        top = HEAD + row * ROW
        write(figure, EDGE, top - 0.06, title, va="bottom", fontsize=10.5)
        axes = place(figure, EDGE, top, WIDE, STRIP)
        axes.set(xlim=(0, shown), ylim=(0, 1))
        for at, name in enumerate(steps[:shown]):
            square = Rectangle((at + 0.05, 0.05), 0.9, 0.9, facecolor=pale(colours[name], 0.45),
                               edgecolor=colours[name])  # fmt: skip
            axes.add_patch(square)
            axes.text(at + 0.5, 0.48, letter(name, streams), ha="center", va="center", fontsize=9)
        counts = Counter(steps)
        shares = ", ".join(
            f"{name} {100 * counts[name] / len(steps):.1f} %" for name in streams if counts[name]
        )
        words = f"{len(steps):,} steps: {shares}"
        write(figure, EDGE, top + STRIP + 0.06, words, fontsize=9.5, color=MUTED)
        told.append(f"{title}: {words}")
    figure.caption = Caption("Who feeds the step", f"Strips of squares. {'. '.join(told)}.",
                             HOW_TO_READ)  # fmt: skip
    return figure


def letter(name: str, names: Sequence[str]) -> str:
    """The shortest beginning of a name that no other name has."""
    for length in range(1, len(name) + 1):
        if sum(other.startswith(name[:length]) for other in names) == 1:
            return name[:length]
    return name
