"""The exercises, lesson by lesson, and what their checks are made of: tiny tensors, comparisons."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minivl.course.compare import kind, map_tensors, name_of, shown
from minivl.course.exercise import Property


def numbers(values: Any) -> Tensor:
    """A new float64 tensor of these numbers."""
    return torch.tensor(values, dtype=torch.float64)


def drawn(seed: int, *shape: int) -> Tensor:
    """A new float64 tensor of standard normal numbers, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def differs(given: str, got: Any, expected: Tensor, tolerance: float = 1e-9) -> str | None:
    """None if both tensors agree, else three lines for a verdict: input, expected, got.

    The tolerance is relative to the largest number expected. NaN and infinity never agree.
    """
    problem = ""
    if not torch.is_tensor(got):
        problem = kind(got)
    elif got.shape != expected.shape:
        problem = f"the shape {tuple(got.shape)}: {shown(got)}"
    else:
        bound = tolerance * expected.detach().double().abs().amax().clamp_min(1e-30)
        agree = (got.detach().double() - expected.detach().double()).abs() <= bound
        problem = "" if agree.all() else shown(got)
    return told(given, shown(expected), problem) if problem else None


def told(given: str, expected: str, got: str) -> str:
    """The three lines of a verdict on a promise that does not hold."""
    return f"input     {given}\nexpected  {expected}\ngot       {got}"


def close_in_bfloat16(make: Callable[[], tuple]) -> Property:
    """bfloat16 in, bfloat16 out, at most 2 % off what the function gives for float64.

    `make` returns the arguments in float64.
    """

    def holds(function: Callable) -> str | None:
        narrow = map_tensors(make(), torch.Tensor.bfloat16)
        got = function(*narrow)
        if torch.is_tensor(got) and got.dtype != torch.bfloat16:
            return told("tensors in bfloat16", "a result in bfloat16", name_of(got.dtype))
        wide = map_tensors(narrow, torch.Tensor.double)
        return differs("tensors in bfloat16", got, function(*wide), tolerance=0.02)

    return Property("bfloat16", holds)
