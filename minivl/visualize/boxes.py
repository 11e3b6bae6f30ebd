"""Boxes that a model finds in pictures: at the end, over its training, and while it trains."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from minivl.visualize.found import (
    FOUND_KEY,
    HOW_TO_READ,
    NOTES_KEY,
    SURE,
    TRUE_KEY,
    Boxes,
    Example,
    badge,
    draw_box,
    draw_found,
    draw_truth,
    key_height,
    panel,
    row_height,
    spoken,
    surest_first,
    tally,
    told,
    write_key,
)
from minivl.visualize.style import (
    BLUE,
    GREEN,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    styled,
    write,
)

EDGE, GAP, NEAR, HEAD, WIDTH = 0.15, 0.2, 0.06, 0.32, 9.2
ALONE, LINE = 4.4, 0.24
"""Inches: a picture that nobody has labelled, and a line beside it."""
NARROW = 7.3
"""Inches: the least that the words below a few pictures need."""
ALONE_KEY = (
    "Blue: found; the percentage is how sure the model is of the name. Thin: rather “nothing”."
)
UNJUDGED = (
    "Each box with its number, the surest first, what is in it, and how sure the model is of the "
    "name. A thin box belongs to a query that believes more in “nothing”."
)


@styled
def boxes_found(
    groups: Mapping[str, Sequence[Example]], *, title: str = "Boxes found", abreast: int = 3
) -> Picture:
    """Pictures twice, with what is there and with what is found; groups under their names."""
    side = (WIDTH - 2 * EDGE - (abreast - 1) * GAP - abreast * NEAR) / (2 * abreast)
    rows = [
        (name, examples[first : first + abreast], first == 0)
        for name, examples in groups.items()
        for first in range(0, len(examples), abreast)
    ]
    heights = [HEAD * begins + row_height(side, row, wrong=2) for _, row, begins in rows]
    noted = any(example.found.notes for _, row, _ in rows for example in row)
    key, across = " ".join([TRUE_KEY, FOUND_KEY, *[NOTES_KEY] * noted]), WIDTH - 2 * EDGE
    figure = Picture(figsize=(WIDTH, EDGE + sum(heights) + key_height(key, across)))
    y = EDGE
    for (name, row, begins), height in zip(rows, heights, strict=True):
        if begins:
            write(figure, EDGE, y, f"{name}: {told(groups[name])}", fontweight="bold")
        for number, example in enumerate(row):
            x, top = EDGE + number * (2 * side + NEAR + GAP), y + HEAD * begins
            draw_truth(figure, x, top, side, example)
            draw_found(figure, x + side + NEAR, top, side, example, wrong=2)
        y += height
    write_key(figure, EDGE, y, key, across)
    alt = ". ".join(f"{name}: {told(some)}; {spoken(some)}" for name, some in groups.items())
    figure.caption = Caption(title, f"Pictures with true and found boxes. {alt}.", HOW_TO_READ)
    return figure


@styled
def boxes_alone(image: np.ndarray, found: Boxes) -> Picture:
    """Boxes in a picture of which nobody has said what is there, and their names beside it."""
    order = surest_first(found)
    sure = order[found.scores[order] > SURE]
    rows = max(ALONE, LINE * len(sure))
    across = WIDTH - 2 * EDGE
    figure = Picture(figsize=(WIDTH, 2 * EDGE + rows + key_height(ALONE_KEY, across)))
    axes, _ = panel(figure, EDGE, EDGE, ALONE, image)
    for number in order[len(sure) :]:
        dense = 0.12 + found.scores[number]
        draw_box(axes, found.boxes[number], "white", dense=dense)
    taken: list[np.ndarray] = []
    lines = []
    for row, number in enumerate(sure):
        box, mark = found.boxes[number], str(row + 1)
        draw_box(axes, box, BLUE)
        badge(axes, box, mark, BLUE, ALONE, taken)
        lines.append(f"{mark}  {found.called(number)} {100 * found.scores[number]:.0f} %")
        write(figure, EDGE + ALONE + GAP, EDGE + LINE * row, lines[-1])
    if not lines:
        write(figure, EDGE + ALONE + GAP, EDGE, "rather “nothing” everywhere")
    write_key(figure, EDGE, 2 * EDGE + rows, ALONE_KEY, across)
    alt = f"A picture with the boxes found: {'; '.join(lines) or 'none that is sure'}."
    figure.caption = Caption("Boxes found", alt, UNJUDGED)
    return figure


@styled
def growing_boxes(
    images: Sequence[np.ndarray],
    history: Mapping[int, Sequence[Boxes]],
    truths: Sequence[Boxes],
    *,
    columns: int = 6,
) -> Picture:
    """One row a picture: what is there, and what was found after some of the steps.

    history: step -> what was found in each picture; the first and the last step are shown and, of
    those between, as many as there are columns for.
    """
    moments = {
        step: [Example(*one) for one in zip(images, history[step], truths, strict=True)]
        for step in spread(sorted(history), columns)
    }
    last = list(moments.values())[-1]
    side = (WIDTH - 2 * EDGE - columns * NEAR) / (columns + 1)
    rows = zip(*moments.values(), strict=True)
    heights = [row_height(side, row, wrong=1) for row in rows]
    tops = EDGE + 0.48 + np.cumsum([0.0, *heights])
    width = 2 * EDGE + len(moments) * (side + NEAR) + side
    key, width = f"{TRUE_KEY} {FOUND_KEY}", max(width, NARROW)
    figure = Picture(figsize=(width, tops[-1] + key_height(key, width - 2 * EDGE)))
    write(figure, EDGE, EDGE, "what is there", fontweight="bold", fontsize=9.5)
    for example, top in zip(last, tops, strict=False):
        draw_truth(figure, EDGE, top, side, example)
    for column, (step, examples) in enumerate(moments.items(), start=1):
        x = EDGE + column * (side + NEAR)
        found, there, _ = tally(examples)
        write(figure, x, EDGE, f"step {step:,}", fontweight="bold", fontsize=9.5)
        write(figure, x, EDGE + 0.2, f"{found} of {there} found", fontsize=9, color=MUTED)
        for example, top in zip(examples, tops, strict=False):
            draw_found(figure, x, top, side, example, wrong=1)
    write_key(figure, EDGE, tops[-1], key, width - 2 * EDGE)
    steps = "; ".join(f"step {step:,}: {told(examples)}" for step, examples in moments.items())
    alt = f"The boxes found in {len(images)} pictures as training goes on. {steps}. At the end, "
    figure.caption = Caption("Boxes over the training", f"{alt}{spoken(last)}.", HOW_TO_READ)
    return figure


class GrowingBoxes:
    """What a model finds in a few pictures while it trains; a notebook redraws it at each `add`."""

    def __init__(self, images: Sequence[np.ndarray], truths: Sequence[Boxes]):
        self.images, self.truths = images, truths
        self.history: dict[int, list[Boxes]] = {}
        """Step -> what was found in each picture, as `growing_boxes` draws it."""
        self.shown: Any = None

    def add(self, step: int, found: Sequence[Boxes]) -> None:
        """Note what is found after a step; in a notebook, show it in the place of the last."""
        self.history[step] = list(found)
        if self.shown is not None:
            self.shown.update(self.picture())
        elif in_notebook():
            from IPython.display import display

            self.shown = display(self.picture(), display_id=True)

    def examples(self, step: int) -> list[Example]:
        """The pictures as they stood after a step."""
        together = zip(self.images, self.history[step], self.truths, strict=True)
        return [Example(*one) for one in together]

    @styled
    def picture(self, columns: int = 4) -> Picture:
        """The newest boxes, and how many things were found after each step so far."""
        step = max(self.history)
        examples = self.examples(step)
        side = (WIDTH - 2 * EDGE - (columns - 1) * GAP) / columns
        rows = [examples[first : first + columns] for first in range(0, len(examples), columns)]
        tops = EDGE + HEAD + np.cumsum([0.0, *(row_height(side, row, wrong=1) for row in rows)])
        across = WIDTH - 2 * EDGE
        key = key_height(FOUND_KEY, across)
        figure = Picture(figsize=(WIDTH, tops[-1] + key + 1.75))
        write(figure, EDGE, EDGE, f"step {step:,}: {told(examples)}", fontweight="bold")
        for row, top in zip(rows, tops, strict=False):
            for number, example in enumerate(row):
                x = EDGE + number * (side + GAP)
                draw_found(figure, x, top, side, example, wrong=1, named=True)
        write_key(figure, EDGE, tops[-1], FOUND_KEY, across)
        self.draw_counts(figure, tops[-1] + key)
        alt = f"After step {step:,}, {told(examples)}; {spoken(examples)}."
        figure.caption = Caption("Boxes as they grow", alt, HOW_TO_READ)
        return figure

    def draw_counts(self, figure: Picture, top: float) -> None:
        """Things found and boxes wrong over the steps."""
        steps = sorted(self.history)
        counts = np.array([tally(self.examples(step)) for step in steps])
        axes = place(figure, EDGE + 0.45, top + 0.1, WIDTH - 2 * EDGE - 2.0, 1.1)
        axes.spines[["left", "bottom"]].set_visible(True)
        axes.grid(True)
        for at, colour, line, name in ((0, GREEN, "-", "found"), (2, VERMILLION, "--", "wrong")):
            axes.plot(steps, counts[:, at], line, color=colour, marker="o", markersize=4,
                      label=name)  # fmt: skip
        there = int(counts[0, 1])
        axes.axhline(there, color=MUTED, linestyle=":", linewidth=1.6, label=f"all {there} things")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.08), fontsize=9)
        axes.set(ylim=(-0.06 * there, 1.12 * max(there, counts[:, 2].max())))
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=9)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))


def in_notebook() -> bool:
    """Whether pictures can be shown and redrawn here."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def spread(steps: Sequence[int], count: int) -> list[int]:
    """The first, the last, and at most so many in all; the early ones, that change fast, denser."""
    first, *wanted, last = np.linspace(steps[0] ** 0.5, steps[-1] ** 0.5, max(count, 2)) ** 2
    left, chosen = list(steps), []
    for one in (first, last, *wanted):
        if left:
            chosen.append(min(left, key=lambda step: abs(step - one)))
            left.remove(chosen[-1])
    return sorted(chosen)
