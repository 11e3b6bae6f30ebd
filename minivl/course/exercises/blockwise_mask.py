"""Exercise 04.1, blockwise_mask: hide rectangles, so that neighbours do not give the answer away.

Masks are drawn at random, so all but the empty and the full one are judged by what holds for many.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import told
from minivl.objectives.masking import fill_up

MASKS = 200
FLAVA = (14, 14, 75)
"""Rows, columns, hidden cells."""

CELLS = "200 masks of 14 x 14 cells with 75 hidden"


class Seeded(torch.Generator):
    """A generator that a verdict can show without an address."""

    def __repr__(self) -> str:
        return "a generator"


def seeded(seed: int) -> Seeded:
    """A new generator, the same for the same seed."""
    generator = Seeded()
    generator.manual_seed(seed)
    return generator


def masks(blockwise_mask: Callable, *arguments: int, count: int = MASKS, **options) -> Tensor:
    """One mask a seed: (count, gh, gw) bool."""
    return torch.stack(
        [blockwise_mask(*arguments, seeded(seed), **options).bool() for seed in range(count)]
    )


def pairs(drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden neighbours one above the other, and side by side, of each mask: two (count,)."""
    above = (drawn[:, 1:] & drawn[:, :-1]).sum(dim=(1, 2))
    beside = (drawn[:, :, 1:] & drawn[:, :, :-1]).sum(dim=(1, 2))
    return above, beside


def _exact(blockwise_mask: Callable) -> str | None:
    for gh, gw, count, least in ((*FLAVA, 16), (8, 8, 25, 4), (5, 9, 20, 4), (1, 4, 2, 1)):
        found = masks(blockwise_mask, gh, gw, count, count=50, min_block=least)
        counts = found.sum(dim=(1, 2))
        if (counts != count).any():
            given = f"{gh} x {gw} cells, {count} to hide, min_block {least}"
            return told(given, f"{count} in each", f"{counts.min()} to {counts.max()}")
    return None


def _in_blocks(blockwise_mask: Callable) -> str | None:
    above, beside = pairs(masks(blockwise_mask, *FLAVA))
    mean = float((above + beside).double().mean() / FLAVA[2])
    if mean >= 1.2:
        return None
    what = "1.2 or more hidden neighbours a hidden cell, pairs counted once"
    return told(CELLS, what, f"{mean:.1f}")


def _anywhere(blockwise_mask: Callable) -> str | None:
    found = masks(blockwise_mask, *FLAVA).double().mean(dim=0)
    corners = max(float(found[y, x]) for y in (0, -1) for x in (0, -1))
    if corners <= 0.2:
        return None
    return told(CELLS, "each corner is hidden in at most 20 %", f"one in {corners:.0%}")


def _tall_and_wide(blockwise_mask: Callable) -> str | None:
    above, beside = pairs(masks(blockwise_mask, *FLAVA))
    ratio = float(above.sum() / beside.sum())
    given = f"{CELLS}: hidden neighbours one above the other, over those side by side"
    if abs(math.log(max(ratio, 1e-9))) > 0.035:
        return told(given, "0.97 to 1.03: tall blocks as often as wide ones", f"{ratio:.2f}")
    above, beside = pairs(masks(blockwise_mask, 14, 14, 16))
    tall, wide = (float(share.double().mean()) for share in (above > beside, above < beside))
    if min(tall, wide) < 0.15:
        given = "200 masks of 14 x 14 cells with 16 hidden"
        return told(given, "tall blocks, and wide ones", f"{tall:.0%} tall, {wide:.0%} wide")
    return None


def _of_the_generator(blockwise_mask: Callable) -> str | None:
    first, again = (masks(blockwise_mask, *FLAVA, count=5) for _ in range(2))
    if not torch.equal(first, again):
        return told("two generators in the same state", "the same mask", "two masks")
    generator = seeded(0)
    in_turn = [blockwise_mask(*FLAVA, generator) for _ in range(5)]
    same = all(torch.equal(in_turn[0], mask) for mask in in_turn)
    if same or all(torch.equal(first[0], mask) for mask in first):
        return told("five draws, or five seeds", "different masks", "the same mask five times")
    return None


def _hiding(
    *,
    aspect_of: Callable | None = None,
    place: Callable = lambda u, room: int(u * (room + 1)),
    draw: Callable = lambda generator: torch.rand(4, generator=generator),
) -> Callable:
    """blockwise_mask with other shapes, other places or other random numbers."""

    def log_uniform(u, low, high):
        return math.exp(math.log(low) + (math.log(high) - math.log(low)) * u)

    def blockwise_mask(gh, gw, count, generator, min_block=16, aspect=(0.3, 1 / 0.3)):
        mask = torch.zeros(gh, gw, dtype=torch.bool)
        rest, refused = count, 0
        while rest > 0 and refused < 10:
            u = draw(generator).tolist()
            area = min_block + (rest - min_block) * u[0]
            ratio = (aspect_of or log_uniform)(u[1], *aspect)
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            top, left = place(u[2], gh - h), place(u[3], gw - w)
            block = mask[top : top + h, left : left + w]
            new = h * w - int(block.sum())
            refused += 1
            if h < gh and w < gw and 0 < new <= rest:
                block[:] = True
                rest, refused = rest - new, 0
        return fill_up(mask, rest, generator)

    return blockwise_mask


def _random_cells(gh, gw, count, generator, min_block=16, aspect=(0.3, 1 / 0.3)):
    return fill_up(torch.zeros(gh, gw, dtype=torch.bool), count, generator)


def _overshooting(gh, gw, count, generator, min_block=16, aspect=(0.3, 1 / 0.3)):
    mask = torch.zeros(gh, gw, dtype=torch.bool)
    while mask.sum() < count:
        u = torch.rand(4, generator=generator).tolist()
        area = min(min_block, count) * (1 + u[0])
        ratio = aspect[0] * (aspect[1] / aspect[0]) ** u[1]
        h = min(max(round((area * ratio) ** 0.5), 1), gh)
        w = min(max(round((area / ratio) ** 0.5), 1), gw)
        top, left = int(u[2] * (gh - h + 1)), int(u[3] * (gw - w + 1))
        mask[top : top + h, left : left + w] = True
    return mask


@cache
def _full() -> Tensor:
    return torch.ones(3, 4, dtype=torch.bool)


BLOCKWISE_MASK = Exercise(
    target="minivl.objectives.masking.blockwise_mask",
    number="04.1",
    minutes=20,
    difficulty=3,
    source="Bao et al. 2021, section 2.3 and algorithm 1",
    hints=(
        "Draw an area between `min_block` and what is left to hide, and the logarithm of an "
        "aspect ratio evenly. Both sides follow: sqrt(area · ratio) and sqrt(area / ratio).",
        "Draw where the block stands among all places where it fits. Take it only if it hides "
        "something new, and no more than what is left.",
        "Go on until `count` cells are hidden. After ten blocks refused in a row, hide single "
        "cells instead: `torch.randperm(n, generator=generator)` chooses them.",
    ),
    checks=(
        Case("all of 3 x 4 cells", lambda: (3, 4, 12, seeded(0)), _full()),
        Case("none of 3 x 4 cells", lambda: (3, 4, 0, seeded(0)), ~_full()),
        Property("exactly as many cells as asked for", _exact),
        Property("in blocks", _in_blocks),
        Property("anywhere", _anywhere),
        Property("tall and wide alike", _tall_and_wide),
        Property("from the generator alone", _of_the_generator),
    ),
    variants=(
        Variant(
            "random cells",
            _random_cells,
            "Right number, but scattered: neighbours give the answer away. Mask rectangles.",
        ),
        Variant(
            "overshoot",
            _overshooting,
            "The last block went over the limit. Trim or refuse it: the number of hidden patches "
            "must be the same in every picture.",
        ),
        Variant(
            "always the corner",
            _hiding(place=lambda u, room: 0),
            "Every mask starts in the same corner: draw the place evenly from all where the block "
            "fits.",
        ),
        Variant(
            "aspect linear",
            _hiding(aspect_of=lambda u, low, high: low + (high - low) * u),
            "Your blocks are tall more often than wide. Draw the logarithm of the aspect ratio, so "
            "that 3:1 and 1:3 are equally likely.",
        ),
        Variant(
            "global RNG",
            _hiding(draw=lambda generator: torch.rand(4)),
            "Two calls with the same generator state differ. Use `generator` in every draw.",
        ),
    ),
)
