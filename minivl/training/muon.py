"""Muon: for the matrices inside a network, momentum made orthogonal (Jordan et al. 2024).

An update whose singular values are all about one moves every direction of a matrix alike, where a
gradient is carried by a few. Here it reaches in 1,000 steps what AdamW reaches in 2,000, so that a
laptop's minutes suffice; the papers used AdamW. Other parameters are AdamW's.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that drives singular values towards one; five rounds of it suffice."""

RMS = 0.2
"""Root mean square of an AdamW update, which these are scaled to (Liu et al. 2025,
arXiv 2502.16982, section 2.2): one learning rate and one weight decay serve both."""


def orthogonalised(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Matrices (n, rows, columns) with their singular values moved to about one (0.7 to 1.2).

    Newton and Schulz's iteration: x -> a x + (b x x^T + c (x x^T)^2) x.
    """
    a, b, c = COEFFICIENTS
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(rounds):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def hidden_matrices(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Weights of linear layers and convolutions, but not of those that read pixels."""
    for name, module in model.named_modules():
        reads_pixels = name.endswith("patch_embed.projection") or (
            isinstance(module, nn.Conv2d) and module.in_channels == 3
        )
        if isinstance(module, nn.Linear | nn.Conv2d) and not reads_pixels:
            yield f"{name}.weight", module.weight


class Muon(torch.optim.AdamW):
    """AdamW, but groups with `orthogonal: True` hold matrices and are updated by Muon."""

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float = 0.95, **adamw: Any):
        groups = [{"orthogonal": False, "momentum": momentum} | group for group in groups]
        super().__init__(groups, **adamw)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update of all parameters that have a gradient."""
        groups = self.param_groups
        for group in groups:
            if group["orthogonal"]:
                self._step_matrices(group)
        try:
            self.param_groups = [group for group in groups if not group["orthogonal"]]
            super().step(closure)
        finally:
            self.param_groups = groups

    def _step_matrices(self, group: dict[str, Any]) -> None:
        """Matrices of one shape together: many small products would wait for each other."""
        alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike[parameter.flatten(1).shape].append(parameter)
        for shape, parameters in alike.items():
            moved = torch.stack(
                [self._momentum(p, group["momentum"]).flatten(1) for p in parameters]
            )
            scale = RMS * max(shape) ** 0.5
            for parameter, update in zip(parameters, orthogonalised(moved), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's: the running mean of the gradients, looked at one step ahead."""
        state = self.state[parameter]
        if not state:
            # Torch asks every state of an AdamW for its step when it is loaded.
            state["step"] = torch.zeros(())
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["step"] += 1
        mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(mean, momentum)
