"""A teacher that is the running mean of its student (DINO section 3.1; MoCo, arXiv 1911.05722)."""

from collections.abc import Iterable

import torch
from torch import Tensor


def ema_update(teacher: Iterable[Tensor], student: Iterable[Tensor], momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, in place, for each pair of tensors.

    At 0.996 a weight is half forgotten after 173 steps. ValueError for another number of tensors.
    """
    teacher, student = list(teacher), list(student)
    if len(teacher) != len(student):
        raise ValueError(f"{len(teacher)} tensors of a teacher, {len(student)} of a student")
    with torch.no_grad():
        if teacher:  # one call for all pairs: a loop would start hundreds of kernels a step
            torch._foreach_lerp_(teacher, student, 1 - momentum)
