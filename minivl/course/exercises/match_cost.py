"""Exercise 08.4, match_cost: what it would cost that a query answers for a box."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import drawn, numbers, told
from minivl.course.exercises.generalized_box_iou import works_batched
from minivl.objectives.detection import SET_WEIGHTS, box_iou, corners, generalized_box_iou


def guessed(seed: int, queries: int, classes: int) -> tuple[Tensor, Tensor]:
    """Logits (q, k+1), and boxes (q, 4) inside of a picture."""
    centre = drawn(seed + 1, queries, 2).sigmoid()
    size = 0.6 * drawn(seed + 2, queries, 2).sigmoid()
    return drawn(seed, queries, classes + 1), torch.cat([centre, size], dim=1)


def _by_hand() -> tuple:
    """Two queries, one box: the first query is right, the second one twice as large."""
    return (
        numbers([[math.log(3), 0, 0], [0, 0, 0]]),
        numbers([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.4, 0.4]]),
        torch.tensor([0]),
        numbers([[0.5, 0.5, 0.2, 0.2]]),
    )


def _two_boxes() -> tuple:
    _, targets = guessed(10, 2, 3)
    return *guessed(1, 3, 3), torch.tensor([2, 0]), targets


def _other_weights() -> tuple:
    return *_two_boxes(), (2.0, 3.0, 1.5)


def _no_box() -> tuple:
    return *guessed(1, 3, 2), torch.zeros(0, dtype=torch.int64), drawn(1, 0, 4)


def _gives_no_gradient(match_cost: Callable) -> str | None:
    logits, boxes, labels, targets = _two_boxes()
    got = match_cost(logits.requires_grad_(), boxes.requires_grad_(), labels, targets)
    given = "three queries, two boxes, logits and boxes with gradient"
    return told(given, "no gradient", "a result with a graph") if got.requires_grad else None


def _pricing(  # noqa: PLR0913  (one way to go wrong each)
    *,
    likely: Callable[[Tensor], Tensor] = lambda logits: logits.softmax(dim=1),
    picked: Callable[[Tensor, Tensor], Tensor] = lambda p, labels: p[:, labels],
    distance: Callable[[Tensor], Tensor] = lambda gaps: gaps.abs().sum(dim=2),
    measured: Callable[[Tensor], Tensor] = lambda boxes: boxes,
    prepared: Callable[[Tensor], Tensor] = corners,
    overlap: Callable[[Tensor, Tensor], Tensor] = generalized_box_iou,
    signs: tuple[int, int, int] = (-1, 1, -1),
    fixed: tuple[float, float, float] | None = None,
    constant: bool = True,
    transposed: bool = False,
) -> Callable:
    """match_cost with other terms, or other signs."""

    def match_cost(logits, boxes, labels, target_boxes, weights=SET_WEIGHTS):
        with torch.set_grad_enabled(not constant):
            terms = (
                picked(likely(logits), labels),
                distance(measured(boxes)[:, None] - measured(target_boxes)),
                overlap(prepared(boxes), prepared(target_boxes)),
            )
            parts = zip(signs, fixed or weights, terms, strict=True)
            cost = sum(sign * weight * term for sign, weight, term in parts)
            return cost.T if transposed else cost

    return match_cost


MATCH_COST = Exercise(
    target="minivl.objectives.detection.match_cost",
    number="08.4",
    minutes=12,
    difficulty=2,
    source="Carion et al. 2020, section 3.1 and appendix A.2",
    hints=(
        "Three terms. `logits.softmax(dim=1)` runs over all k+1 classes, “nothing” too.",
        "Of these probabilities pick the columns of the true labels: `[:, labels]` is (q, t). The "
        "distance adds up the four absolute differences of `boxes[:, None]` and `target_boxes`.",
        "Only GIoU wants `corners(boxes)`. Likely and overlapping is cheap, so both get a minus. "
        "Compute it inside `with torch.no_grad():`.",
    ),
    checks=(
        Case("two queries, one box, by hand", _by_hand, numbers([[-2.6], [7 / 6]])),
        Case("three queries, two boxes", _two_boxes),
        Case("other weights", _other_weights),
        Case("no box", _no_box),
        Property("no gradient", _gives_no_gradient),
        works_batched(_two_boxes),
    ),
    variants=(
        Variant(
            "log-probability",
            _pricing(likely=lambda logits: logits.log_softmax(dim=1)),
            "The cost uses the probability itself, so that it stays on the scale of the box terms.",
        ),
        Variant(
            "raw logits",
            _pricing(likely=lambda logits: logits),
            "Use probabilities: one very sure query would drown the box terms.",
        ),
        Variant("class sign", _pricing(signs=(1, 1, -1)), "A likely class must be cheap."),
        Variant("GIoU sign", _pricing(signs=(-1, 1, 1)), "A good overlap must be cheap."),
        Variant("distance sign", _pricing(signs=(-1, -1, -1)), "A far box must be expensive."),
        Variant(
            "centre boxes into GIoU",
            _pricing(prepared=lambda boxes: boxes),
            "GIoU needs corners.",
        ),
        Variant(
            "L2",
            _pricing(distance=lambda gaps: gaps.square().sum(dim=2).sqrt()),
            "DETR adds absolute differences.",
        ),
        Variant(
            "mean of coordinates",
            _pricing(distance=lambda gaps: gaps.abs().mean(dim=2)),
            "Sum the four differences.",
        ),
        Variant(
            "no-object removed before softmax",
            _pricing(likely=lambda logits: logits[:, :-1].softmax(dim=1)),
            "The last class takes part in the softmax.",
        ),
        Variant(
            "unweighted",
            _pricing(fixed=(1.0, 1.0, 1.0)),
            "Each term has its weight: 1 for the class, 5 for the distance, 2 for the overlap.",
        ),
        Variant(
            "fixed weights",
            _pricing(fixed=SET_WEIGHTS),
            "`weights` is unused: 1, 5 and 2 are only what it holds if nobody says otherwise.",
        ),
        Variant(
            "softmax over queries",
            _pricing(likely=lambda logits: logits.softmax(dim=0)),
            "Each query spreads 1 over its k+1 classes: the softmax runs along `dim=1`.",
        ),
        Variant(
            "nothing is the first class",
            _pricing(picked=lambda p, labels: p[:, labels + 1]),
            "Label 0 is column 0: “nothing” is the last of the k+1 classes.",
        ),
        Variant(
            "rows of labels",
            _pricing(picked=lambda p, labels: p[labels]),
            "`[labels]` picks rows, which are queries. Pick columns: `[:, labels]`.",
        ),
        Variant(
            "distance of corners",
            _pricing(measured=corners),
            "Only the overlap wants corners; the distance compares centre, width and height.",
        ),
        Variant(
            "plain IoU",
            _pricing(overlap=box_iou),
            "Far boxes all have an IoU of 0: the generalised IoU tells which one is nearer.",
        ),
        Variant("transposed", _pricing(transposed=True), "A row for each query: (q, t)."),
        Variant(
            "with a graph",
            _pricing(constant=False),
            "Matching is a choice, and nothing is learned from its cost: compute it under "
            "`torch.no_grad()`.",
        ),
    ),
)
