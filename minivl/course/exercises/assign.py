"""Exercise 08.5, assign: the cheapest one-to-one matching."""

from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import drawn, numbers, told


def _by_hand() -> tuple:
    """Whoever takes the 1 must also take the 9, or the 8."""
    return (numbers([[1, 2], [2, 9], [8, 8]]),)


def _first_left_free() -> tuple:
    return (numbers([[9, 9], [1, 5], [5, 1]]),)


def _more_targets() -> tuple:
    return (numbers([[1, 2, 6], [2, 9, 7]]),)


def _five_queries() -> tuple:
    return (drawn(1, 5, 3),)


def _no_target() -> tuple:
    return (numbers([[], [], []]),)


def _by_query(function: Callable, cost: Tensor) -> Any:
    """The pairs in the order of their queries: any order is right."""
    found = function(cost)
    if not (isinstance(found, tuple | list) and len(found) == 2):
        return found
    if not all(torch.is_tensor(one) and one.ndim == 1 for one in found):
        return found
    query_index, target_index = found
    if len(query_index) != len(target_index):
        return found
    order = torch.argsort(query_index, stable=True)
    return query_index[order], target_index[order]


def _index_tensors(assign: Callable) -> str | None:
    """They index other tensors."""
    found = assign(*_by_hand())
    types = [str(one.dtype).removeprefix("torch.") for one in found]
    given = "the costs by hand; number formats"
    return None if types == ["int64"] * 2 else told(given, "int64, int64", ", ".join(types))


def _greedy(cost):
    left, pairs = cost.clone(), []
    for _ in range(min(cost.shape)):
        query, target = divmod(int(left.argmin()), cost.shape[1])
        left[query], left[:, target] = torch.inf, torch.inf
        pairs.append((query, target))
    found = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _best_query(cost):
    return cost.argmin(dim=0), torch.arange(cost.shape[1])


def _best_target(cost):
    return torch.arange(cost.shape[0]), cost.argmin(dim=1)


def _hungarian(*, maximise: bool = False, transposed: bool = False) -> Callable:
    def assign(cost):
        found = linear_sum_assignment(cost.detach().numpy(), maximize=maximise)
        queries, targets = (torch.from_numpy(one) for one in found)
        return (targets, queries) if transposed else (queries, targets)

    return assign


def _as_arrays(cost):
    return linear_sum_assignment(cost.detach().numpy())


def _as_lists(cost):
    return [one.tolist() for one in _as_arrays(cost)]


def _as_list_of_pairs(cost):
    return list(zip(*_as_lists(cost), strict=True))


def _as_tensor_of_pairs(cost):
    return torch.tensor(_as_list_of_pairs(cost), dtype=torch.int64).reshape(-1, 2)


def _first_come(cost):
    return torch.arange(min(cost.shape)), torch.arange(min(cost.shape))


TWO_TENSORS = "Two int64 tensors are expected: all queries in one, all targets in the other."

ASSIGN = Exercise(
    target="minivl.objectives.detection.assign",
    number="08.5",
    minutes=8,
    difficulty=1,
    source="Carion et al. 2020, equation 1; Kuhn 1955",
    hints=(
        "One-to-one: no query twice, no target twice, and the *sum* of the costs is to be least.",
        "`linear_sum_assignment` (SciPy) finds it. It wants a NumPy array on the CPU.",
        "`rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())`; then "
        "`torch.from_numpy` of both, on the device of the cost.",
    ),
    checks=(
        Case(
            "three queries, two targets, by hand",
            _by_hand,
            (torch.tensor([0, 1]), torch.tensor([1, 0])),
        ),
        Case(
            "a query that stays free",
            _first_left_free,
            (torch.tensor([1, 2]), torch.tensor([0, 1])),
        ),
        Case("fewer queries than targets", _more_targets),
        Case("five queries, three targets", _five_queries),
        Case("no target", _no_target),
        Property("int64", _index_tensors),
    ),
    variants=(
        Variant(
            "greedy",
            _greedy,
            "Taking the cheapest pair first can force an expensive rest.",
        ),
        Variant(
            "best query per target",
            _best_query,
            "One query has one box: it cannot be right about two things.",
        ),
        Variant(
            "best target per query",
            _best_target,
            "Unmatched queries must stay free: they are the no-object answers.",
        ),
        Variant("maximised", _hungarian(maximise=True), "Cost, not score: least is best."),
        Variant("transposed", _hungarian(transposed=True), "Queries first, then targets."),
        Variant(
            "in order",
            _first_come,
            "The costs are unused: query 0 need not answer for target 0.",
        ),
        Variant(
            "arrays",
            _as_arrays,
            "Two int64 tensors are expected: `torch.from_numpy` of each array.",
        ),
        Variant("list of pairs", _as_list_of_pairs, TWO_TENSORS),
        Variant("tensor of pairs", _as_tensor_of_pairs, TWO_TENSORS),
        Variant("lists", _as_lists, TWO_TENSORS),
    ),
    call=_by_query,
)
