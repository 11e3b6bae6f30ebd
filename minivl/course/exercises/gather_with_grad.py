"""Exercise 05.4, gather_with_grad: the rows of all processes, and a way home for gradients.

Ranks are threads here, see minivl/course/ranks.py.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told
from minivl.course.guard import TimeUp
from minivl.course.ranks import RankError, RankTimeUp, run_ranks

SECONDS = 1.0


def on_ranks(gather_with_grad: Callable, rows: list[Tensor]) -> Any:
    """Gather on as many ranks as there are tensors, and walk back.

    On rank r the gradient that arrives is 10^r times 1, 2, 3, … Returns what each rank gathered,
    then the gradient that each rank's own rows received (0 where nothing flowed), as one tuple. If
    a rank returns no tensor, that is returned.
    """

    def work(rank: int, own: Tensor) -> Any:
        x = own.clone().requires_grad_()
        gathered = gather_with_grad(x)
        if not torch.is_tensor(gathered):
            return gathered
        if gathered.requires_grad:
            arriving = 10.0**rank * torch.arange(1, gathered.numel() + 1, dtype=x.dtype)
            # Not backward(arriving): torch would import its compiler for it, which takes seconds.
            (arriving.reshape(gathered.shape) * gathered).sum().backward()
        gradient = torch.zeros_like(x) if x.grad is None else x.grad
        return Seen((gathered.detach(), gradient))

    found = _run(work, [(rank, own) for rank, own in enumerate(rows)])
    for one in found:
        if not isinstance(one, Seen):
            return one
    return (*(one[0] for one in found), *(one[1] for one in found))


class Seen(tuple):
    """What one rank gathered, and the gradient that its rows received."""


def _run(work: Callable, arguments: list[tuple]) -> list:
    """run_ranks; an error of the function itself comes out as it is, with its line."""
    try:
        return run_ranks(work, arguments, SECONDS)
    except RankTimeUp:
        raise TimeUp from None
    except RankError as error:
        raise error.__cause__ or error from None


def _alone(gather_with_grad: Callable) -> str | None:
    x, given = numbers([[1, 2], [3, 4]]), "x; no other process, torch.distributed not started"
    try:
        return differs(given, gather_with_grad(x), x)
    except Exception as error:
        problem = told(given, "x itself", f"{type(error).__name__}: {error}".splitlines()[0])
        return f"{problem}\nAsk `dist.is_initialized()` before you ask for ranks."


def _gradient_of_others(gather_with_grad: Callable) -> str | None:
    """autograd gives one tensor as gradient to both sides of a sum."""

    def work(rank: int) -> Tensor:
        beside = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
        doubled = 2 * beside
        x = numbers([[rank + 1]]).requires_grad_()
        (numbers([[1], [1]]) * (gather_with_grad(x) + doubled)).sum().backward()
        return beside.grad

    for gradient in _run(work, [(0,), (1,)]):
        if not torch.equal(gradient, numbers([[2], [2]])):
            return (
                told(
                    "gather_with_grad(x) + 2 b, gradient 1", "[2, 2] for b", f"{gradient.tolist()}"
                )
                + "\nYour backward changes the gradient that it is given, and others hold it too. "
                "Clone it first."
            )
    return None


def _gathered(x: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return parts


def _gathering(home: Callable[[Tensor, int, int], Tensor]) -> Callable:
    """gather_with_grad whose backward pass is `home` of (summed gradient, rank, ranks)."""

    class Gather(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.cat(_gathered(x))

        @staticmethod
        def backward(ctx, gradient):
            gradient = gradient.contiguous().clone()
            dist.all_reduce(gradient)
            return home(gradient, dist.get_rank(), dist.get_world_size())

    return lambda x: Gather.apply(x) if dist.is_initialized() else x


def _sliced_first(x):
    class Gather(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.cat(_gathered(x))

        @staticmethod
        def backward(ctx, gradient):
            own = gradient.chunk(dist.get_world_size())[dist.get_rank()].clone()
            dist.all_reduce(own)
            return own

    return Gather.apply(x) if dist.is_initialized() else x


def _plain(x):
    return torch.cat(_gathered(x)) if dist.is_initialized() else x


def _own_slot(x):
    if not dist.is_initialized():
        return x
    parts = _gathered(x)
    parts[dist.get_rank()] = x
    return torch.cat(parts)


def _own_rows_first(x):
    gathered = _gathering(lambda gradient, rank, ranks: gradient.chunk(ranks)[rank])(x)
    return gathered.roll(-dist.get_rank() * len(x), 0) if dist.is_initialized() else gathered


def _stacked(x):
    gathered = _gathering(lambda gradient, rank, ranks: gradient.chunk(ranks)[rank])(x)
    return gathered.unflatten(0, (-1, len(x))) if dist.is_initialized() else gathered


GATHER_WITH_GRAD = Exercise(
    target="minivl.training.distributed.gather_with_grad",
    number="05.4",
    minutes=20,
    difficulty=3,
    source="Singh et al. 2022 (FLAVA), global contrastive loss",
    hints=(
        "`dist.all_gather` fills a list of tensors by rank. They are copies without history: no "
        "gradient passes.",
        "Your rows are part of every rank's loss. The gradient that comes home is the sum over "
        "ranks of what each sends to your rows.",
        "`BothWays.apply(x, there, back)`: there gathers and joins with `torch.cat`; back clones "
        "the gradient, calls `dist.all_reduce` on it and returns rows rank·n to rank·n + n. With "
        "one process return x itself.",
    ),
    checks=(
        Case(
            "two ranks by hand (what both gather; both gradients of losses y1 + 2 y2 and "
            "10 y1 + 20 y2)",
            lambda: ([numbers([[1]]), numbers([[2]])],),
            (numbers([[1], [2]]), numbers([[1], [2]]), numbers([[11]]), numbers([[22]])),
        ),
        Case(
            "a single rank",
            lambda: ([numbers([[5], [6]])],),
            (numbers([[5], [6]]), numbers([[1], [2]])),
        ),
        Case(
            "two rows on each of three ranks", lambda: ([drawn(rank, 2, 3) for rank in range(3)],)
        ),
        Property("one process without torch.distributed", _alone),
        Property("the gradient of others stays as it was", _gradient_of_others),
    ),
    variants=(
        Variant(
            "plain",
            _plain,
            "No gradient comes home: `all_gather` returns copies without history. Write the way "
            "back yourself, with `BothWays`.",
        ),
        Variant(
            "own slot keeps gradient",
            _own_slot,
            "Only your own rank's loss teaches your rows. What they do as negatives on other "
            "ranks is lost: sum the gradient over ranks.",
        ),
        Variant(
            "averaged",
            _gathering(lambda gradient, rank, ranks: gradient.chunk(ranks)[rank] / ranks),
            "You averaged over ranks. DDP divides by the number of ranks already: dividing here "
            "too makes the gradient of the encoders W times too small.",
        ),
        Variant(
            "first slice",
            _gathering(lambda gradient, rank, ranks: gradient.chunk(ranks)[0]),
            "Every rank took the gradient of rank 0's rows. Yours begin at row rank·n.",
        ),
        Variant(
            "own rows before the sum",
            _sliced_first,
            "You kept your rows before the sum, so each rank added rows of its own. First sum the "
            "whole gradient over all ranks, then keep your rows.",
        ),
        Variant(
            "all rows",
            _gathering(lambda gradient, rank, ranks: gradient.sum(0, keepdim=True)),
            "Your way back returns the gradient of all rows. Keep those of your rank.",
        ),
        Variant(
            "own rows first",
            _own_rows_first,
            "You put your own rows first. Keep the order of ranks, or labels point at strangers.",
        ),
        Variant(
            "stacked",
            _stacked,
            "You stacked the ranks along a new dimension. Join their rows: `torch.cat`.",
        ),
    ),
    call=on_ranks,
)
