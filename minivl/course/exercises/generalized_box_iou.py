"""Exercise 08.3, generalized_box_iou: how well boxes overlap, and how far apart they are if not."""

from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told


def drawn_boxes(seed: int, count: int) -> Tensor:
    """Boxes as corners, most of which overlap, none with an edge of another."""
    start, size = drawn(seed, count, 2), drawn(seed + 100, count, 2).exp()
    return torch.cat([start, start + size], dim=1)


def _by_hand() -> tuple:
    others = [[1, 1, 3, 3], [4, 0, 6, 2], [0, 0, 2, 2], [3, 3, 4, 5]]
    return numbers([[0, 0, 2, 2]]), numbers(others)


def _two_and_three() -> tuple:
    return drawn_boxes(1, 2), drawn_boxes(2, 3)


def _without_area() -> tuple:
    """Two points, one in the box and one outside of it."""
    return numbers([[1, 1, 1, 1], [3, 3, 3, 3]]), numbers([[0, 0, 2, 2]])


def _none() -> tuple:
    return drawn(1, 0, 4), drawn_boxes(2, 2)


def _pulls_apart_boxes(generalized_box_iou: Callable) -> str | None:
    """IoU does not change when a far box moves; this does."""
    far = numbers([[4, 0, 6, 2]]).requires_grad_()
    got = generalized_box_iou(far, numbers([[0, 0, 2, 2]]))
    given = "boxes [4, 0, 6, 2] and [0, 0, 2, 2]; gradient of the first one's left edge"
    if not got.requires_grad:
        return told(given, "-0.1667", "no gradient")
    (gradient,) = torch.autograd.grad(got.sum(), far)
    # GIoU is union / hull - 1 here: a unit to the right takes 2 of the union, the hull stays 12.
    return differs(given, gradient[0, 0], numbers(-1 / 6))


def works_batched(arguments: Callable[[], tuple]) -> Property:
    """A promise: training asks for all pictures at once, through `torch.vmap`."""

    def holds(function: Callable) -> str | None:
        given = "two pictures at once, through torch.vmap"
        one = arguments()
        expected = torch.stack([function(*one), function(*one)])
        pairs = [torch.stack([x, x]) if torch.is_tensor(x) else x for x in one]
        try:
            got = torch.vmap(function)(*pairs)
        except (RuntimeError, ValueError, TypeError, IndexError):
            return told(
                given, "the same as picture by picture", "an error: work on whole tensors, without "
                "loops over numbers, `.item()`, or writing in place",
            )  # fmt: skip
        return differs(given, got, expected)

    return Property("all pictures at once", holds)


def _parts(a: Tensor, b: Tensor, *, clamp: bool = True) -> tuple[Tensor, ...]:
    """Overlap, sum of both areas, hull: (n, m) each."""
    start, end = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    sides = end - start
    overlap = (sides.clamp(min=0) if clamp else sides).prod(dim=2)
    areas = [(one[:, 2:] - one[:, :2]).prod(dim=1) for one in (a, b)]
    start, end = torch.minimum(a[:, None, :2], b[:, :2]), torch.maximum(a[:, None, 2:], b[:, 2:])
    return overlap, areas[0][:, None] + areas[1], (end - start).prod(dim=2)


def _of_parts(formula: Callable[..., Tensor], *, clamp: bool = True) -> Callable:
    """generalized_box_iou by another formula of (overlap, union, hull)."""

    def generalized_box_iou(a, b):
        overlap, both, hull = _parts(a, b, clamp=clamp)
        return formula(overlap, both - overlap, hull)

    return generalized_box_iou


def _right(overlap: Tensor, union: Tensor, hull: Tensor) -> Tensor:
    return overlap / union - (hull - union) / hull


def _counted_twice(overlap: Tensor, union: Tensor, hull: Tensor) -> Tensor:
    both = union + overlap
    return overlap / both - (hull - both) / hull


def _with_epsilon(epsilon: float, *, under_hull: bool = True) -> Variant:
    """A small number in one divisor, or in both: IoU - (hull - union) / hull."""

    def formula(overlap: Tensor, union: Tensor, hull: Tensor) -> Tensor:
        outer = hull + epsilon if under_hull else hull
        return overlap / (union + epsilon) - (hull - union) / outer

    return Variant(
        f"{epsilon:g} in {'both divisors' if under_hull else 'the union'}",
        _of_parts(formula),
        "No small number in the divisors: beside the area of a small box it counts.",
    )


def _by_index(a, b):
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise RuntimeError("The sizes must match")
    a, b = torch.broadcast_tensors(a, b)
    each = [_of_parts(_right)(x[None], y[None])[0, 0] for x, y in zip(a, b, strict=True)]
    return torch.stack(each) if each else a.new_zeros(0)


def _as_centres(a, b):
    def cornered(boxes: Tensor) -> Tensor:
        centre, size = boxes.split(2, dim=-1)
        return torch.cat([centre - size / 2, centre + size / 2], dim=-1)

    return _of_parts(_right)(cornered(a), cornered(b))


GENERALIZED_BOX_IOU = Exercise(
    target="minivl.objectives.detection.generalized_box_iou",
    number="08.3",
    minutes=15,
    difficulty=2,
    source="Rezatofighi et al. 2019, algorithm 1",
    hints=(
        "All pairs by broadcasting: `a[:, None]` against `b` gives (n, m, ...).",
        "The overlap reaches from the larger start to the smaller end. Where boxes do not touch, a "
        "side is negative: clamp at 0, then multiply both sides.",
        "Union = area a + area b - overlap. The hull reaches from the smaller start to the larger "
        "end. Return `overlap / union - (hull - union) / hull`.",
    ),
    checks=(
        Case(
            "one box with four, by hand",
            _by_hand,
            numbers([[1 / 7 - 2 / 9, -1 / 3, 1, -0.7]]),
        ),
        Case("two boxes with three", _two_and_three, gradient=(0, 1)),
        Case("boxes without area", _without_area, numbers([[0], [-5 / 9]])),
        Case("no box with two", _none),
        Property("boxes that do not touch are pulled", _pulls_apart_boxes),
        works_batched(_two_and_three),
    ),
    variants=(
        Variant(
            "plain IoU",
            _of_parts(lambda overlap, union, hull: overlap / union),
            "Boxes that do not touch get 0 and no gradient; the hull term tells them where to go.",
        ),
        Variant(
            "no clamp",
            _of_parts(_right, clamp=False),
            "Two negative sides multiply to a positive overlap.",
        ),
        Variant(
            "overlap counted twice",
            _of_parts(_counted_twice),
            "Union = a + b - overlap; a value above 1 is impossible.",
        ),
        Variant(
            "divided by union",
            _of_parts(lambda overlap, union, hull: overlap / union - (hull - union) / union),
            "Divide the empty part by the hull: the result stays above -1.",
        ),
        Variant(
            "hull without overlap",
            _of_parts(lambda overlap, union, hull: overlap / union - (hull - overlap) / hull),
            "The empty part of the hull is what neither box fills: hull minus union.",
        ),
        Variant(
            "plus",
            _of_parts(lambda overlap, union, hull: overlap / union + (hull - union) / hull),
            "The empty part is taken away: the further apart, the less.",
        ),
        Variant("pairs by index", _by_index, "Every a against every b."),
        Variant(
            "loss",
            _of_parts(lambda overlap, union, hull: 1 - _right(overlap, union, hull)),
            "Return the GIoU; the loss makes 1 - GIoU of it.",
        ),
        Variant(
            "overlap by hull",
            _of_parts(lambda overlap, union, hull: overlap / hull - (hull - union) / hull),
            "The first term is IoU: divide the overlap by the union.",
        ),
        Variant(
            "centres",
            _as_centres,
            "Here boxes come as corners: x0, y0, x1, y1.",
        ),
        *(_with_epsilon(10.0**-digits) for digits in (6, 7, 8)),
        *(_with_epsilon(10.0**-digits, under_hull=False) for digits in (6, 7, 8)),
    ),
)
