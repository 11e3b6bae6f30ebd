"""Models over the years, one lane for each family."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from minivl.visualize.diagram import canvas
from minivl.visualize.style import CYCLE, HAIRLINE, MUTED, Caption, Picture, styled, write

Event = tuple[str, int, int, str, str]
"""Name, year, month, lane, note (of one line or two)."""

LABELS, YEAR, LANE, TOP, EDGE, FOOT = 1.45, 2.0, 1.28, 0.15, 0.15, 0.4
MARGIN = 0.45
"""Years kept free before the first event and after the last, so that words fit."""
HOW_TO_READ = (
    "Each dot stands at the month of the paper's arXiv number. The lane says where picture and "
    "text meet."
)


@styled
def timeline(events: Sequence[Event]) -> Picture:
    """A dot for each event at its month, in the lane of its family, with its name and note."""
    lanes = list(dict.fromkeys(lane for *_, lane, _ in events))
    times = [when(year, month) for _, year, month, *_ in events]
    first, last = min(times) - MARGIN, max(times) + MARGIN
    width = YEAR * (last - first)
    figure = Picture(figsize=(EDGE + LABELS + width + EDGE, TOP + LANE * len(lanes) + FOOT))
    axes = canvas(figure, EDGE + LABELS, TOP, width, LANE * len(lanes))
    for year in range(int(first) + 1, int(last) + 1):
        x = YEAR * (year - first)
        axes.plot([x, x], [0, LANE * len(lanes)], color=HAIRLINE, linewidth=0.9, zorder=0)
        write(figure, EDGE + LABELS + x, TOP + LANE * len(lanes) + 0.08, str(year), ha="center",
              color=MUTED)  # fmt: skip
    for row, lane in enumerate(lanes):
        colour, middle = CYCLE[row % len(CYCLE)], LANE * (len(lanes) - row - 0.5)
        axes.plot([0, width], [middle, middle], color=colour, linewidth=1.2, alpha=0.5, zorder=1)
        name = lane.replace("-", "-\n").replace(" ", "\n", 1)
        write(figure, EDGE, TOP + LANE * (row + 0.5), name, va="center", fontweight="bold",
              linespacing=1.15)  # fmt: skip
        own = sorted((t, e) for t, e in zip(times, events, strict=True) if e[3] == lane)
        for number, (time, (name, _, _, _, note)) in enumerate(own):
            # Neighbours stand months apart: their words go above and below in turn.
            label(axes, YEAR * (time - first), middle, name, note, colour, below=number % 2 == 1)
    told = "; ".join(f"{lane}: {spoken(events, lane)}" for lane in lanes)
    figure.caption = Caption("Models over the years", f"A timeline. {told}.", HOW_TO_READ)
    return figure


def label(
    axes: Axes, x: float, y: float, name: str, note: str, colour: str, *, below: bool
) -> None:
    """A dot with its name and note above or below."""
    axes.scatter([x], [y], s=70, color=colour, edgecolor="white", linewidth=1.2, zorder=3)
    note_height = 0.155 * (note.count("\n") + 1)
    heights = (y - 0.1, y - 0.3) if below else (y + 0.13 + note_height, y + 0.1)
    # White behind the words: the line of a year may pass there.
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    words = {"ha": "center", "va": "top" if below else "bottom", "bbox": behind}
    axes.text(x, heights[0], name, fontsize=11, fontweight="bold", **words)
    axes.text(x, heights[1], note, fontsize=9, linespacing=1.1, **words)


def when(year: int, month: int) -> float:
    """The middle of a month as a number of years."""
    return year + (month - 0.5) / 12


def spoken(events: Sequence[Event], lane: str) -> str:
    """A lane's events in the order of time: "CLIP 2021-03, …"."""
    own = sorted((year, month, name) for name, year, month, family, _ in events if family == lane)
    return ", ".join(f"{name} {year}-{month:02}" for year, month, name in own)
