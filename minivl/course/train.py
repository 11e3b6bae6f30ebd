"""The training loop of a lesson: small enough to read in one breath, made of the engine's parts.

`minivl train` does the same step with checkpoints, several processes and a log around it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from minivl.errors import DivergedError
from minivl.objectives import joint
from minivl.training.device import autocast, computing
from minivl.training.optim import (
    clip_gradient,
    gradient_norm,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    set_scheduled,
)
from minivl.training.recipe import Training


def fit(  # noqa: PLR0913 - a lesson names what it changes
    model: nn.Module,
    batches: Iterator[dict],
    steps: int,
    *,
    lr: float = 1e-3,
    warmup: int = 20,
    optimizer: Literal["adamw", "muon"] = "adamw",
    weights: Mapping[str, float] | None = None,
    schedules: Mapping[str, Callable[[int], float]] | None = None,
    every: int = 0,
    watch: Callable[[int], None] | None = None,
    seed: int = 0,
) -> list[float]:
    """Train in place with linear warm-up and a cosine; the loss of each step.

    `model(batch)` returns a dict of scalar losses, whose sum is minimised, each times its factor in
    `weights` if it has one; where the model has them, `before_step(step)` and `after_step()` are
    called around the optimiser's step. `schedules` maps names to values at a step from 0, as in a
    recipe's Stage: "weight_decay", or attributes of the model.
    `watch(step)` is called with the steps done so far, every `every` steps, in eval mode and
    without gradient. `seed` is for what the model draws (dropout); the caller's generators are left
    as they were. The model ends in eval mode.
    Raises DivergedError where a loss is not finite, UserError for numbers that cannot train.
    """
    training = Training(steps=steps, lr=lr, warmup_steps=min(warmup, steps), optimizer=optimizer)
    training.check()
    device = next(model.parameters()).device
    stepper = make_optimizer(model, training)
    losses: list[float] = []
    with computing(training, device), torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(steps):
            model.train()
            set_learning_rate(stepper, learning_rate(step, training))
            values = {name: value(step) for name, value in (schedules or {}).items()}
            set_scheduled(model, stepper, values)
            losses.append(
                train_step(model, to_device(next(batches), device), stepper, step, weights)
            )
            if not math.isfinite(losses[-1]):
                raise DivergedError(
                    f"the loss became {losses[-1]} at step {step + 1}",
                    "lower lr, or warm up longer",
                )
            if watch is not None and every and (step + 1) % every == 0:
                model.eval()
                with torch.no_grad():
                    watch(step + 1)
    model.eval()
    return losses


def train_step(
    model: nn.Module,
    batch: dict,
    optimizer: torch.optim.Optimizer,
    step: int = 0,
    weights: Mapping[str, float] | None = None,
) -> float:
    """Losses, gradients clipped to norm 1, one step of the optimiser; the weighed sum of losses."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(next(model.parameters()).device, "auto"):
        loss = joint.joint_loss(model(batch), weights or {})
    loss.backward()
    clip_gradient(model, Training(clip_norm=1.0), gradient_norm(model))
    if hasattr(model, "before_step"):
        model.before_step(step)
    optimizer.step()
    if hasattr(model, "after_step"):
        with torch.no_grad():
            model.after_step()
    return float(loss.detach())


def to_device(batch: dict, device: torch.device) -> dict:
    """The batch with its tensors on a device; other values as they are."""
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
