"""Several processes as one: who am I, join rows with gradient, agree on a flag.

Processes are started by torchrun, which sets RANK, WORLD_SIZE and the address to meet at; with
one process every function here is a no-op.
"""

import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor


def init() -> None:
    """Join the processes that torchrun started: nccl on CUDA, gloo on CPU. Else do nothing."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo")


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process writes files and talks."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any process: all hear the same answer."""
    if world_size() == 1:
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    votes = torch.tensor(int(flag), device=device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


class BothWays(torch.autograd.Function):
    """BothWays.apply(x, there, back): a function of x whose way back is written by hand."""

    @staticmethod
    def forward(
        ctx, x: Tensor, there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """x -> there(x)."""
        ctx.back = back
        return there(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of there(x) -> back(gradient), that of x."""
        return ctx.back(gradient), None, None


def gather_with_grad(x: Tensor) -> Tensor:
    """The rows of all processes in order of rank; each row's gradient finds its way home.

    x (n, d), the same shape on each process -> (world*n, d). What reaches a row is the sum over
    the processes, each of which used it. One process: x itself.
    """

    def there(x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    def back(gradient: Tensor) -> Tensor:
        # A copy: others may have been given the same gradient, and all_reduce overwrites it.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(world_size())[rank()]

    return BothWays.apply(x, there, back) if world_size() > 1 else x


class Gather:
    """`gather_with_grad` and the own rank: what a model needs to contrast with all processes."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        return rank()

    def __call__(self, x: Tensor) -> Tensor:
        """x (n, d) -> (world*n, d), with gradient."""
        return gather_with_grad(x)
