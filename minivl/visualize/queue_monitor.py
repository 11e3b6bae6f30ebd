"""ALBEF's queue while a model trains: which places are written when, and what is found there.

The queue: He et al. 2020 (MoCo, arXiv 1911.05722, section 3.1), in ALBEF (Li et al. 2021,
arXiv 2107.07651, section 3.2) one for pictures and one for texts, with one pointer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Polygon, Rectangle, Wedge
from torch import Tensor

from minivl.models.albef import Albef
from minivl.models.albef_steps import Summaries
from minivl.visualize.style import (
    HAIRLINE,
    HEAT,
    INK,
    MUTED,
    Caption,
    Picture,
    place,
    styled,
    write,
)

NEVER = 0
"""The step at which a place was written that still holds the noise of the start."""
EDGE, HEAD, SIDE, GAP, SCALE, COLUMNS = 0.15, 0.45, 2.05, 0.12, 0.62, 4
OUTER, INNER = 1.0, 0.62
NOISE = "#e3e6ea"

HOW_TO_READ = (
    "A ring a moment of training: the places of the queue, the first at the top, then clockwise. "
    "Bright is new, dark is old, grey is the noise that the queue begins with. The triangle is the "
    "pointer: there the next batch is written, over the oldest. Nothing ever moves."
)


@dataclass(frozen=True)
class Ring:
    """The queue after one step."""

    step: int
    written: np.ndarray
    """(Q,): the step, from 1, at which each place was written last; 0 where never."""
    pointer: int

    @property
    def filled(self) -> int:
        """How many places hold features."""
        return int((self.written != NEVER).sum())

    @property
    def ages(self) -> np.ndarray:
        """(Q,): for how many steps each place has been as it is; -1 where it holds noise."""
        return np.where(self.written == NEVER, -1, self.step - self.written)


@dataclass
class QueueMonitor:
    """What `watching` notes."""

    rings: list[Ring] = field(default_factory=list)
    """The queue after each step."""
    lines: list[dict[str, float]] = field(default_factory=list)
    """Mean cosines of each step, of what the contrastive loss compares: the student's vectors with
    the twin's of the own partner, the batch's others, the queue; and with the queue's nearest."""

    @property
    def cosines(self) -> dict[str, list[float]]:
        """The same as lists, one value a step."""
        return {name: [line[name] for line in self.lines] for name in self.lines[0]}


@contextmanager
def watching(model: Albef) -> Iterator[QueueMonitor]:
    """While open, notes at each training step of the model what is compared and what is written.

    Places are known by what changed in them, not by the pointer.
    """
    monitor, remember = QueueMonitor(), model.remember
    written = np.full(model.image_queue.shape[1], NEVER)

    def noted(found: Summaries, batch: dict[str, Tensor]) -> None:
        before, texts = model.image_queue.clone(), model.text_queue.clone()
        remember(found, batch)
        if not model.learning:
            return
        monitor.lines.append(compared(found, before, texts))
        changed = (model.image_queue != before).any(dim=0).cpu().numpy()
        step = len(monitor.rings) + 1
        written[changed] = step
        monitor.rings.append(Ring(step, written.copy(), int(model.queue_pointer)))

    model.remember = noted  # type: ignore[method-assign]
    try:
        yield monitor
    finally:
        del model.remember


def compared(found: Summaries, image_queue: Tensor, text_queue: Tensor) -> dict[str, float]:
    """Mean cosines of a batch's vectors with what they are to find and not to find."""
    with torch.no_grad():
        image, text, image_m, text_m = (one.float() for one in found)
        batch = torch.stack([image @ text_m.T, text @ image_m.T])
        own = torch.eye(len(image), dtype=torch.bool, device=image.device)
        means = {"own partner": batch[:, own], "others of the batch": batch[:, ~own]}
        if image_queue.shape[1]:
            queue = torch.stack([image @ text_queue.float(), text @ image_queue.float()])
            means |= {"the queue": queue, "nearest in the queue": queue.amax(dim=2)}
        return {name: float(values.mean()) for name, values in means.items()}


@styled
def queue_rings(rings: Sequence[Ring]) -> Picture:
    """The queue at some moments of a training, its places coloured by their age."""
    oldest = max([1, *(int(ring.ages.max(initial=0)) for ring in rings)])
    columns = min(COLUMNS, max(len(rings), 1))
    rows = -(-len(rings) // columns)
    width = 2 * EDGE + columns * (SIDE + GAP) - GAP
    figure = Picture(figsize=(max(width, 6.0), HEAD + rows * (SIDE + GAP) + SCALE))
    write(figure, EDGE, 0.12, "The queue is a ring", fontweight="bold", fontsize=12)
    told = []
    for number, ring in enumerate(rings):
        left = EDGE + number % columns * (SIDE + GAP)
        top = HEAD + number // columns * (SIDE + GAP)
        axes = place(figure, left, top, SIDE, SIDE)
        axes.set(xlim=(-1.22, 1.22), ylim=(-1.22, 1.22))
        draw_ring(axes, ring, oldest)
        places = len(ring.written)
        words = f"step {ring.step:,}\n{ring.filled:,} of {places:,}\nfilled"
        axes.text(0, 0, words, ha="center", va="center", fontsize=10, linespacing=1.3)
        age = f"ages 0 to {ring.ages.max():,}" if ring.filled else "nothing but noise"
        told.append(f"after step {ring.step:,} {ring.filled:,} of {places:,} places are filled, "
                    f"{age}, the pointer at {ring.pointer:,}")  # fmt: skip
    draw_scale(figure, HEAD + rows * (SIDE + GAP) + 0.1, oldest)
    alt = f"Rings: {'; '.join(told)}." if told else "No ring."
    figure.caption = Caption("The queue fills and is overwritten", alt, HOW_TO_READ)
    return figure


def draw_ring(axes: Axes, ring: Ring, oldest: int) -> None:
    """One ring: neighbours of one age are one piece; the pointer outside."""
    places = len(ring.written)
    turn, first = 360 / max(places, 1), 0
    for age, group in groupby(ring.ages.tolist()):
        count = len(list(group))
        # Clockwise from the top: matplotlib counts against the clock from the right.
        ends = 90 - (first + count) * turn, 90 - first * turn
        piece = Wedge((0, 0), OUTER, *ends, width=OUTER - INNER)
        piece.set(facecolor=shade(age, oldest), edgecolor="white", linewidth=0.6)
        axes.add_patch(piece)
        first += count
    at = np.deg2rad(90 - ring.pointer * turn)
    out, along = np.array([np.cos(at), np.sin(at)]), np.array([-np.sin(at), np.cos(at)])
    corners = [1.02 * out, 1.17 * out + 0.08 * along, 1.17 * out - 0.08 * along]
    axes.add_patch(Polygon(corners, closed=True, facecolor=INK, edgecolor="none"))


def shade(age: int, oldest: int) -> tuple[float, ...] | str:
    """Bright for new, dark for old, grey for noise."""
    return NOISE if age < 0 else colormaps[HEAT](1 - 0.95 * age / oldest)


def draw_scale(figure: Picture, top: float, oldest: int) -> None:
    """Which colour means which age."""
    write(figure, EDGE, top, "age in steps", color=MUTED, fontsize=10)
    axes = place(figure, EDGE + 1.05, top, 2.6, 0.18)
    colours = np.array([[shade(age, oldest) for age in np.linspace(0, oldest, 64)]])
    axes.imshow(colours, aspect="auto")
    write(figure, EDGE + 1.05, top + 0.22, "0", fontsize=9.5, color=MUTED)
    write(figure, EDGE + 3.65, top + 0.22, f"{oldest:,}", fontsize=9.5, color=MUTED, ha="right")
    axes = place(figure, EDGE + 4.0, top, 0.3, 0.18)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=NOISE, edgecolor=HAIRLINE))
    write(figure, EDGE + 4.4, top, "noise", color=MUTED, fontsize=10)
