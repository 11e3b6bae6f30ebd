"""FLAVA's three encoders as a diagram whose numbers come from a model that has just run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from minivl.visualize.diagram import arrow, box, canvas
from minivl.visualize.passes import Pass, traced
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

WIDTH, HEIGHT, EDGE = 11.2, 6.35, 0.1
LEFT, MIDDLE, RIGHT = 2.95, 5.6, 8.25
"""Across: picture, both, sentence."""
ENCODER, HEAD = (1.9, 0.64), (1.5, 0.64)
UNIMODAL, TOKENS, FUSED, ANSWERS = 1.8, 3.3, 4.35, 5.6
"""Heights of the two encoders, of the joint sequence, of the third encoder, of its heads."""
SQUARE, STEP = 0.17, 0.25
JOIN = {"image": 4.6, "text": 7.35}
"""Where each side's tokens enter the joint sequence."""

HOW_TO_READ = (
    "Read from the bottom up. Each encoder can be asked alone: pictures on the left, sentences on "
    "the right. Both projections lead to the contrastive loss; both linear layers lead into one "
    "row of tokens that the third encoder reads. Beside each head: what it chooses from, and which "
    "batches teach it."
)


@styled
def trio(
    model: nn.Module, batch: Mapping[str, Tensor], image: np.ndarray, sentence: str
) -> Picture:
    """The encoders, the way between them, the heads.

    batch: pairs, which `model.losses` runs to learn the shapes; image (h, w, 3) uint8 and sentence:
    those of its first row.
    """
    one = {name: value[:1] for name, value in batch.items()}
    with torch.no_grad():
        passes = traced(model, lambda: model.losses(one))[1]
    shapes = {call.part: call for call in passes}
    depth = {name: len(getattr(model, name).transformer.blocks) for name in
             ("image_encoder", "text_encoder", "multimodal_encoder")}  # fmt: skip
    figure = Picture(figsize=(WIDTH + 2 * EDGE, HEIGHT + 2 * EDGE))
    axes = canvas(figure, EDGE, EDGE, WIDTH, HEIGHT)
    draw_inputs(axes, image, sentence)
    tokens = {side: shapes[f"{side} encoder"].entering[1] for side in ("image", "text")}
    draw_sides(axes, shapes, depth, model)
    draw_meeting(axes, shapes)
    draw_sequence(axes, tokens, shapes["multimodal encoder"])
    draw_fused(axes, depth["multimodal_encoder"], model)
    figure.caption = Caption("FLAVA's three encoders", alt_text(shapes, depth), HOW_TO_READ)
    return figure


def blocks(count: int) -> str:
    """'1 block', '2 blocks'."""
    return f"{count} block{'s' if count != 1 else ''}"


def answers(model: nn.Module, name: str, things: str) -> str:
    """'mim_head\n256 codes': a head and the number of its answers; how it stands without it."""
    head = getattr(model, name, None)
    if head is None:
        return f"{name}\nleft out"
    classes = len(head.bias) if hasattr(head, "bias") else head.seq_relationship.out_features
    return f"{name}\n{classes:,} {things}"


def draw_inputs(axes: Axes, image: np.ndarray, sentence: str) -> None:
    """The picture at the lower left, the sentence at the lower right."""
    side = 0.95
    thumb = axes.inset_axes((LEFT - side / 2, 0, side, side), transform=axes.transData)
    thumb.set(xticks=[], yticks=[])
    thumb.grid(False)
    thumb.spines[:].set_visible(False)
    show_image(thumb, image)
    words = wrap(f"“{sentence}”", 26, 3)
    axes.text(RIGHT, 0.5, words, ha="center", va="center", fontsize=10, linespacing=1.2)


def draw_sides(
    axes: Axes, shapes: Mapping[str, Pass], depth: Mapping[str, int], model: nn.Module
) -> None:
    """The two encoders with the heads that they have for themselves."""
    for x, side, colour, name, things, start in (
        (LEFT, "image", BLUE, "mim_head", "codes", 1.0),
        (RIGHT, "text", VERMILLION, "mlm_head", "words", 0.85),
    ):
        outward = -1 if x < MIDDLE else 1
        arrow(axes, [(x, start), (x, UNIMODAL - ENCODER[1] / 2)], colour)
        words = f"{side} encoder\n{blocks(depth[f'{side}_encoder'])}"
        box(axes, (x, UNIMODAL), ENCODER, words, colour)
        head = x + outward * (ENCODER[0] / 2 + 0.35 + HEAD[0] / 2)
        edge = x + outward * ENCODER[0] / 2
        arrow(axes, [(edge, UNIMODAL), (edge + outward * 0.35, UNIMODAL)], colour)
        box(axes, (head, UNIMODAL), HEAD, answers(model, name, things), colour, fontsize=9.5)
        teach = {"image": "pictures alone", "text": "texts alone"}[side]
        axes.text(head, UNIMODAL - 0.47, teach, ha="center", va="center", fontsize=9.5,
                  color=MUTED)  # fmt: skip
        # Up into the joint sequence.
        _, count, width = shapes[f"{side} encoder"].leaving
        way = [(x, UNIMODAL + ENCODER[1] / 2), (x, TOKENS - 0.35), (JOIN[side], TOKENS - 0.35),
               (JOIN[side], TOKENS - 0.11)]  # fmt: skip
        arrow(axes, way, colour)
        told = f"{count} × {width}\n{side}_to_mm"
        axes.text(x + outward * 0.12, UNIMODAL + 0.78, told, fontsize=9.5, va="center",
                  ha="right" if outward < 0 else "left", color=MUTED, linespacing=1.3)  # fmt: skip


def draw_meeting(axes: Axes, shapes: Mapping[str, Pass]) -> None:
    """The contrastive loss between the two encoders."""
    half = 0.72
    for side, x, colour in (("image", LEFT, BLUE), ("text", RIGHT, VERMILLION)):
        inward = 1 if x < MIDDLE else -1
        start, end = x + inward * ENCODER[0] / 2, MIDDLE - inward * half
        arrow(axes, [(start, UNIMODAL), (end, UNIMODAL)], colour)
        shape = shapes.get(f"{side}_proj")
        if shape is not None:
            told = f"{side}_proj\n→ {shape.leaving[-1]}"
            axes.text((start + end) / 2, UNIMODAL + 0.31, told, ha="center", va="center",
                      fontsize=9, color=MUTED)  # fmt: skip
    box(axes, (MIDDLE, UNIMODAL), (2 * half, HEAD[1]), "contrastive\none of the batch", PURPLE,
        fontsize=9.5)  # fmt: skip
    axes.text(MIDDLE, UNIMODAL - 0.47, "pairs", ha="center", va="center", fontsize=9.5,
              color=MUTED)  # fmt: skip


def draw_sequence(axes: Axes, tokens: Mapping[str, int], fused: Pass) -> None:
    """[CLS_M; h_I; h_T] as a row of squares, shortened, with the true numbers."""
    groups = (
        ("[CLS_M]", 1, GREEN),
        (f"h_I: class token, {tokens['image'] - 1} patches", 9, BLUE),
        (f"h_T: {tokens['text']} word pieces", 9, VERMILLION),
    )
    squares = sum(count for _, count, _ in groups)
    x = MIDDLE - (squares * STEP + 2 * 0.5) / 2
    for words, count, colour in groups:
        for number in range(count):
            centre = (x + STEP * (number + 0.5), TOKENS)
            box(axes, centre, (SQUARE, SQUARE), "", colour)
        axes.text(x + STEP * count / 2, TOKENS + 0.2, words, ha="center", va="center",
                  fontsize=9.5)  # fmt: skip
        x += STEP * count + 0.5
    sum_of = f"1 + {tokens['image']} + {tokens['text']} = {fused.entering[1]}"
    told = f"{sum_of}\ntokens × {fused.entering[2]}"
    axes.text(x - 0.4, TOKENS, told, ha="left", va="center", fontsize=9.5, color=MUTED)
    arrow(axes, [(MIDDLE, TOKENS + 0.36), (MIDDLE, FUSED - 0.34)], GREEN)


def draw_fused(axes: Axes, depth: int, model: nn.Module) -> None:
    """The third encoder and its heads."""
    words = f"multimodal encoder\n{blocks(depth)}: every token looks at patches and words"
    box(axes, (MIDDLE, FUSED), (6.2, 0.68), words, GREEN)
    heads = (
        (LEFT, "itm_head", "answers", "at [CLS_M]"),
        (MIDDLE, "mmm_image_head", "codes", "at hidden patches"),
        (RIGHT, "mmm_text_head", "words", "at hidden words"),
    )
    for x, name, things, where in heads:
        arrow(axes, [(x, FUSED + 0.34), (x, ANSWERS - HEAD[1] / 2)], GREEN)
        axes.text(x + 0.1, (FUSED + ANSWERS) / 2, where, va="center", fontsize=9.5, color=MUTED)
        words = answers(model, name, things)
        box(axes, (x, ANSWERS), (1.75, HEAD[1]), words, GREEN, fontsize=9.5)
    axes.text(MIDDLE, ANSWERS + 0.52, "pairs", ha="center", va="center", fontsize=9.5,
              color=MUTED)  # fmt: skip


def alt_text(shapes: Mapping[str, Pass], depth: Mapping[str, int], **_: Any) -> str:
    """The diagram in words, with the numbers of this model."""
    image, text = shapes["image encoder"].leaving, shapes["text encoder"].leaving
    fused = shapes["multimodal encoder"].leaving
    return (
        f"A diagram read from the bottom up. A picture enters the image encoder "
        f"({blocks(depth['image_encoder'])}, {image[1]} tokens of width {image[2]}), a sentence "
        f"the text encoder ({blocks(depth['text_encoder'])}, {text[1]} tokens). Each has a head of "
        "its own, for masked patches and for masked words, and a projection to the contrastive "
        "loss between them. Two linear layers lead upward into one sequence: [CLS_M], the "
        f"picture's tokens, the sentence's tokens, {fused[1]} together. The multimodal encoder "
        f"({blocks(depth['multimodal_encoder'])}) reads it; above it three heads: matching, masked "
        "patches, masked words."
    )
