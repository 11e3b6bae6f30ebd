"""What a model finds in a picture beside what is there: how it is judged, and how it is drawn.

A true thing counts as found where a box of its name covers it by half or more (intersection over
union), as AP50 has it. A box counts as said where its name is likelier than all others and
"nothing" together. Boxes are corners x0, y0, x1, y1 in pixels.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.data.boxes import Target
from minivl.objectives.detection import box_iou
from minivl.visualize.attention import lit
from minivl.visualize.style import (
    BLACK,
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Picture,
    place,
    show_image,
    wrap,
    write,
)

SURE, COVERED = 0.5, 0.5
LINE, LETTERS = 0.17, 13.4
"""Of the small print: inches from line to line, and letters in an inch."""
KEY_LINE, KEY_LETTERS = 0.185, 15.2
"""The same of a figure's last lines, which say what its marks mean."""

TRUE_KEY = "White: true."
FOUND_KEY = (
    "Green: name and place are right. Orange, dashed: wrong, or found already (“again”). Thin: "
    "rather “nothing”. The percentage is how sure the model is of the name; grey: of a thin box. "
    "“Not found”: no box of that name overlaps the thing by half."
)
NOTES_KEY = "Behind the percentage: the size and the colour that the model tells."
"""What frames and words mean, for the figure itself: a notebook shows no caption."""
HOW_TO_READ = (
    "White boxes are true. Green ones with a number have found the thing of that number: the name "
    "is right, and the two boxes overlap by half or more. Orange dashed ones are wrong: another "
    "name, another place, or a thing that was found already (“again”). The percentage is how sure "
    "the model is of the name. Where it believes more in “nothing” than in the name, the box is "
    "thin and the percentage grey. “Not found”: no box of that name, sure or not, overlaps the "
    "thing by half."
)


@dataclass(frozen=True)
class Boxes:
    """Boxes in one picture."""

    boxes: np.ndarray
    """(n, 4) corners."""
    names: tuple[str, ...]
    """What is in each."""
    scores: np.ndarray
    """(n,): how sure that is, 0 to 1; of true boxes 1."""
    notes: tuple[str, ...] = ()
    """What else is said of each, such as its colour; none, or n of them."""

    @classmethod
    def found(
        cls, found: Mapping[str, Any], classes: Sequence[str], notes: Sequence[str] = ()
    ) -> "Boxes":
        """boxes (q, 4), scores (q), labels (q), as a model's `detect` gives them, or as lists."""
        boxes, scores, labels = (
            torch.as_tensor(found[name]).detach().cpu().numpy()
            for name in ("boxes", "scores", "labels")
        )
        names = tuple(name_of(label, classes) for label in labels)
        return cls(boxes.reshape(-1, 4), names, scores, tuple(notes))

    @classmethod
    def true(cls, target: Target, classes: Sequence[str], notes: Sequence[str] = ()) -> "Boxes":
        """What is to be found."""
        names = tuple(classes[label] for label in target.labels)
        return cls(target.boxes, names, np.ones(len(names)), tuple(notes))

    def called(self, number: int) -> str:
        """Note and name of a box: "small red car"."""
        note = self.notes[number] if self.notes else ""
        return f"{note} {self.names[number]}".strip()


class Example(NamedTuple):
    """A picture uint8 (h, w, 3), what is found in it, and what is there."""

    image: np.ndarray
    found: Boxes
    truth: Boxes


def name_of(number: int, names: Sequence[str]) -> str:
    """A class's name; a model may have more classes than there are names."""
    return names[number] if number < len(names) else f"class {number}"


# Judge.


def fits(found: Boxes, truth: Boxes) -> np.ndarray:
    """How well each box covers each thing of its name, 0 below a half: (boxes, things)."""
    overlap = box_iou(*(torch.from_numpy(np.asarray(one.boxes, float)) for one in (found, truth)))
    same = np.array(found.names, object)[:, None] == np.array(truth.names, object)
    return np.where(same & (overlap.numpy() >= COVERED), overlap.numpy(), 0.0)


def hits(found: Boxes, truth: Boxes) -> np.ndarray:
    """Which true thing each box has found, -1 for none: (boxes,) int.

    The surest box chooses first: of the free things of its name the one that it covers best.
    """
    free, which = fits(found, truth), np.full(len(found.names), -1)
    for number in surest_first(found):
        if free[number].max(initial=0) > 0:
            which[number] = free[number].argmax()
            free[:, which[number]] = 0
    return which


def surest_first(found: Boxes) -> np.ndarray:
    """Places of the boxes by falling score."""
    return np.argsort(-found.scores, kind="stable")


def tally(examples: Sequence[Example]) -> tuple[int, int, int]:
    """Over all pictures: things found, things there, and boxes that are wrong."""
    found = wrong = 0
    for example in examples:
        which = hits(example.found, example.truth)[example.found.scores > SURE]
        found, wrong = found + int((which >= 0).sum()), wrong + int((which < 0).sum())
    return found, sum(len(example.truth.names) for example in examples), wrong


def told(examples: Sequence[Example]) -> str:
    """'5 of 9 things found, 1 box wrong'."""
    found, there, wrong = tally(examples)
    return f"{found} of {there} things found, {wrong} {'box' if wrong == 1 else 'boxes'} wrong"


def verdicts(found: Boxes, truth: Boxes) -> tuple[list[str], list[tuple[str, str]]]:
    """How sure each true thing was found, and what was said wrongly (name, percentage), the surest
    first."""
    which, fit = hits(found, truth), fits(found, truth)
    said, mistakes = ["not found"] * len(truth.names), []
    for number in surest_first(found):
        share, sure = f"{100 * found.scores[number]:.0f} %", found.scores[number] > SURE
        if which[number] >= 0:
            note = f", {found.notes[number]}" if found.notes and found.notes[number] else ""
            said[which[number]] = f"✓ {share}{note}" if sure else share
        elif sure:
            again = " again" if fit[number].any() else ""
            mistakes.append((f"{found.called(number)}{again}", share))
    return said, mistakes


def spoken(examples: Sequence[Example]) -> str:
    """'picture 1: dog ✓ 97 %, cat not found, wrongly tree 60 %', and so on."""
    sentences = []
    for number, (_, found, truth) in enumerate(examples, start=1):
        said, mistakes = verdicts(found, truth)
        parts = [f"{truth.called(i)} {words}" for i, words in enumerate(said)]
        parts += [f"wrongly {name} {share}" for name, share in mistakes]
        sentences.append(f"picture {number}: {', '.join(parts) or 'nothing'}")
    return "; ".join(sentences)


# Draw.


def row_height(side: float, row: Sequence[Example], wrong: int) -> float:
    """Inches: pictures, a line for each of their things, and the lines for what is wrong."""
    tallest = max(side * image.shape[0] / image.shape[1] for image, *_ in row)
    lines = max(len(one.truth.names) + len(wrong_lines(one, wrong)) for one in row)
    return tallest + 0.06 + LINE * lines + 0.16


def wrong_lines(example: Example, most: int) -> list[str]:
    """What is said wrongly, the surest first, in at most so many lines."""
    _, mistakes = verdicts(example.found, example.truth)
    if len(mistakes) <= most:
        return [f"✗ {name}" for name, _ in mistakes]
    left = len(mistakes) - most + 1
    return [*(f"✗ {name}" for name, _ in mistakes[: most - 1]),
            f"✗ {left} more wrong" if most > 1 else f"✗ {left} wrong"]  # fmt: skip


def draw_truth(figure: Picture, x: float, y: float, side: float, example: Example) -> None:
    """The picture with numbered white boxes, and below it what is in them."""
    axes, below = panel(figure, x, y, side, example.image)
    taken: list[np.ndarray] = []
    for number, box in enumerate(example.truth.boxes):
        draw_box(axes, box, "white")
        badge(axes, box, str(number + 1), BLACK, side, taken)
        small(
            figure, x, below + number * LINE, f"{number + 1} {example.truth.called(number)}", side
        )


def draw_found(
    figure: Picture,
    x: float,
    y: float,
    side: float,
    example: Example,
    *,
    wrong: int,
    named: bool = False,
) -> None:
    """The picture with the boxes found, and below it how sure each true thing was found; then what
    is wrong, in so many lines. `named`: with the things' names, where no truth stands beside."""
    image, found, truth = example
    axes, below = panel(figure, x, y, side, image)
    which, taken = hits(found, truth), []
    order = surest_first(found)
    for number in order[found.scores[order] <= SURE]:
        draw_box(axes, found.boxes[number], "white", dense=0.12 + found.scores[number])
    for number in order[found.scores[order] > SURE]:
        right, box = which[number] >= 0, found.boxes[number]
        colour = GREEN if right else VERMILLION
        draw_box(axes, box, colour, dashed=not right)
        badge(axes, box, str(which[number] + 1) if right else "✗", colour, side, taken)
    said, _ = verdicts(found, truth)
    for number, words in enumerate(said):
        name = f"{truth.called(number)} " if named else ""
        colour = GREEN if words.startswith("✓") else MUTED
        small(figure, x, below, f"{number + 1} {name}{words}", side, colour)
        below += LINE
    for line in wrong_lines(example, wrong):
        small(figure, x, below, line, side, VERMILLION)
        below += LINE


def small(figure: Picture, x: float, y: float, text: str, side: float, colour: str = INK) -> None:
    """A line of small print below a picture, cut off at its right edge."""
    line = wrap(text, round(side * LETTERS), 1)
    # Signs are taller than letters: lines are even where their feet stand, not their heads.
    write(figure, x, y + 0.115, line, fontsize=8.5, color=colour, va="baseline")


def key_height(text: str, width: float) -> float:
    """Inches that a figure's last lines take, the edge below them included."""
    return 0.12 + KEY_LINE * len(key_lines(text, width))


def write_key(figure: Picture, x: float, y: float, text: str, width: float) -> None:
    """What the marks mean, in lines of so many inches."""
    for number, line in enumerate(key_lines(text, width)):
        write(figure, x, y + KEY_LINE * number, line, fontsize=9, color=MUTED)


def key_lines(text: str, width: float) -> list[str]:
    """The text as lines of so many inches."""
    together = text.replace(" %", "\u00a0%")  # no line begins with the sign
    return textwrap.wrap(together, round(width * KEY_LETTERS))


def panel(
    figure: Picture,
    x: float,
    y: float,
    side: float,
    image: np.ndarray,
    look: np.ndarray | None = None,
) -> tuple[Axes, float]:
    """A picture of a width in inches, under a map (gh, gw) if there is one, and the height at
    which to write below it."""
    height, width = image.shape[:2]
    axes = place(figure, x, y, side, side * height / width)
    show_image(axes, image if look is None else lit(image, look))
    # Pixels of the picture itself, as boxes count, also where the map enlarged it.
    axes.images[0].set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return axes, y + side * height / width + 0.06


def draw_box(
    axes: Axes, box: np.ndarray, colour: str, *, dashed: bool = False, dense: float = 0.0
) -> None:
    """A box with a dark seam, so that it is seen on any picture; or thin, and so dense."""
    # Pixel centres are whole numbers in matplotlib: the box's edge lies half a pixel before.
    x0, y0, x1, y1 = np.asarray(box, float) - 0.5
    frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour)
    if dense:
        frame.set(linewidth=0.8, alpha=min(dense, 1.0))
    else:
        frame.set(linewidth=1.8, linestyle=(0, (3, 1.5)) if dashed else "-")
        frame.set_path_effects([patheffects.withStroke(linewidth=3.2, foreground="black")])
    axes.add_patch(frame)


def badge(
    axes: Axes, box: np.ndarray, text: str, colour: str, side: float, taken: list[np.ndarray]
) -> None:
    """A small mark in that corner of a box, inside of the picture, which is still free."""
    size = np.array([axes.get_xlim()[1], axes.get_ylim()[0]]) + 0.5
    half = 0.085 * size[0] / side
    x0, y0, x1, y1 = box
    spots = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]).clip(half, size - half)
    free = [spot for spot in spots if all(np.abs(spot - one).max() >= 2 * half for one in taken)]
    if not free:
        return
    taken.append(free[0])
    back = {"boxstyle": "square,pad=0.12", "facecolor": colour, "edgecolor": "none"}
    axes.text(*(free[0] - 0.5), text, color="white", fontsize=8, fontweight="bold", ha="center",
              va="center_baseline", bbox=back)  # fmt: skip
