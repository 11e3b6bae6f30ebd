"""Numbers of few digits, and where they do not suffice."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """float32 from bf16 or fp16; float32 and float64 as they are. x of any shape."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
