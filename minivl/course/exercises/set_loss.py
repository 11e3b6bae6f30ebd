"""Exercise 08.6, set_loss: classes of all queries, boxes of those that answer for one."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Variant
from minivl.course.exercises import drawn, numbers
from minivl.course.exercises.match_cost import guessed
from minivl.objectives.detection import corners, generalized_box_iou

SURE, UNSURE, RARE = math.log(4 / 3), math.log(2), 0.1
"""By hand: cross-entropies of 3 to 1 and of 1 to 1; the weight of nothing."""


def _by_hand() -> tuple:
    """Two queries, one class: the first answers for a box twice its size."""
    return (
        numbers([[math.log(3), 0], [0, 0]]),
        numbers([[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]),
        torch.tensor([0]),
        torch.tensor([0]),
        numbers([[0.5, 0.5, 0.4, 0.4]]),
    )


def _no_box() -> tuple:
    logits, boxes, *_ = _by_hand()
    none = torch.zeros(0, dtype=torch.int64)
    return logits, boxes, none, none.clone(), drawn(1, 0, 4)


def _two_boxes() -> tuple:
    """Four queries, three classes; the third and the first query answer for a box."""
    _, targets = guessed(20, 2, 3)
    return *guessed(5, 4, 3), torch.tensor([2, 0]), torch.tensor([1, 2]), targets


def _heavier_nothing() -> tuple:
    return *_two_boxes(), 0.4


def _losses(ce: float, l1: float, giou: float) -> dict[str, Tensor]:
    return {"ce": numbers(ce), "l1": numbers(l1), "giou": numbers(giou)}


def _losing(  # noqa: PLR0913  (one way to go wrong each)
    *,
    ce: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = F.cross_entropy,
    l1: Callable[[Tensor], Tensor] = lambda gaps: gaps.abs().sum(),
    giou: Callable[[Tensor], Tensor] = lambda overlap: (1 - overlap).sum(),
    divisor: Callable[[int, int], float] = lambda boxes, queries: max(boxes, 1),
    overlaps: Callable[[Tensor], Tensor] = torch.diagonal,
    prepared: Callable[[Tensor], Tensor] = corners,
    factors: tuple[float, float] = (1.0, 1.0),
    fixed: float | None = None,
    nothing: Callable[[int], int] = lambda classes: classes - 1,
    moved: int = 0,
    in_order: bool = False,
) -> Callable:
    """set_loss with another term, or another divisor; ce(logits, classes, weight, query_index)."""

    def set_loss(logits, boxes, query_index, labels, target_boxes, no_object=0.1):
        empty = nothing(logits.shape[1])
        where = torch.arange(len(labels)) if in_order else query_index
        classes = labels.new_full(logits.shape[:1], empty)
        classes[where] = labels + moved
        weight = logits.new_ones(logits.shape[1])
        weight[min(empty, len(weight) - 1)] = no_object if fixed is None else fixed
        matched, count = boxes[where], divisor(len(labels), len(logits))
        overlap = overlaps(generalized_box_iou(prepared(matched), prepared(target_boxes)))
        arguments = (logits, classes, weight)
        return {
            "ce": ce(*arguments) if ce is F.cross_entropy else ce(*arguments, where),
            "l1": factors[0] * l1(matched - target_boxes) / count,
            "giou": factors[1] * giou(overlap) / count,
        }

    return set_loss


def _by_queries(logits, classes, weight, query_index):
    return F.cross_entropy(logits, classes, weight, reduction="sum") / len(logits)


def _plain(logits, classes, weight, query_index):
    return F.cross_entropy(logits, classes)


def _matched_only(logits, classes, weight, query_index):
    return F.cross_entropy(logits[query_index], classes[query_index])


SET_LOSS = Exercise(
    target="minivl.objectives.detection.set_loss",
    number="08.6",
    minutes=15,
    difficulty=3,
    source="Carion et al. 2020, equation 2 and appendix A.2",
    hints=(
        "Every query has a right class: first “nothing” (the last one) for all, then the labels "
        "where `query_index` says so.",
        "`F.cross_entropy(logits, classes, weight)` divides by the sum of the weights. "
        "`weight = logits.new_ones(k + 1)`, then `weight[k] = no_object`: “nothing” is the last.",
        "`matched = boxes[query_index]`. Sum its differences to `target_boxes`, and 1 - GIoU of "
        "the pairs (the diagonal of all with all). Divide both by `max(len(labels), 1)`.",
    ),
    checks=(
        Case(
            "two queries, one box, by hand",
            _by_hand,
            _losses((SURE + RARE * UNSURE) / (1 + RARE), 0.4, 0.75),
            gradient=(0, 1),
        ),
        Case(
            "no box",
            _no_box,
            _losses((math.log(4) + UNSURE) / 2, 0.0, 0.0),
            gradient=(0,),
        ),
        Case("four queries, two boxes", _two_boxes, gradient=(0, 1)),
        Case("a heavier nothing", _heavier_nothing, gradient=(0,)),
    ),
    variants=(
        Variant(
            "class loss divided by q",
            _losing(ce=_by_queries),
            "A weighted mean divides by the weights' sum.",
        ),
        Variant(
            "no down-weight",
            _losing(ce=_plain),
            "Most queries are empty; without 0.1 “nothing” wins.",
        ),
        Variant(
            "matched only",
            _losing(ce=_matched_only),
            "Then no query learns to be silent.",
        ),
        Variant(
            "mean over coordinates",
            _losing(l1=lambda gaps: gaps.abs().mean(dim=1).sum()),
            "Add the four coordinates; the factor 5 counts on it.",
        ),
        Variant(
            "box losses divided by q",
            _losing(divisor=lambda boxes, queries: queries),
            "Divide by the number of boxes.",
        ),
        Variant(
            "similarity as loss",
            _losing(giou=lambda overlap: overlap.sum()),
            "The loss is 1 - GIoU: nothing is to be lost where boxes are equal.",
        ),
        Variant(
            "0/0",
            _losing(divisor=lambda boxes, queries: float("nan") if boxes == 0 else boxes),
            "Pictures without objects are legal: divide by `max(t, 1)`.",
        ),
        Variant(
            "nothing is the first class",
            _losing(nothing=lambda classes: 0),
            "“Nothing” is the last of the k+1 classes.",
        ),
        Variant(
            "labels moved behind nothing",
            _losing(nothing=lambda classes: 0, moved=1),
            "Labels stay as they are: “nothing” is the last of the k+1 classes, not the first.",
        ),
        Variant(
            "nothing behind the last class",
            _losing(nothing=lambda classes: classes),
            "Classes count from 0: of k+1, the last is k, which is `logits.shape[1] - 1`.",
        ),
        Variant(
            "centre boxes into GIoU",
            _losing(prepared=lambda boxes: boxes),
            "GIoU needs corners.",
        ),
        Variant(
            "all pairs",
            _losing(overlaps=lambda table: table),
            "Box i is compared with its own query alone: the diagonal of all with all.",
        ),
        Variant(
            "factors inside",
            _losing(factors=(5.0, 2.0)),
            "Leave the terms as they are: the weights 5 and 2 come when the three are added.",
        ),
        Variant(
            "fixed no_object",
            _losing(fixed=RARE),
            "`no_object` is unused: 0.1 is only what it is if nobody says otherwise.",
        ),
        Variant(
            "query_index unused",
            _losing(in_order=True),
            "Query `query_index[i]` answers for box i, not query i.",
        ),
    ),
)
