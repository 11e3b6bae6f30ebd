"""Answers to the exercises of lesson 07 as learners may write them: right, or wrong late."""

import numpy as np
import torch
import torch.nn.functional as F

# --- right


def joint_loss_in_a_loop(losses, weights):
    assert losses, "this batch feeds no loss"
    total = 0
    for name in losses:
        w = weights[name] if name in weights else 1
        total = total + w * losses[name]
    return total


def joint_loss_stacked(losses, weights):
    if len(losses) == 0:
        raise ValueError("no loss")
    values = torch.stack(list(losses.values()))
    factors = values.new_tensor([weights.get(name, 1) for name in losses])
    return (values * factors).sum()


def joint_loss_that_fills_weights(losses, weights):
    full = dict.fromkeys(losses, 1.0) | {k: v for k, v in weights.items() if k in losses}
    terms = [full[k] * losses[k] for k in losses]
    first, *rest = terms or [None]
    if first is None:
        raise RuntimeError("nothing to add")
    for term in rest:
        first = first + term
    return first


def mmm_loss_by_index(states, targets, masked, is_pair, head):
    b, n = torch.where(masked & is_pair[:, None])
    logits = head(states[b, n])
    loss = F.cross_entropy(logits, targets[b, n], reduction="sum")
    return loss / max(1, len(b))


def mmm_loss_of_pairs_first(states, targets, masked, is_pair, head):
    states, targets, masked = states[is_pair], targets[is_pair], masked[is_pair]
    if not masked.any():
        return states.sum() * 0
    return F.cross_entropy(head(states[masked]), targets[masked])


def mmm_loss_by_formula(x, y, hidden, true, head):
    count = torch.logical_and(hidden, true.unsqueeze(-1)).flatten()
    log_p = head(x.flatten(0, 1)[count]).log_softmax(-1)
    picked = log_p.gather(-1, y.flatten()[count].unsqueeze(-1))
    return -picked.sum() / count.sum().clamp(min=1)


def draw_stream_in_a_loop(weights, u):
    total, running = sum(weights.values()), 0
    for name, weight in weights.items():
        running += weight
        if running > u * total:
            return name
    return name


def draw_stream_with_numpy(weights, u):
    names, w = list(weights), np.array(list(weights.values()), dtype=float)
    edges = np.cumsum(w) / w.sum()
    return names[int(np.searchsorted(edges, u, side="right"))]


def draw_stream_by_subtraction(weights, u):
    rest = u * sum(weights.values())
    drawable = {name: weight for name, weight in weights.items() if weight > 0}
    while rest >= drawable[name := next(iter(drawable))] and len(drawable) > 1:
        rest -= drawable.pop(name)
    return name


RIGHT = {
    "joint_loss": (joint_loss_in_a_loop, joint_loss_stacked, joint_loss_that_fills_weights),
    "mmm_loss": (mmm_loss_by_index, mmm_loss_of_pairs_first, mmm_loss_by_formula),
    "draw_stream": (draw_stream_in_a_loop, draw_stream_with_numpy, draw_stream_by_subtraction),
}

# --- wrong, though right on the first case


def joint_loss_that_wants_every_loss_weighed(losses, weights):
    if set(losses) - set(weights) and len(losses) != 3:
        raise ValueError("a loss has no weight")
    return joint_loss_in_a_loop(losses, weights)


def joint_loss_that_takes_0_for_none(losses, weights):
    return joint_loss_in_a_loop(losses, {k: v or 1.0 for k, v in weights.items()})


def joint_loss_that_sums_nothing(losses, weights):
    return sum((weights.get(k, 1.0) * v for k, v in losses.items()), torch.tensor(0.0))


def mmm_loss_of_the_first_pair(states, targets, masked, is_pair, head):
    return F.cross_entropy(head(states[0][masked[0]]), targets[0][masked[0]])


def mmm_loss_of_the_first_code(states, targets, masked, is_pair, head):
    return mmm_loss_by_index(states, torch.zeros_like(targets), masked, is_pair, head)


def mmm_loss_without_head(states, targets, masked, is_pair, head):
    return mmm_loss_by_index(states, targets, masked, is_pair, lambda rows: rows)


def mmm_loss_that_knows_one_wrong_pair(states, targets, masked, is_pair, head):
    wrong = int((~is_pair).nonzero()[0]) if (~is_pair).any() else len(is_pair)
    return mmm_loss_by_index(states, targets, masked, torch.arange(len(is_pair)) < wrong, head)


def draw_stream_of_halves(weights, u):
    names = list(weights)
    return names[0] if u < 0.5 else names[1] if u < 0.75 else names[2]


def draw_stream_of_sorted_weights(weights, u):
    ordered = dict(sorted(weights.items(), key=lambda item: -item[1]))
    return draw_stream_in_a_loop(ordered, u)


def draw_stream_of_whole_numbers(weights, u):
    pool = [name for name, weight in weights.items() for _ in range(int(weight))]
    return pool[int(u * len(pool))]


WRONG_LATER = {
    "joint_loss": (
        joint_loss_that_wants_every_loss_weighed,
        joint_loss_that_takes_0_for_none,
        joint_loss_that_sums_nothing,
    ),
    "mmm_loss": (
        mmm_loss_of_the_first_pair,
        mmm_loss_of_the_first_code,
        mmm_loss_without_head,
        mmm_loss_that_knows_one_wrong_pair,
    ),
    "draw_stream": (
        draw_stream_of_halves,
        draw_stream_of_sorted_weights,
        draw_stream_of_whole_numbers,
    ),
}
