"""UniT as a diagram whose numbers come from a model that has just run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from minivl.models.unit import Unit
from minivl.visualize.diagram import arrow, box, canvas
from minivl.visualize.style import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILLION,
    Caption,
    Picture,
    show_image,
    styled,
    wrap,
)
from minivl.visualize.trio import blocks

WIDTH, HEIGHT, EDGE = 11.2, 6.5, 0.1
LEFT, RIGHT, MIDDLE = 2.2, 6.1, 4.15
"""Across: the picture's road, the text's, and where they join."""
ENCODERS, JOINED, DECODER, HEADS = (1.75, 2.65), 3.55, 4.6, 5.95
"""Heights: two boxes an encoder, the tokens side by side, the decoder, its heads."""
WIDE, TALL = 3.3, 0.62
QUERIES = 9.75

HOW_TO_READ = (
    "Read from the bottom up. A picture goes through convolutions and a transformer, a text "
    "through BERT. What comes out stands side by side, and one decoder looks at it. Its queries, "
    "on the right, are the task's own: the only thing that says what is asked of the decoder. Each "
    "task has a head of its own, which reads all queries for boxes, and the first for an answer."
)


@styled
def one_decoder(model: Unit, batch: Mapping[str, Any], image: np.ndarray, question: str) -> Picture:
    """Encoders, decoder, queries and heads, with the shapes of one example.

    batch: of a task with picture and text, the first of which is run; image (h, w, 3) uint8 and
    question: its own.
    """
    one = {k: v[:1] if torch.is_tensor(v) else v for k, v in batch.items()}
    task = model.tasks[one["task"]]
    with torch.no_grad():
        cells, words = model.encode_image(one, task), model.encode_text(one, task)
        states = model.decode(one)
    shapes = {"cells": tuple(cells.states.shape[1:]), "words": tuple(words.states.shape[1:]),
              "queries": tuple(states.shape[2:])}  # fmt: skip
    depth = {
        "image": len(model.image_encoder.transformer.blocks),
        "text": len(model.text_encoder.bert.transformer.blocks),
        "decoder": len(states),
    }
    figure = Picture(figsize=(WIDTH + 2 * EDGE, HEIGHT + 2 * EDGE))
    axes = canvas(figure, EDGE, EDGE, WIDTH, HEIGHT)
    draw_inputs(axes, image, question)
    draw_encoders(axes, shapes, depth)
    draw_decoder(axes, shapes, depth["decoder"], task.name)
    draw_queries(axes, model, task.name)
    draw_heads(axes, model)
    alt = alt_text(model, shapes, depth, task.name)
    figure.caption = Caption("UniT: one decoder for all tasks", alt, HOW_TO_READ)
    return figure


def draw_inputs(axes: Axes, image: np.ndarray, question: str) -> None:
    """The picture at the left, the words beside it."""
    side = 0.95
    thumb = axes.inset_axes((LEFT - side / 2, 0.1, side, side), transform=axes.transData)
    thumb.set(xticks=[], yticks=[])
    thumb.grid(False)
    thumb.spines[:].set_visible(False)
    show_image(thumb, image)
    axes.text(RIGHT, 0.6, wrap(f"“{question}”", 30, 3), ha="center", va="center", fontsize=10,
              linespacing=1.2)  # fmt: skip


def draw_encoders(
    axes: Axes, shapes: Mapping[str, tuple[int, ...]], depth: Mapping[str, int]
) -> None:
    """Convolutions and a transformer; BERT; a task token in each."""
    low, high = ENCODERS
    arrow(axes, [(LEFT, 1.1), (LEFT, low - TALL / 2)], BLUE)
    box(axes, (LEFT, low), (WIDE, TALL), "convolutions\npixels → cells", BLUE)
    arrow(axes, [(LEFT, low + TALL / 2), (LEFT, high - TALL / 2)], BLUE)
    told = f"transformer, {blocks(depth['image'])}\ncells look at cells, and a task token"
    box(axes, (LEFT, high), (WIDE, TALL), told, BLUE)
    middle = (low + high) / 2
    arrow(axes, [(RIGHT, 0.95), (RIGHT, middle - 0.45)], VERMILLION)
    told = f"BERT, {blocks(depth['text'])}\nwords look at words,\nand a task token"
    box(axes, (RIGHT, middle), (WIDE, 0.9), told, VERMILLION)
    for x, top, colour, name, words in (
        (LEFT, high + TALL / 2, BLUE, "cells", "cells"),
        (RIGHT, middle + 0.45, VERMILLION, "words", "word pieces"),
    ):
        count, width = shapes[name]
        arrow(axes, [(x, top), (x, JOINED - 0.2)], colour)
        axes.text(x + 0.1, (top + JOINED - 0.2) / 2, f"{count} {words} × {width}", va="center",
                  fontsize=9.5, color=MUTED)  # fmt: skip


def draw_decoder(axes: Axes, shapes: Mapping[str, tuple[int, ...]], depth: int, task: str) -> None:
    """All tokens side by side, and the decoder above them."""
    total = shapes["cells"][0] + shapes["words"][0]
    wide = RIGHT - LEFT + WIDE
    told = f"side by side: {total} tokens with their places"
    box(axes, (MIDDLE, JOINED), (wide, 0.4), told, MUTED, fontsize=9.5)
    arrow(axes, [(MIDDLE, JOINED + 0.2), (MIDDLE, DECODER - 0.39)])
    axes.text(MIDDLE + 0.1, (JOINED + DECODER - 0.19) / 2, "keys and values", va="center",
              fontsize=9.5, color=MUTED)  # fmt: skip
    told = f"decoder, {blocks(depth)}, for all tasks\nqueries look at queries, then at all tokens"
    box(axes, (MIDDLE, DECODER), (wide, 0.78), told, GREEN)


def draw_queries(axes: Axes, model: Unit, task: str) -> None:
    """A table a task; the one that is asked goes into the decoder."""
    names = list(model.tasks)
    right = MIDDLE + (RIGHT - LEFT + WIDE) / 2
    line = 0.3
    bottom = DECODER - line * names.index(task)
    axes.text(QUERIES, bottom + line * len(names), "queries of each task", ha="center",
              va="center", fontsize=10, fontweight="bold")  # fmt: skip
    for number, name in enumerate(names):
        y = bottom + line * number
        colour = ORANGE if name == task else MUTED
        told = f"{name}: {model.tasks[name].queries}"
        box(axes, (QUERIES, y), (2.3, 0.25), told, colour, fontsize=9)
    arrow(axes, [(QUERIES - 1.15, DECODER), (right, DECODER)], ORANGE)


def draw_heads(axes: Axes, model: Unit) -> None:
    """What is read of the queries' states."""
    kinds = {kind: [t for t in model.tasks.values() if t.kind == kind]
             for kind in ("boxes", "answer")}  # fmt: skip
    lines = {
        "boxes": "a class or “nothing”, and a box\nof each query",
        "answer": "an answer\nof the first query",
    }
    for x, kind in ((LEFT, "boxes"), (RIGHT, "answer")):
        if kinds[kind]:
            count = len(kinds[kind])
            arrow(axes, [(x, DECODER + 0.39), (x, HEADS - 0.37)])
            told = f"{count} {'head' if count == 1 else 'heads'}: {lines[kind]}"
            box(axes, (x, HEADS), (WIDE, 0.74), told, PURPLE, fontsize=9.5)


def alt_text(
    model: Unit, shapes: Mapping[str, tuple[int, ...]], depth: Mapping[str, int], task: str
) -> str:
    """The diagram in words, with the numbers of this model."""
    cells, words, queries = (shapes[name] for name in ("cells", "words", "queries"))
    tables = ", ".join(f"{one.name} {one.queries}" for one in model.tasks.values())
    return (
        f"A diagram read from the bottom up. A picture goes through convolutions and a transformer "
        f"({blocks(depth['image'])}) and becomes {cells[0]} cells of width {cells[1]}; a text goes "
        f"through BERT ({blocks(depth['text'])}) and becomes {words[0]} word pieces of width "
        f"{words[1]}. Both stand side by side before a decoder ({blocks(depth['decoder'])}). From "
        f"the right come its queries, of a table for each task ({tables}); here the {queries[0]} "
        f"of {task}. Above the decoder are heads: for boxes they read each query, for an answer "
        "the first one."
    )
