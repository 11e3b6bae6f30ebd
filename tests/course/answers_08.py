"""Answers to the exercises of lesson 08 as learners may write them: right, or wrong late."""

import math

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

# --- right


def task_queries_by_repeating(table, task, batch):
    return table[task].unsqueeze(0).repeat(batch, 1, 1)


def task_queries_by_stacking(table, task, batch):
    return torch.stack([table[task] for _ in range(batch)])


def task_queries_by_choosing(table, task, batch):
    chosen = torch.zeros(batch, len(table), dtype=table.dtype)
    chosen[:, task] = 1
    return torch.einsum("bt,tqd->bqd", chosen, table)


def wave(place, width):
    number = torch.arange(width // 2)
    angle = place[:, None] * 10_000.0 ** (-2 * number / width)
    out = torch.empty(len(place), width, dtype=torch.float64)
    out[:, 0::2], out[:, 1::2] = angle.sin(), angle.cos()
    return out


def sine_positions_2d_without_helper(h, w, d):
    y = wave(torch.linspace(2 * math.pi / h, 2 * math.pi, h, dtype=torch.float64), d // 2)
    x = wave(torch.linspace(2 * math.pi / w, 2 * math.pi, w, dtype=torch.float64), d // 2)
    return torch.cat([y.repeat_interleave(w, 0), x.repeat(h, 1)], dim=1).view(h, w, d)


def sine_positions_2d_in_a_loop(h, w, d):
    out = torch.zeros(h, w, d, dtype=torch.float64)
    for row in range(h):
        for column in range(w):
            places = ((row + 1) / (h + 1e-6), (column + 1) / (w + 1e-6))
            for half, place in enumerate(places):
                for i in range(d // 2):
                    angle = 2 * math.pi * place / 10_000 ** (2 * (i // 2) / (d // 2))
                    out[row, column, half * (d // 2) + i] = (math.cos if i % 2 else math.sin)(angle)
    return out


def sine_positions_2d_in_float32(h, w, d):
    return sine_positions_2d_without_helper(h, w, d).float()


def generalized_box_iou_by_coordinates(a, b):
    ax0, ay0, ax1, ay1 = (column[:, None] for column in a.unbind(1))
    bx0, by0, bx1, by1 = (column[None, :] for column in b.unbind(1))
    wide = F.relu(torch.min(ax1, bx1) - torch.max(ax0, bx0))
    high = F.relu(torch.min(ay1, by1) - torch.max(ay0, by0))
    overlap = wide * high
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - overlap
    wide = torch.max(ax1, bx1) - torch.min(ax0, bx0)
    high = torch.max(ay1, by1) - torch.min(ay0, by0)
    hull = wide * high
    return overlap / union - 1 + union / hull


def generalized_box_iou_of_expanded(a, b):
    a, b = a.unsqueeze(1).expand(-1, len(b), -1), b.unsqueeze(0).expand(len(a), -1, -1)

    def area(boxes):
        return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])

    low, high = torch.minimum(a, b), torch.maximum(a, b)
    sides = torch.clamp_min(low[..., 2:] - high[..., :2], 0)
    overlap = sides[..., 0] * sides[..., 1]
    union = area(a) + area(b) - overlap
    hull = area(torch.cat([low[..., :2], high[..., 2:]], dim=-1))
    return overlap / union - (hull - union) / hull


def cornered(boxes):
    x, y, w, h = boxes.unbind(-1)
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)


@torch.no_grad()
def match_cost_in_a_row(logits, boxes, labels, target_boxes, weights=(1, 5, 2)):
    p = logits.softmax(-1)
    cost = -weights[0] * p[:, labels]
    cost = cost + weights[1] * torch.cdist(boxes, target_boxes, p=1)
    overlap = generalized_box_iou_by_coordinates(cornered(boxes), cornered(target_boxes))
    return cost - weights[2] * overlap


def match_cost_by_detaching(logits, boxes, labels, target_boxes, weights=(1.0, 5.0, 2.0)):
    logits, boxes = logits.detach(), boxes.detach()
    share = logits.exp() / logits.exp().sum(1, keepdim=True)
    gaps = (boxes.unsqueeze(1) - target_boxes.unsqueeze(0)).abs()
    overlap = generalized_box_iou_of_expanded(cornered(boxes), cornered(target_boxes))
    terms = (-share.index_select(1, labels), gaps.sum(-1), -overlap)
    return sum(weight * term for weight, term in zip(weights, terms, strict=True))


def assign_as_in_detr(cost):
    i, j = linear_sum_assignment(cost.detach().cpu())
    return torch.as_tensor(i, dtype=torch.int64), torch.as_tensor(j, dtype=torch.int64)


def assign_by_target(cost):
    targets, queries = linear_sum_assignment(cost.detach().numpy().T)
    return [torch.tensor(queries), torch.tensor(targets)]


def assign_by_force(cost):
    from itertools import permutations

    q, t = cost.shape
    small, large = min(q, t), max(q, t)
    table = cost if q >= t else cost.T
    ways = permutations(range(large), small)
    best = min(ways, key=lambda way: sum(table[row, at].item() for at, row in enumerate(way)))
    rows = torch.tensor(best, dtype=torch.int64)
    columns = torch.arange(small)
    return (rows, columns) if q >= t else (columns, rows)


def set_loss_by_hand(logits, boxes, query_index, labels, target_boxes, no_object=0.1):
    q, classes = logits.shape
    right = torch.full((q,), classes - 1)
    right[query_index] = labels
    weight = torch.ones(q, dtype=logits.dtype)
    weight[right == classes - 1] = no_object
    each = -logits.log_softmax(1).gather(1, right[:, None])[:, 0]
    gaps = boxes[query_index] - target_boxes
    overlap = generalized_box_iou_by_coordinates(
        cornered(boxes[query_index]), cornered(target_boxes)
    )
    count = len(labels) or 1
    return {
        "ce": (weight * each).sum() / weight.sum(),
        "l1": gaps.abs().sum() / count,
        "giou": (len(labels) - overlap.diagonal().sum()) / count,
    }


def set_loss_with_f(logits, boxes, query_index, labels, target_boxes, no_object=0.1):
    right = torch.full(logits.shape[:1], logits.shape[1] - 1).index_put((query_index,), labels)
    weight = torch.ones(logits.shape[1], dtype=logits.dtype)
    weight[-1] = no_object
    mine = boxes[query_index]
    overlap = generalized_box_iou_of_expanded(cornered(mine), cornered(target_boxes))
    count = max(len(labels), 1)
    return {
        "giou": torch.diag(1 - overlap).sum() / count,
        "l1": F.l1_loss(mine, target_boxes, reduction="sum") / count,
        "ce": F.cross_entropy(logits, right, weight=weight),
    }


def answer_loss_by_sums(logits, soft_targets):
    each = F.binary_cross_entropy_with_logits(logits, soft_targets, reduction="none")
    return each.sum(dim=-1).mean()


def answer_loss_by_softplus(logits, soft_targets):
    yes, no = F.softplus(-logits), F.softplus(logits)
    return (soft_targets * yes + (1 - soft_targets) * no).sum() / len(logits)


RIGHT = {
    "task_queries": (task_queries_by_repeating, task_queries_by_stacking, task_queries_by_choosing),
    "sine_positions_2d": (
        sine_positions_2d_without_helper,
        sine_positions_2d_in_a_loop,
        sine_positions_2d_in_float32,
    ),
    "generalized_box_iou": (generalized_box_iou_by_coordinates, generalized_box_iou_of_expanded),
    "match_cost": (match_cost_in_a_row, match_cost_by_detaching),
    "assign": (assign_as_in_detr, assign_by_target, assign_by_force),
    "set_loss": (set_loss_by_hand, set_loss_with_f),
    "answer_loss": (answer_loss_by_sums, answer_loss_by_softplus),
}

# --- wrong, though right on the first case


def task_queries_of_the_last(table, task, batch):
    return task_queries_by_repeating(table, -1, batch)


def task_queries_of_two(table, task, batch):
    return table[task].expand(2, -1, -1)


def sine_positions_2d_of_long_waves(h, w, d):
    even = sine_positions_2d_without_helper(h, w, d)
    return even if d == 4 else even.roll(1, dims=2)


def sine_positions_2d_of_columns(h, w, d):
    return sine_positions_2d_without_helper(h, w, d)[:1].expand(h, -1, -1)


def generalized_box_iou_at_the_origin(a, b):
    """The hull of boxes that begin at 0."""
    end = torch.maximum(a[:, None, 2:], b[None, :, 2:])
    right = generalized_box_iou_of_expanded(a, b)
    low, high = torch.minimum(a[:, None], b), torch.maximum(a[:, None], b)
    hull = (high[..., 2:] - low[..., :2]).prod(-1)
    union = (right + 1) * hull  # where nothing overlaps
    touching = (low[..., 2:] > high[..., :2]).all(-1)
    return torch.where(touching, right, union / end.prod(-1) - 1)


def generalized_box_iou_of_numbers(a, b):
    rows = [[generalized_box_iou_of_expanded(x[None], y[None])[0, 0] for y in b] for x in a]
    if not rows:
        return a.new_zeros(0, len(b))
    return torch.stack([torch.stack(row) for row in rows]) * float(b.abs().sum() > -1)


def match_cost_of_fixed_weights(logits, boxes, labels, target_boxes, weights=(1, 5, 2)):
    return match_cost_in_a_row(logits, boxes, labels, target_boxes)


def match_cost_of_the_first_class(logits, boxes, labels, target_boxes, weights=(1, 5, 2)):
    return match_cost_in_a_row(logits, boxes, torch.zeros_like(labels), target_boxes, weights)


def match_cost_with_a_graph(logits, boxes, labels, target_boxes, weights=(1, 5, 2)):
    return match_cost_in_a_row.__wrapped__(logits, boxes, labels, target_boxes, weights)


def assign_of_two_targets(cost):
    queries, targets = linear_sum_assignment(cost[:, :2].detach().numpy())
    return torch.tensor(queries), torch.tensor(targets)


def assign_as_numbers(cost):
    queries, targets = assign_as_in_detr(cost)
    return queries.int(), targets.int()


def set_loss_at_a_tenth(logits, boxes, query_index, labels, target_boxes, no_object=0.1):
    return set_loss_by_hand(logits, boxes, query_index, labels, target_boxes)


def set_loss_of_all_pairs(logits, boxes, query_index, labels, target_boxes, no_object=0.1):
    right = set_loss_by_hand(logits, boxes, query_index, labels, target_boxes, no_object)
    overlap = generalized_box_iou_by_coordinates(
        cornered(boxes[query_index]), cornered(target_boxes)
    )
    return right | {"giou": (1 - overlap).sum() / max(len(labels), 1)}


def answer_loss_of_two(logits, soft_targets):
    each = F.binary_cross_entropy_with_logits(logits, soft_targets, reduction="none")
    return each.sum() / 2


def answer_loss_from_probabilities(logits, soft_targets):
    p = logits.sigmoid()
    return F.binary_cross_entropy(p, soft_targets) * logits.shape[1]


WRONG_LATER = {
    "task_queries": (task_queries_of_the_last, task_queries_of_two),
    "sine_positions_2d": (sine_positions_2d_of_long_waves, sine_positions_2d_of_columns),
    "generalized_box_iou": (generalized_box_iou_at_the_origin, generalized_box_iou_of_numbers),
    "match_cost": (
        match_cost_of_fixed_weights,
        match_cost_of_the_first_class,
        match_cost_with_a_graph,
    ),
    "assign": (assign_of_two_targets, assign_as_numbers),
    "set_loss": (set_loss_at_a_tenth, set_loss_of_all_pairs),
    "answer_loss": (answer_loss_of_two, answer_loss_from_probabilities),
}

# --- wrong in a way that has a name, in other words than the exercise's own


def task_queries_from_one(table, task, batch):
    return task_queries_by_repeating(table, task - 1, batch)


def sine_positions_2d_by_linspace(h, w, d):
    y = wave(torch.linspace(0, 2 * math.pi, h, dtype=torch.float64), d // 2)
    x = wave(torch.linspace(0, 2 * math.pi, w, dtype=torch.float64), d // 2)
    return torch.cat([y.repeat_interleave(w, 0), x.repeat(h, 1)], dim=1).view(h, w, d)


def generalized_box_iou_of_a_union_above_zero(a, b):
    right = generalized_box_iou_of_expanded(a, b)
    a, b = a[:, None], b[None]
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    overlap = (low[..., 2:] - high[..., :2]).relu().prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (a, b)]
    union = areas[0] + areas[1] - overlap
    return right - overlap / union + overlap / (union + 1e-7)


def match_cost_of_the_second_class_up(logits, boxes, labels, target_boxes, weights=(1, 5, 2)):
    return match_cost_in_a_row(logits.roll(-1, 1), boxes, labels, target_boxes, weights)


def match_cost_of_rows(logits, boxes, labels, target_boxes, weights=(1, 5, 2)):
    with torch.no_grad():
        overlap = generalized_box_iou_by_coordinates(cornered(boxes), cornered(target_boxes))
        gaps = torch.cdist(boxes, target_boxes, p=1)
        return weights[1] * gaps - weights[0] * logits.softmax(-1)[labels] - weights[2] * overlap


def assign_the_cheapest(cost):
    return torch.min(cost, dim=0).indices, torch.arange(cost.size(1))


def assign_of_scipy(cost):
    rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return rows, columns


def assign_in_pairs(cost):
    return list(zip(*assign_of_scipy(cost), strict=True))


def assign_in_lists(cost):
    return tuple(one.tolist() for one in assign_of_scipy(cost))


def set_loss_of_float32_weights(logits, boxes, query_index, labels, target_boxes, no_object=0.1):
    k = logits.shape[1] - 1
    classes = torch.full((len(logits),), k)
    classes[query_index] = labels
    w = torch.ones(k + 1)
    w[k] = no_object
    right = set_loss_by_hand(logits, boxes, query_index, labels, target_boxes, no_object)
    return right | {"ce": F.cross_entropy(logits, classes, w)}


def set_loss_with_nothing_first(logits, boxes, query_index, labels, target_boxes, no_object=0.1):
    classes = torch.zeros(len(logits), dtype=torch.int64)
    classes[query_index] = labels + 1
    weight = logits.new_tensor([no_object] + [1.0] * (logits.shape[1] - 1))
    right = set_loss_by_hand(logits, boxes, query_index, labels, target_boxes, no_object)
    return right | {"ce": F.cross_entropy(logits, classes, weight)}


def set_loss_one_class_too_far(logits, boxes, query_index, labels, target_boxes, no_object=0.1):
    classes = torch.full((len(logits),), logits.shape[1])
    classes[query_index] = labels
    return {"ce": F.cross_entropy(logits, classes)}


def set_loss_of_a_label_a_query(*arguments):
    logits, labels = arguments[0], arguments[3]
    right = torch.stack([labels[i] for i in range(len(logits))])
    return set_loss_by_hand(*arguments) | {"ce": F.cross_entropy(logits, right)}


def set_loss_weighed(*arguments):
    ce, l1, giou = (set_loss_by_hand(*arguments)[name] for name in ("ce", "l1", "giou"))
    return {"ce": ce, "l1": 5 * l1, "giou": 2 * giou}


def answer_loss_of_any_share(logits, soft_targets):
    return answer_loss_by_softplus(logits, (soft_targets > 0).double())


def answer_loss_of_yes(logits, soft_targets):
    return (soft_targets * F.softplus(-logits)).sum() / len(logits)


NAMED = {
    "task_queries": {"counted from 1": task_queries_from_one},
    "sine_positions_2d": {"linspace from 0": sine_positions_2d_by_linspace},
    "generalized_box_iou": {"1e-07 in the union": generalized_box_iou_of_a_union_above_zero},
    "match_cost": {
        "fixed weights": match_cost_of_fixed_weights,
        "nothing is the first class": match_cost_of_the_second_class_up,
        "rows of labels": match_cost_of_rows,
    },
    "assign": {
        "best query per target": assign_the_cheapest,
        "arrays": assign_of_scipy,
        "list of pairs": assign_in_pairs,
        "lists": assign_in_lists,
    },
    "set_loss": {
        "labels moved behind nothing": set_loss_with_nothing_first,
        "nothing behind the last class": set_loss_one_class_too_far,
        "factors inside": set_loss_weighed,
        "fixed no_object": set_loss_at_a_tenth,
        "all pairs": set_loss_of_all_pairs,
    },
    "answer_loss": {
        "any share is a yes": answer_loss_of_any_share,
        "yes alone": answer_loss_of_yes,
    },
}
