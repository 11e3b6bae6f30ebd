"""Leaf through scenes: a picture with its boxes, and every sentence that is true of it."""

from typing import TYPE_CHECKING

import numpy as np

from minivl.data.captions import KINDS, captions
from minivl.data.examples import SPLITS, SceneExamples, SceneSource
from minivl.visualize.scenes import BOX_COLOURS, contact_sheet, draw_boxes
from minivl.visualize.style import (
    MUTED,
    Caption,
    Picture,
    place,
    png_bytes,
    show_image,
    styled,
    wrap,
    write,
)

if TYPE_CHECKING:
    from ipywidgets import VBox

SIDE, EDGE, GAP, WIDTH, LINE = 3.2, 0.15, 0.35, 9.2, 0.2
SPLIT_NAMES = {
    "train": "train: what models learn from",
    "validation": "validation: new photographs",
    "twemoji": "twemoji: an artist never seen",
    "compositions": "compositions: pairs never seen",
}
"""Split -> what its dropdown entry says."""


@styled
def scene_card(examples: SceneExamples, index: int, *, boxes: bool = True) -> Picture:
    """One scene large: its picture, its things with their boxes, its five sentences."""
    scene = examples.scene(index)
    image = examples.source.renderer.image(scene)
    figure = Picture(figsize=(WIDTH, 2 * EDGE + SIDE))
    axes = place(figure, EDGE, EDGE, SIDE, SIDE)
    show_image(axes, image)
    if boxes:
        draw_boxes(axes, np.array([thing.box for thing in scene.things]))
    left, top = EDGE + SIDE + GAP, EDGE
    sentences = dict(zip(KINDS, captions(scene), strict=True))
    for kind, sentence in sentences.items():
        words = wrap(sentence, 58, 2)
        write(figure, left, top, kind, fontsize=9, color=MUTED)
        write(figure, left + 0.95, top - 0.02, words, fontsize=10.5, linespacing=1.15)
        top += LINE * (words.count("\n") + 1) + 0.12
    top += 0.08
    for number, thing in enumerate(scene.things):
        x, y, width, height = thing.box
        colour = BOX_COLOURS[number % len(BOX_COLOURS)]
        badge = {"boxstyle": "square,pad=0.25", "facecolor": colour, "edgecolor": "black"}
        write(figure, left + 0.08, top + 0.02, "  ", fontsize=8, bbox=badge)
        words = f"{thing.name}, by {thing.vendor}: box x {x}, y {y}, {width} × {height} pixels"
        write(figure, left + 0.35, top, words, fontsize=9.5)
        top += LINE + 0.06
    alt = f"A scene of {image.shape[1]} pixels: {sentences['attributes']}. " + "; ".join(
        f"{thing.name} {thing.place}" for thing in scene.things
    )
    figure.caption = Caption(f"Scene {index}", f"{alt}.", "Boxes and sentences are exact.")
    return figure


def scene_sheet(
    examples: SceneExamples, first: int = 0, count: int = 8, *, boxes: bool = True
) -> Picture:
    """`count` scenes from number `first` on, each above the sentence that training reads."""
    numbers = range(first, first + count)
    return contact_sheet(
        [examples[number]["image"] for number in numbers],
        [examples.caption(number) for number in numbers],
        boxes=[np.array([t.box for t in examples.scene(n).things]) for n in numbers]
        if boxes
        else None,
    )


def browse(source: SceneSource, *, seed: int = 0, count: int = 500) -> "VBox":
    """A widget for Jupyter: choose a split, slide through `count` scenes, show or hide boxes.

    Its last child is the picture. It needs a running kernel; `scene_sheet` is the still beside it.
    """
    import ipywidgets

    split = ipywidgets.Dropdown(
        options=[(SPLIT_NAMES[name], name) for name in SPLITS], description="split"
    )
    index = ipywidgets.IntSlider(
        0, 0, count - 1, description="scene", layout=ipywidgets.Layout(width="60%")
    )
    boxes = ipywidgets.Checkbox(True, description="boxes", indent=False)
    image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))

    def draw(_: object = None) -> None:
        card = scene_card(source.examples(split.value, seed), index.value, boxes=boxes.value)
        image.value = png_bytes(card)

    for control in (split, index, boxes):
        control.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([split, boxes]), index, image])
