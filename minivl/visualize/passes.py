"""Which parts of FLAVA a batch runs, and for which loss: measured while the model computes it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from minivl.visualize.diagram import pale
from minivl.visualize.style import (
    BLUE,
    GREEN,
    HAIRLINE,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    styled,
    write,
)

PARTS = {
    "image encoder": ("image_encoder.transformer", BLUE),
    "text encoder": ("text_encoder.transformer", VERMILLION),
    "image_proj": ("image_proj", BLUE),
    "text_proj": ("text_proj", VERMILLION),
    "image_to_mm": ("image_to_mm", BLUE),
    "text_to_mm": ("text_to_mm", VERMILLION),
    "multimodal encoder": ("multimodal_encoder.transformer", GREEN),
    "mim_head": ("mim_head", BLUE),
    "mlm_head": ("mlm_head", VERMILLION),
    "mmm_image_head": ("mmm_image_head", GREEN),
    "mmm_text_head": ("mmm_text_head", GREEN),
    "itm_head": ("itm_head", GREEN),
}
"""What is watched: name -> (module, colour)."""

NAMES, COLUMN, LINE, EDGE, HEAD = 1.85, 1.75, 0.3, 0.15, 0.72

HOW_TO_READ = (
    "A column a kind of batch, a row a part of the model. Coloured: it ran, on as many sequences "
    "of as many tokens, or on as many rows. Empty: nothing of it was computed. Below the line: "
    "the losses of an untrained model, and what knows nothing would pay."
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pass:
    """One call of a part."""

    part: str
    entering: tuple[int, ...]
    """Shape of what went in."""
    leaving: tuple[int, ...]
    """Shape of what came out."""

    @property
    def told(self) -> str:
        """'16 × 37 tokens', or '112 rows'."""
        if len(self.entering) == 3 and len(self.leaving) == 3:
            return f"{self.entering[0]} × {self.entering[1]} tokens"
        return f"{self.entering[0]} rows"


def traced(model: nn.Module, compute: Callable[[], Result]) -> tuple[Result, list[Pass]]:
    """What `compute` gives, and the passes through the parts of the model meanwhile, in order."""
    passes: list[Pass] = []

    def note(part: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple, result: Tensor | tuple) -> None:
            left = result if torch.is_tensor(result) else result[0]
            passes.append(Pass(part, tuple(given[0].shape), tuple(left.shape)))

        return hook

    hooks = []
    for part, (path, _) in PARTS.items():
        first, *_ = path.split(".")
        if getattr(model, first, None) is not None:
            hooks.append(model.get_submodule(path).register_forward_hook(note(part)))
    try:
        return compute(), passes
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Seen:
    """What one batch did: its passes and its losses."""

    passes: Sequence[Pass]
    losses: Mapping[str, float]


def seen(model: nn.Module, batches: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Seen]:
    """Kind of batch -> what `model.losses` runs for it and what comes out; no gradient."""
    found = {}
    for kind, batch in batches.items():
        with torch.no_grad():
            losses, passes = traced(model, lambda batch=batch: model.losses(batch))
        found[kind] = Seen(passes, {name: float(loss) for name, loss in losses.items()})
    return found


@styled
def passes_figure(found: Mapping[str, Seen], classes: Mapping[str, int]) -> Picture:
    """Parts in rows, kinds of batches in columns; below them each loss beside ln k.

    classes: loss -> number k of answers to choose from.
    """
    parts = [
        part for part in PARTS if any(p.part == part for s in found.values() for p in s.passes)
    ]
    losses = [name for name in classes if any(name in s.losses for s in found.values())]
    width = 2 * EDGE + NAMES + COLUMN * len(found) + 1.55
    height = HEAD + LINE * (len(parts) + len(losses)) + 0.75
    figure = Picture(figsize=(width, height))
    write(figure, EDGE, 0.12, "What runs for which batch", fontweight="bold", fontsize=12)
    for column, kind in enumerate(found):
        middle = EDGE + NAMES + COLUMN * (column + 0.5)
        write(figure, middle, HEAD - 0.1, kind, ha="center", va="bottom", fontweight="bold")
    for row, part in enumerate(parts):
        top = HEAD + row * LINE
        write(figure, EDGE, top + LINE / 2, part, va="center", fontsize=10)
        for column, one in enumerate(found.values()):
            calls = [call.told for call in one.passes if call.part == part]
            cell(figure, column, top, " + ".join(calls), PARTS[part][1] if calls else None)
    top = HEAD + len(parts) * LINE + 0.38
    write(figure, EDGE, top - 0.07, "losses, untrained", va="bottom", fontweight="bold")
    for row, name in enumerate(losses):
        y = top + row * LINE
        write(figure, EDGE, y + LINE / 2, name, va="center", fontsize=10)
        for column, one in enumerate(found.values()):
            value = one.losses.get(name)
            cell(figure, column, y, "" if value is None else f"{value:.2f}", HAIRLINE)
        level = f"ln {classes[name]:,} = {math.log(classes[name]):.2f}"
        at = EDGE + NAMES + COLUMN * len(found) + 0.15
        write(figure, at, y + LINE / 2, level, va="center", fontsize=10, color=MUTED)
    figure.caption = Caption("What runs for which batch", alt_text(found), HOW_TO_READ)
    return figure


def cell(figure: Picture, column: int, top: float, text: str, colour: str | None) -> None:
    """One cell: coloured if something is in it."""
    axes = place(figure, EDGE + NAMES + COLUMN * column, top, COLUMN, LINE)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    fill = pale(colour, 0.3) if text and colour else "white"
    axes.add_patch(Rectangle((0.02, 0.06), 0.96, 0.88, facecolor=fill, edgecolor=HAIRLINE))
    axes.text(0.5, 0.47, text, ha="center", va="center", fontsize=9.5, color=INK)


def alt_text(found: Mapping[str, Seen]) -> str:
    """The figure in words."""
    sentences = []
    for kind, one in found.items():
        ran = ", ".join(f"{call.part} on {call.told}" for call in one.passes)
        paid = ", ".join(f"{name} {value:.2f}" for name, value in one.losses.items())
        sentences.append(f"{kind} run {ran}; losses: {paid}.")
    return " ".join(sentences)
