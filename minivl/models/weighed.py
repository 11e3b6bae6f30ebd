"""Means over rows of which processes have different numbers."""

from typing import Any

from torch import Tensor


def weighed(loss: Tensor, count: Tensor, gather: Any) -> Tensor:
    """A mean over `count` rows, weighed so that the processes' mean is that of all rows.

    `gather` is None where there is one process, or where each is to keep its own mean.
    """
    if gather is None:
        return loss
    counts = gather(count.to(loss.dtype).unsqueeze(0))
    return loss * count / counts.mean().clamp(min=1 / len(counts))
