"""Several ranks in one process: threads that answer torch.distributed's calls.

What a function does on two processes is so seen in milliseconds, forward and backward. Each rank
is a thread of its own. torch walks backwards through CPU tensors in the thread that asks for it,
hence a call in a backward pass comes from the same rank. Real processes are tested elsewhere.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from minivl.course.guard import interrupt

GRACE = 0.25
"""Seconds after the limit in which a rank that waited in vain can say so."""

_thread = threading.local()
_one_run = threading.Lock()


class RankError(RuntimeError):
    """A rank failed (its own error is the cause) or did not come to where others wait for it."""


class RankTimeUp(RankError):
    """A rank was still at work when its time was over."""


class Meetings:
    """Where the ranks of one run meet: the nth call of each is the same one, or an error."""

    def __init__(self, ranks: int, seconds: float):
        self.ranks = ranks
        self.deadline = time.monotonic() + seconds
        self._calls: list[dict[int, tuple[str, Any]]] = []
        self._gone: set[int] = set()
        self._news = threading.Condition()

    def meet(self, rank: int, turn: int, operation: str, payload: Any) -> list:
        """Wait for all ranks to make their call number `turn`; what each brought, by rank."""
        with self._news:
            if turn == len(self._calls):
                self._calls.append({})
            call = self._calls[turn]
            call[rank] = (operation, payload)
            self._news.notify_all()
            self._news.wait_for(lambda: self._decided(call), self.deadline - time.monotonic())
            for other in range(self.ranks):
                if other not in call:
                    raise RankError(f"rank {other} never called {operation}")
                if call[other][0] != operation:
                    raise RankError(
                        f"rank {rank} called {operation} while rank {other} called {call[other][0]}"
                    )
        return [call[other][1] for other in range(self.ranks)]

    def leave(self, rank: int) -> None:
        """The rank makes no more calls: nobody needs to wait for it."""
        with self._news:
            self._gone.add(rank)
            self._news.notify_all()

    def _decided(self, call: dict) -> bool:
        return len(call) == self.ranks or any(rank not in call for rank in self._gone)


@dataclass
class Rank:
    """Who a thread is, and how many calls it has made."""

    number: int
    meetings: Meetings
    turn: int = 0

    def meet(self, operation: str, payload: Any = None) -> list:
        """What every rank brought to this call."""
        self.turn += 1
        return self.meetings.meet(self.number, self.turn - 1, operation, payload)


def run_ranks(
    function: Callable, arguments_by_rank: Sequence[tuple], seconds: float = 2.0
) -> list[Any]:
    """Call the function once a rank, at the same time; the results by rank.

    Inside, torch.distributed answers as for one process group of so many ranks on CPUs (see
    ANSWERS for the calls); other threads see nothing of it. Raises RankError with the rank and the
    message if a rank fails, if one does not come to a call that another makes, or if one is still
    at work after `seconds`.
    """
    if _me() is not None:
        raise RankError("run_ranks was called by a rank of another run")
    ranks = len(arguments_by_rank)
    results: list[Any] = [None] * ranks
    errors: dict[int, BaseException] = {}
    with _answering():
        meetings = Meetings(ranks, seconds)

        def work(number: int) -> None:
            _thread.rank = Rank(number, meetings)
            try:
                results[number] = function(*arguments_by_rank[number])
            except BaseException as error:
                errors[number] = error
            finally:
                meetings.leave(number)

        threads = [
            threading.Thread(target=work, args=(number,), daemon=True, name=f"rank {number}")
            for number in range(ranks)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, meetings.deadline + GRACE - time.monotonic()))
    late = [number for number, thread in enumerate(threads) if thread.is_alive()]
    for number in late:
        interrupt(threads[number])  # else it would go on, and slow down all that comes after
        errors.pop(number, None)
    _raise_first(errors)
    if late:
        raise RankTimeUp(f"rank {late[0]} is not done after {seconds:g} seconds")
    return results


def _raise_first(errors: dict[int, BaseException]) -> None:
    """A rank's own error before those of ranks that waited for it in vain."""
    for number, error in sorted(errors.items()):
        if not isinstance(error, RankError):
            message = f"rank {number}: {type(error).__name__}: {error}"
            raise RankError(message) from error
    for _, error in sorted(errors.items()):
        raise error


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """torch.distributed's functions answer ranks with ours, everyone else as before."""
    with _one_run:
        originals = {name: getattr(dist, name) for name in ANSWERS}
        try:
            for name, answer in ANSWERS.items():
                setattr(dist, name, _routed(answer, originals[name]))
            yield
        finally:
            for name, original in originals.items():
                setattr(dist, name, original)


def _routed(answer: Callable, original: Callable) -> Callable:
    @functools.wraps(original)
    def call(*arguments: Any, **options: Any) -> Any:
        return (original if _me() is None else answer)(*arguments, **options)

    return call


def _me() -> Rank | None:
    return getattr(_thread, "rank", None)


class Done:
    """What a call with async_op=True returns here: it has already happened."""

    def wait(self, timeout: Any = None) -> bool:
        """At once."""
        return True

    def is_completed(self) -> bool:
        """Always."""
        return True


def _sent(tensor: Tensor) -> Tensor:
    """A copy: the caller may write into the tensor before another rank has read it."""
    if not tensor.is_contiguous():
        raise ValueError("Tensors must be contiguous")  # As real process groups say.
    return tensor.detach().clone()


def _received(into: Tensor, tensor: Tensor, operation: str) -> None:
    if into.shape != tensor.shape or into.dtype != tensor.dtype:
        raise ValueError(
            f"{operation}: a tensor of shape {tuple(tensor.shape)}, {tensor.dtype} does not fit "
            f"into one of shape {tuple(into.shape)}, {into.dtype}"
        )
    with torch.no_grad():
        into.copy_(tensor)


def _received_all(into: Sequence[Tensor], tensors: Sequence[Tensor], operation: str) -> None:
    if len(into) != len(tensors):
        raise ValueError(f"{operation}: expected a list of {len(tensors)} tensors, got {len(into)}")
    for own, tensor in zip(into, tensors, strict=True):
        _received(own, tensor, operation)


def _reduced(tensors: Sequence[Tensor], op: Any) -> Tensor:
    if any(tensor.shape != tensors[0].shape for tensor in tensors):
        raise ValueError(f"ranks sent other shapes: {[tuple(tensor.shape) for tensor in tensors]}")
    stacked = torch.stack(list(tensors))
    if op == dist.ReduceOp.AVG:
        return stacked.mean(dim=0)
    if op == dist.ReduceOp.PRODUCT:
        return stacked.prod(dim=0)
    if op == dist.ReduceOp.MAX:
        return stacked.amax(dim=0)
    if op == dist.ReduceOp.MIN:
        return stacked.amin(dim=0)
    if op == dist.ReduceOp.SUM:
        return stacked.sum(dim=0)
    raise ValueError(f"ranks in threads do not know {op}")


def _all_gather(tensor_list, tensor, group=None, async_op=False):
    _received_all(tensor_list, _me().meet("all_gather", _sent(tensor)), "all_gather")
    return Done() if async_op else None


def _all_gather_into_tensor(output_tensor, input_tensor, group=None, async_op=False):
    parts = _me().meet("all_gather_into_tensor", _sent(input_tensor))
    stacked = output_tensor.ndim > input_tensor.ndim
    joined = torch.stack(parts) if stacked else torch.cat(parts)
    _received(output_tensor, joined, "all_gather_into_tensor")
    return Done() if async_op else None


def _all_reduce(tensor, op=dist.ReduceOp.SUM, group=None, async_op=False):
    _received(tensor, _reduced(_me().meet("all_reduce", _sent(tensor)), op), "all_reduce")
    return Done() if async_op else None


def _reduce_scatter(output, input_list, op=dist.ReduceOp.SUM, group=None, async_op=False):
    lists = _me().meet("reduce_scatter", [_sent(tensor) for tensor in input_list])
    own = [tensors[_me().number] for tensors in lists]
    _received(output, _reduced(own, op), "reduce_scatter")
    return Done() if async_op else None


def _reduce_scatter_tensor(output, input, op=dist.ReduceOp.SUM, group=None, async_op=False):
    parts = _me().meet("reduce_scatter_tensor", _sent(input))
    own = _reduced(parts, op).chunk(len(parts))[_me().number]
    _received(output, own.reshape(output.shape), "reduce_scatter_tensor")
    return Done() if async_op else None


def _all_to_all(output_tensor_list, input_tensor_list, group=None, async_op=False):
    lists = _me().meet("all_to_all", [_sent(tensor) for tensor in input_tensor_list])
    _received_all(output_tensor_list, [row[_me().number] for row in lists], "all_to_all")
    return Done() if async_op else None


def _broadcast(tensor, src=None, group=None, async_op=False, group_src=None):
    source = group_src if src is None else src
    _received(tensor, _me().meet("broadcast", _sent(tensor))[source or 0], "broadcast")
    return Done() if async_op else None


def _barrier(group=None, async_op=False, device_ids=None, timeout=None):
    _me().meet("barrier")
    return Done() if async_op else None


ANSWERS: dict[str, Callable] = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "get_rank": lambda group=None: _me().number,
    "get_world_size": lambda group=None: _me().meetings.ranks,
    "get_backend": lambda group=None: "threads",
    "all_gather": _all_gather,
    "all_gather_into_tensor": _all_gather_into_tensor,
    "all_reduce": _all_reduce,
    "reduce_scatter": _reduce_scatter,
    "reduce_scatter_tensor": _reduce_scatter_tensor,
    "all_to_all": _all_to_all,
    "broadcast": _broadcast,
    "barrier": _barrier,
}
"""The calls of torch.distributed that ranks in threads answer. torch.distributed.nn's all_gather
and all_reduce, which carry gradients, are made of these and so answer too."""
