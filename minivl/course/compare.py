"""Whether two results are the same, and if not, in which way they differ."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

CLOSE = {"rtol": 1e-9, "atol": 1e-12}
"""For float64; narrower numbers are compared at four roundings."""


def difference(got: Any, expected: Any) -> str:
    """How `got` differs from what was expected, in a few words; empty if it does not.

    Numbers of whole and boolean tensors may stand for each other, and so may lists and tuples.
    """
    if torch.is_tensor(expected):
        return _tensors(got, expected)
    if isinstance(expected, dict):
        return _named(got, expected)
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple):
            return f"expected {len(expected)} results, got {kind(got)}"
        if len(got) != len(expected):
            return f"expected {len(expected)} items, got {len(got)}"
        differences = (difference(g, e) for g, e in zip(got, expected, strict=True))
        return next(filter(None, differences), "")
    if isinstance(expected, float) and isinstance(got, int | float):
        both = torch.tensor([float(got), expected], dtype=torch.float64)
        return "" if torch.isclose(both[0], both[1]) else "other number"
    if isinstance(got, np.ndarray) or isinstance(expected, np.ndarray):
        same = type(got) is type(expected) and np.array_equal(got, expected)
        return "" if same else "other value"
    return "" if got == expected else "other value"


def _named(got: Any, expected: dict[str, Any]) -> str:
    """What is behind other keys than those expected may be anything."""
    due = f"expected a dict with {', '.join(map(str, expected))}, got "
    if not isinstance(got, dict):
        return due + kind(got)
    if not expected.keys() <= got.keys():
        return due + (", ".join(map(str, got)) or "an empty one")
    return next(filter(None, (difference(got[key], expected[key]) for key in expected)), "")


def _tensors(got: Any, expected: torch.Tensor) -> str:
    if not torch.is_tensor(got):
        return f"expected a tensor, got {kind(got)}"
    if got.shape != expected.shape:
        return f"expected the shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    if got.is_floating_point() != expected.is_floating_point():
        return f"expected {name_of(expected.dtype)}, got {name_of(got.dtype)}"
    if got.is_floating_point() and got.dtype != expected.dtype:
        return f"expected {name_of(expected.dtype)}, got {name_of(got.dtype)}"
    if not got.is_floating_point():
        return "" if torch.equal(got.long(), expected.long()) else "other numbers"
    step = torch.finfo(expected.dtype).eps
    close = CLOSE if expected.dtype == torch.float64 else {"rtol": 4 * step, "atol": 4 * step}
    same = torch.allclose(got.detach(), expected.detach(), equal_nan=True, **close)
    return "" if same else "other numbers"


def kind(value: Any) -> str:
    """What a value is, for people: "nothing", "a float", "a tuple"."""
    if isinstance(value, np.ndarray):
        return "a NumPy array"
    return "nothing" if value is None else f"a {type(value).__name__}"


def name_of(dtype: torch.dtype) -> str:
    """torch.float64 -> "float64"."""
    return str(dtype).removeprefix("torch.")


def both_shown(expected: Any, got: Any) -> tuple[str, str]:
    """Two values as a verdict shows them, with as many decimals as it takes to tell them apart."""
    for decimals in (4, 8, 12):
        pair = shown(expected, decimals=decimals), shown(got, decimals=decimals)
        if pair[0] != pair[1]:
            break
    return pair


def shown(value: Any, longest: int = 160, decimals: int = 4) -> str:
    """A value as a verdict shows it: rounded, on one line, without its dtype."""
    if torch.is_tensor(value):
        value = value.detach()
        inner = value
        while inner.ndim > 2 and len(inner) == 1:
            inner = inner[0]  # brackets around a single matrix only hide it
        text = str(_rounded(inner.tolist(), decimals))
        if len(text) > longest:
            text = f"{text[:longest]} …"
        return text if value.ndim == 0 else f"{text}, shape {tuple(value.shape)}"
    if isinstance(value, list | tuple) and any(map(torch.is_tensor, value)):
        return "; ".join(shown(item, longest, decimals) for item in value)
    if isinstance(value, dict) and any(map(torch.is_tensor, value.values())):
        parts = (f"{key} = {shown(item, longest, decimals)}" for key, item in value.items())
        return "; ".join(parts)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    text = repr(_rounded(value, decimals))
    return text if len(text) <= longest else f"{text[:longest]} …"


def _rounded(value: Any, decimals: int) -> Any:
    if isinstance(value, float):
        return round(value, decimals) + 0.0
    if isinstance(value, list | tuple):
        return type(value)(_rounded(item, decimals) for item in value)
    if isinstance(value, dict):
        return {key: _rounded(item, decimals) for key, item in value.items()}
    return value


def map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same lists and tuples with every floating tensor changed."""
    if torch.is_tensor(value):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(item, change) for item in value)
    return value


def float_tensors(value: Any) -> list[torch.Tensor]:
    """All floating tensors in a result, in order."""
    if torch.is_tensor(value):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=str)]  # whatever order they came in
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in float_tensors(item)]
    return []
