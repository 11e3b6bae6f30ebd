"""Stochastic depth (Huang et al. 2016, arXiv 1603.09382): whole branches left out at random."""

import torch
from torch import Tensor, nn

from minivl.nn.transformer import Transformer


class DropPath(nn.Module):
    """In training, a sample's branch becomes zero with probability `rate`; else it grows to fit."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """x (b, ...) -> (b, ...); draws from torch's current generator."""
        if not self.training or not self.rate:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


def set_drop_path(transformer: Transformer, rate: float) -> None:
    """Give every block a rate of its own, from 0 in the first to `rate` in the last."""
    for number, block in enumerate(transformer.blocks):
        # Where dropout stood: on what a branch adds.
        block.dropout = DropPath(rate * number / max(len(transformer.blocks) - 1, 1))
