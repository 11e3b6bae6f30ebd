"""ALBEF as a diagram whose numbers come from a model that has just run."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from minivl.models.albef import Albef
from minivl.visualize.diagram import arrow, box, canvas
from minivl.visualize.style import (
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    VERMILLION,
    Caption,
    Picture,
    show_image,
    styled,
    wrap,
)
from minivl.visualize.trio import blocks

WIDTH, HEIGHT, EDGE = 11.2, 6.3, 0.1
LEFT, MIDDLE, RIGHT = 1.75, 5.35, 9.05
"""Across: the picture, what lies between, the sentence."""
ENCODER, HEAD = (2.9, 0.74), (1.7, 0.62)
TWIN, QUEUES, ALONE, FUSED, ANSWERS = 0.4, 1.3, 2.45, 4.2, 5.65
"""Heights of the twin, its queues, the two encoders, the third, its heads."""
HEADS = (RIGHT - 1.2, RIGHT + 0.8)

HOW_TO_READ = (
    "Read from the bottom up. A picture on the left, a sentence on the right: each encoder can be "
    "asked alone, and both meet in the contrastive loss, ITC, whose keys are the momentum twin's, "
    "of this batch and of the queues. Above them words look at words and then at the picture; the "
    "picture itself learns nothing from the words. ITM is asked at [CLS], MLM where words are "
    "hidden."
)


@styled
def align_then_fuse(
    model: Albef, batch: Mapping[str, Tensor], image: np.ndarray, sentence: str
) -> Picture:
    """Encoders, twin, queues and heads, with the shapes of one pair.

    batch: pairs, of which the first is run; image (h, w, 3) uint8 and sentence: its own.
    """
    one = {name: value[:1] for name, value in batch.items()}
    with torch.no_grad():
        patches = model.image_tokens(one["image"])
        words = model.text_states(one["input_ids"], one["attention_mask"])
        fused = model.fuse(patches, words, one["attention_mask"])
    shapes = {"patches": patches.shape[1:], "words": words.shape[1:], "fused": fused.shape[1:]}
    depth = {
        "image": len(model.image_encoder.transformer.blocks),
        "text": len(model.text_encoder.transformer.blocks),
        "fusion": len(model.fusion_encoder.blocks),
    }
    figure = Picture(figsize=(WIDTH + 2 * EDGE, HEIGHT + 2 * EDGE))
    axes = canvas(figure, EDGE, EDGE, WIDTH, HEIGHT)
    draw_inputs(axes, image, sentence)
    draw_encoders(axes, depth, model.embed_dim)
    draw_twin(axes, model.image_queue.shape[1])
    draw_fusion(axes, shapes, depth["fusion"])
    draw_heads(axes, model)
    figure.caption = Caption("ALBEF: align, then fuse", alt_text(model, shapes, depth), HOW_TO_READ)
    return figure


def draw_inputs(axes: Axes, image: np.ndarray, sentence: str) -> None:
    """The picture at the lower left, the sentence at the lower right."""
    side = 1.0
    thumb = axes.inset_axes((LEFT - side / 2, 0.1, side, side), transform=axes.transData)
    thumb.set(xticks=[], yticks=[])
    thumb.grid(False)
    thumb.spines[:].set_visible(False)
    show_image(thumb, image)
    words = wrap(f"“{sentence}”", 28, 3)
    axes.text(RIGHT, 0.65, words, ha="center", va="center", fontsize=10, linespacing=1.2)


def draw_encoders(axes: Axes, depth: Mapping[str, int], embed_dim: int) -> None:
    """One encoder a side, and where they meet."""
    half = 0.7
    for x, start, colour, name, told, key in (
        (LEFT, 1.15, BLUE, "image encoder: ViT", "patches look at patches", "image"),
        (RIGHT, 1.05, VERMILLION, "text encoder: BERT, lower half", "words look at words", "text"),
    ):
        arrow(axes, [(x, start), (x, ALONE - ENCODER[1] / 2)], colour)
        box(axes, (x, ALONE), ENCODER, f"{name}\n{blocks(depth[key])}: {told}", colour)
        inward = 1 if x < MIDDLE else -1
        start, end = x + inward * ENCODER[0] / 2, MIDDLE - inward * half
        arrow(axes, [(start, ALONE), (end, ALONE)], colour)
        axes.text((start + end) / 2, ALONE + 0.32, f"{key}_proj\n→ {embed_dim}", ha="center",
                  va="center", fontsize=9.5, color=MUTED)  # fmt: skip
    box(axes, (MIDDLE, ALONE), (2 * half, ENCODER[1]), "ITC\nwho finds whom?", PURPLE, fontsize=9.5)


def draw_twin(axes: Axes, places: int) -> None:
    """The momentum twin, and what it leaves in the queues."""
    words = "momentum twin\nall encoders once more, no gradient"
    box(axes, (MIDDLE, TWIN), (3.3, 0.62), words, MUTED, fontsize=9.5)
    arrow(axes, [(MIDDLE, TWIN + 0.31), (MIDDLE, QUEUES - 0.24)])
    told = f"queues: {places:,} pictures, {places:,} sentences"
    box(axes, (MIDDLE, QUEUES), (3.3, 0.48), told, MUTED, fontsize=9.5)
    arrow(axes, [(MIDDLE, QUEUES + 0.24), (MIDDLE, ALONE - ENCODER[1] / 2)])
    axes.text(MIDDLE + 0.1, (QUEUES + ALONE) / 2 - 0.07, "keys", va="center", fontsize=9.5,
              color=MUTED)  # fmt: skip


def draw_fusion(axes: Axes, shapes: Mapping[str, tuple[int, ...]], depth: int) -> None:
    """Words go straight up; the picture comes in from the side."""
    width = 4.2
    words = (
        f"fusion encoder: BERT, upper half\n{blocks(depth)}: words look at words, then at patches"
    )
    box(axes, (RIGHT, FUSED), (width, 0.78), words, GREEN)
    top = ALONE + ENCODER[1] / 2
    arrow(axes, [(RIGHT, top), (RIGHT, FUSED - 0.39)], VERMILLION)
    count, size = shapes["words"]
    axes.text(RIGHT + 0.12, (top + FUSED - 0.39) / 2, f"{count} word pieces × {size}", va="center",
              fontsize=9.5, color=MUTED)  # fmt: skip
    arrow(axes, [(LEFT, top), (LEFT, FUSED), (RIGHT - width / 2, FUSED)], BLUE)
    count, size = shapes["patches"]
    told = f"{count} tokens × {size}\nkeys and values, once a picture"
    axes.text((LEFT + RIGHT - width / 2) / 2, FUSED + 0.3, told, ha="center", va="center",
              fontsize=9.5, color=MUTED, linespacing=1.3)  # fmt: skip


def draw_heads(axes: Axes, model: Albef) -> None:
    """Both heads of the fused words."""
    answers = {"itm": f"{model.itm_head.out_features} answers",
               "mlm": f"{len(model.mlm_head.bias):,} words"}  # fmt: skip
    for x, name, where, colour in (
        (HEADS[0], "itm", "at [CLS]", GREEN),
        (HEADS[1], "mlm", "at hidden words", GREEN),
    ):
        arrow(axes, [(x, FUSED + 0.39), (x, ANSWERS - HEAD[1] / 2)], colour)
        axes.text(x + 0.1, (FUSED + 0.39 + ANSWERS - HEAD[1] / 2) / 2, where, va="center",
                  fontsize=9.5, color=MUTED)  # fmt: skip
        told = answers[name] if name in model.objectives else "left out"
        box(axes, (x, ANSWERS), HEAD, f"{name.upper()}\n{told}", colour, fontsize=9.5)


def alt_text(model: Albef, shapes: Mapping[str, tuple[int, ...]], depth: Mapping[str, int]) -> str:
    """The diagram in words, with the numbers of this model."""
    patches, words, fused = (shapes[name] for name in ("patches", "words", "fused"))
    return (
        f"A diagram read from the bottom up. A picture enters the image encoder "
        f"({blocks(depth['image'])}, {patches[0]} tokens of width {patches[1]}), a sentence the "
        f"text encoder ({blocks(depth['text'])}, {words[0]} word pieces of width {words[1]}). "
        f"Projections to {model.embed_dim} numbers lead to the contrastive loss between them; its "
        f"keys are those of the momentum twin below, and of queues of "
        f"{model.image_queue.shape[1]:,} pictures and as many sentences. The words go up into the "
        f"fusion encoder ({blocks(depth['fusion'])}), the picture's tokens enter it from the side "
        f"as keys and values; {fused[0]} words come out. Above it two heads: matching, and hidden "
        "words."
    )
