"""Finding objects as predicting a set (DETR: Carion et al. 2020, arXiv 2005.12872).

Some queries guess a class and a box each, most of them "nothing". The cheapest one-to-one matching
settles which guess answers for which object; then the loss compares the pairs. So does UniT (Hu and
Singh 2021, arXiv 2102.10772, section 3.4), which also asks for a box's attributes and for answers
to questions. Letters: b batch, q queries, k classes (the logit behind theirs is "nothing"), t boxes
of a picture, n and m boxes of any kind, a answers or attributes.
"""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from minivl.errors import DataError, DivergedError, UserError
from minivl.objectives.masking import IGNORE

SET_WEIGHTS = (1.0, 5.0, 2.0)
"""Of class, distance and overlap, in the matching and in the loss; DETR, appendix A.4."""


# Boxes.


def corners(boxes: Tensor) -> Tensor:
    """Centre x and y, width, height -> the corners x0, y0, x1, y1. (..., 4) -> (..., 4)."""
    centre, size = boxes.split(2, dim=-1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def centres(boxes: Tensor) -> Tensor:
    """The inverse of `corners`: (..., 4) -> (..., 4)."""
    start, end = boxes.split(2, dim=-1)
    return torch.cat([(start + end) / 2, end - start], dim=-1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap / union, every a with every b. a (n, 4), b (m, 4) as corners -> (n, m), 0 to 1."""
    start = torch.maximum(a[:, None, :2], b[:, :2])
    end = torch.minimum(a[:, None, 2:], b[:, 2:])
    overlap = (end - start).clamp(min=0).prod(dim=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (a, b))
    return overlap / (area_a[:, None] + area_b - overlap)


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU - (hull - union) / hull, every a with every b; the hull is the smallest box around both.

    a (n, 4), b (m, 4) as corners -> (n, m), -1 to 1. Whole tensors, no loops: training asks for all
    pictures at once. Boxes that do not touch all have an IoU of 0; this tells how far apart they
    are. Rezatofighi et al. 2019, arXiv 1902.09630, algorithm 1.
    """
    start, end = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    overlap = (end - start).clamp(min=0).prod(dim=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (a, b))
    union = area_a[:, None] + area_b - overlap
    start, end = torch.minimum(a[:, None, :2], b[:, :2]), torch.maximum(a[:, None, 2:], b[:, 2:])
    hull = (end - start).prod(dim=2)
    return overlap / union - (hull - union) / hull


# One picture.


def match_cost(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    target_boxes: Tensor,
    weights: tuple[float, float, float] = SET_WEIGHTS,
) -> Tensor:
    """What it would cost that a query answers for a box: -p(class) + 5 distance - 2 overlap.

    logits (q, k+1), boxes (q, 4); labels (t), target_boxes (t, 4) -> (q, t), no gradient. Class k,
    the last, is "nothing". Boxes as centre, width and height; distance is the sum of the four
    differences, overlap the generalised IoU. Whole tensors, no loops: training asks for all
    pictures at once. DETR, section 3.1: p and not its logarithm, which would drown the boxes.
    """
    of_class, of_distance, of_overlap = weights
    with torch.no_grad():
        likely = logits.softmax(dim=1)[:, labels]
        distance = (boxes[:, None] - target_boxes).abs().sum(dim=2)
        overlap = generalized_box_iou(corners(boxes), corners(target_boxes))
        return of_distance * distance - of_class * likely - of_overlap * overlap


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The one-to-one matching of least total cost (Kuhn's Hungarian method; DETR, equation 1).

    cost (q, t) -> query_index, target_index (min(q, t)) int64: query_index[i] answers for
    target_index[i]. All other queries are to say "nothing".
    """
    query_index, target_index = linear_sum_assignment(cost.detach().cpu().numpy())
    return (
        torch.from_numpy(query_index).to(cost.device),
        torch.from_numpy(target_index).to(cost.device),
    )


def set_loss(
    logits: Tensor,
    boxes: Tensor,
    query_index: Tensor,
    labels: Tensor,
    target_boxes: Tensor,
    no_object: float = 0.1,
) -> dict[str, Tensor]:
    """The loss of a matched set: class of all queries, boxes of those that answer for one.

    logits (q, k+1), boxes (q, 4); query query_index[i] answers for labels[i] and target_boxes[i],
    (t) and (t, 4) -> scalars, by name. Class k, the last, is "nothing". `ce`: mean cross-entropy in
    which "nothing" counts `no_object`, the others 1. `l1`, `giou`: sum over the pairs of the four
    differences, and of 1 - GIoU, divided by the number of boxes; 0 without any. The weights 5 and 2
    are not in them. DETR, equation 2 and appendix A.2.
    """
    nothing = logits.shape[1] - 1
    classes = labels.new_full(logits.shape[:1], nothing)
    classes[query_index] = labels
    weight = logits.new_ones(nothing + 1)
    weight[nothing] = no_object
    matched, count = boxes[query_index], max(len(labels), 1)
    # Each pair by itself, not every box with every other.
    pairs = corners(matched)[:, None], corners(target_boxes)[:, None]
    giou = torch.vmap(generalized_box_iou)(*pairs)
    return {
        "ce": F.cross_entropy(logits, classes, weight),
        "l1": (matched - target_boxes).abs().sum() / count,
        "giou": (1 - giou).sum() / count,
    }


def answer_loss(logits: Tensor, soft_targets: Tensor) -> Tensor:
    """Every answer is a yes or no of its own: binary cross-entropies, added over the answers.

    logits (b, a), soft_targets (b, a) from 0 to 1, as annotators disagree -> scalar, the mean over
    the batch. UniT, section 3.4, and its code: the mean over all, times the number of answers.
    """
    return F.binary_cross_entropy_with_logits(logits, soft_targets) * logits.shape[1]


# A batch: t is the most boxes of a picture, the rest of a row is padding, labelled -100.


def match(logits: Tensor, boxes: Tensor, box_labels: Tensor, target_boxes: Tensor) -> Tensor:
    """`assign` of `match_cost` for each picture: which query answers for each box.

    logits (b, q, k+1), boxes (b, q, 4), box_labels (b, t), target_boxes (b, t, 4) -> (b, t) int64,
    -100 at padding. The costs go to the CPU in one piece. UserError for a picture of more boxes
    than queries, DataError or DivergedError that names what is no finite number.
    """
    there = box_labels != IGNORE
    given = [_wide(tensor.detach()) for tensor in (logits, boxes, target_boxes)]
    cost = torch.vmap(match_cost)(given[0], given[1], box_labels.clamp(min=0), given[2])
    sheets = torch.cat([there.unsqueeze(1), cost], dim=1).cpu()
    matched = torch.full(box_labels.shape, IGNORE)
    for row, sheet in zip(matched, sheets, strict=True):
        columns = sheet[0].nonzero().squeeze(1)
        cost = sheet[1:, columns]
        queries, count = cost.shape
        if count > queries:
            raise UserError(
                f"a picture has {count} boxes, and the task {queries} queries to find them",
                "give the task as many queries as a picture has boxes, or leave such pictures out",
            )
        if not cost.isfinite().all():
            raise _no_number(*given, box_labels)
        query_index, target_index = assign(cost)
        row[columns[target_index]] = query_index
    return matched.to(box_labels.device)


def batch_set_loss(
    logits: Tensor,
    boxes: Tensor,
    matched: Tensor,
    box_labels: Tensor,
    target_boxes: Tensor,
    no_object: float = 0.1,
    boxes_in_all: Tensor | None = None,
) -> dict[str, Tensor]:
    """`set_loss` of a batch as of one large picture, whose queries are those of all pictures.

    Shapes as in `match`, whose result `matched` (b, t) is -> scalars ce, l1, giou. boxes_in_all ():
    the mean number of boxes of a process, which divides `l1` and `giou` in place of the number of
    boxes here, so that each box counts alike wherever it is.
    """
    picture, place = torch.nonzero(matched != IGNORE, as_tuple=True)
    losses = set_loss(
        _wide(logits).flatten(0, 1),
        _wide(boxes).flatten(0, 1),
        picture * logits.shape[1] + matched[picture, place],
        box_labels[picture, place],
        _wide(target_boxes[picture, place]),
        no_object,
    )
    if boxes_in_all is not None:
        share = max(len(picture), 1) / boxes_in_all.clamp(min=1)
        losses |= {name: losses[name] * share for name in ("l1", "giou")}
    return losses


def attribute_loss(logits: Tensor, attribute_labels: Tensor) -> Tensor:
    """Half the mean cross-entropy of a box's attributes, averaged over boxes that have any.

    logits (b, t, attributes), attribute_labels (b, t, a), padded with -100 -> scalar; 0, with a
    graph, where no box has an attribute. UniT's code; the paper names the task in section 4.1.
    """
    named = attribute_labels != IGNORE
    log_p = _wide(logits).log_softmax(dim=2).gather(2, attribute_labels.clamp(min=0))
    each = -log_p.masked_fill(~named, 0.0).sum(dim=2) / named.sum(dim=2).clamp(min=1)
    return 0.5 * each.sum() / named.any(dim=2).sum().clamp(min=1)


def _wide(x: Tensor) -> Tensor:
    """Few digits become float32: small overlaps and NumPy need them."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _no_number(
    logits: Tensor, boxes: Tensor, target_boxes: Tensor, box_labels: Tensor
) -> DataError | DivergedError:
    """What to raise where a cost is no finite number."""
    if not target_boxes[box_labels != IGNORE].isfinite().all():
        return DataError("a true box holds NaN or infinity", "mend the data, or leave it out")
    given = {"class logits": logits, "boxes": boxes}
    guilty = [name for name, tensor in given.items() if not tensor.isfinite().all()]
    if not guilty:
        return DataError("a true box has no area", "mend the data, or leave it out")
    return DivergedError(
        f"the predicted {' and '.join(guilty)} hold NaN or infinity",
        "start anew with a lower --training.lr or more --training.warmup-steps",
    )
