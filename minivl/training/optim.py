"""AdamW (or Muon) with decay groups, and schedules as pure functions of the step.

Decoupled weight decay: Loshchilov and Hutter 2019, arXiv 1711.05101.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from minivl.training.muon import Muon, hidden_matrices
from minivl.training.recipe import Decayed, Training

NEVER_DECAYED = {"pos_embed", "cls_token", "mask_token", "logit_scale"}

STRIDE = 100
"""Steps after which ALBEF's code raises the rate of its warm-up."""


def is_decayed(name: str, parameter: torch.Tensor, decayed: Decayed = "weights") -> bool:
    """Whether weight decay pulls a parameter to zero.

    Matrices and embeddings are; vectors and scalars (norms, biases, scales), position
    embeddings and learned tokens are not: small is no virtue there. ALBEF's code spares vectors and
    biases only: `decayed="all_but_vectors"`, and temperature, positions and class token shrink.
    DETR's spares none: `decayed="all"`.
    """
    if decayed == "all":
        return True
    if decayed == "all_but_vectors":
        return parameter.ndim != 1 and not name.endswith(".bias")
    return parameter.ndim >= 2 and not NEVER_DECAYED.intersection(name.split("."))


def decay_groups(
    model: nn.Module, weight_decay: float, rule: Decayed = "weights"
) -> list[dict[str, Any]]:
    """AdamW's two groups: decayed and not decayed; frozen parameters are in neither."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for name, p in trained if is_decayed(name, p, rule) == decayed],
            "weight_decay": weight_decay if decayed else 0.0,
            "decayed": decayed,
        }
        for decayed in (True, False)
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW over the decay groups, in one fused kernel where device and dtype have one.

    With `optimizer="muon"` the matrices of hidden layers are Muon's, in a group of their own, and
    parts of the model with a rate of their own have it: see `with_rates_apart`.
    """
    options = {"lr": training.lr, "betas": tuple(training.betas), "eps": training.eps}
    groups = decay_groups(model, training.weight_decay, training.decayed)
    make = torch.optim.AdamW
    if training.optimizer == "muon":
        groups, make = with_matrices_apart(model, groups), Muon
    groups = with_rates_apart(model, groups)
    try:
        return make(groups, **options, fused=True)
    except RuntimeError:  # no fused kernel here
        return make(groups, **options)


def with_matrices_apart(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The decay groups, those of them that hold hidden matrices split in two."""
    matrices = {parameter for _, parameter in hidden_matrices(model)}
    apart = [
        group | {"params": [p for p in group["params"] if (p in matrices) == orthogonal],
                 "orthogonal": orthogonal}
        for group in groups
        for orthogonal in (True, False)
    ]  # fmt: skip
    return [group for group in apart if group["params"]]


def with_rates_apart(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, split where the model names parts that learn slower or faster than the rest.

    `model.lr_scales` is {part: factor}; DETR's convolutions have a tenth of the rate.
    """
    scales = getattr(model, "lr_scales", {})
    scale_of = {
        parameter: scale
        for part, scale in scales.items()
        for parameter in model.get_submodule(part).parameters()
    }
    apart = [
        group | {"params": [p for p in group["params"] if scale_of.get(p, 1.0) == scale],
                 "lr_scale": scale}
        for group in groups
        for scale in dict.fromkeys((1.0, *scales.values()))
    ]  # fmt: skip
    return [group for group in apart if group["params"]] if scales else groups


def cosine(step: int, steps: int, *, start: float, end: float) -> float:
    """From start at step 0 to end at step `steps`, along half a cosine."""
    progress = min(max(step / max(steps, 1), 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def learning_rate(step: int, training: Training) -> float:
    """Learning rate of a step (counted from 0): linear warm-up to the peak, then a cosine."""
    if training.schedule == "by_epochs":
        return rate_by_epochs(step, training)
    if step < training.warmup_steps:
        raised = (training.lr - training.warmup_lr) * (step + 1) / training.warmup_steps
        return training.warmup_lr + raised
    return cosine(
        step - training.warmup_steps,
        training.steps - training.warmup_steps,
        start=training.lr,
        end=training.lr * training.final_lr_fraction,
    )


def rate_by_epochs(step: int, training: Training) -> float:
    """Learning rate of a step (counted from 0) as ALBEF's code has it, in stairs.

    In the first epoch a warm-up that rises behind every hundredth step, then the peak; later ones
    have one rate each, on a cosine over the epochs that does not quite reach its end. Its paper
    (Li et al. 2021, arXiv 2107.07651, section 3.5) says warm-up and cosine only.
    """
    epoch = step * training.epochs // training.steps
    if epoch > 0:
        end = training.lr * training.final_lr_fraction
        return cosine(epoch, training.epochs, start=training.lr, end=end)
    warmed = max(step - 1, 0) // STRIDE * STRIDE
    if warmed >= training.warmup_steps:
        return training.lr
    raised = (training.lr - training.warmup_lr) * warmed / training.warmup_steps
    return training.warmup_lr + raised


def set_weight_decay(optimizer: torch.optim.Optimizer, weight_decay: float) -> None:
    """Give the decayed groups a new weight decay; the others stay at none."""
    for group in optimizer.param_groups:
        if group["decayed"]:
            group["weight_decay"] = weight_decay


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate, times the group's own `lr_scale` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def gradient_norm(model: nn.Module) -> torch.Tensor:
    """The norm of the whole gradient, a scalar."""
    return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])


def clip_gradient(model: nn.Module, training: Training, norm: torch.Tensor) -> None:
    """Scale the whole gradient, whose norm is given, or each tensor's, down to clip_norm."""
    trained = [p for p in model.parameters() if p.grad is not None]
    if training.clip_norm == 0:
        return
    if training.clip_mode == "global":
        nn.utils.clip_grads_with_norm_(trained, training.clip_norm, norm)
        return
    for parameter in trained:
        nn.utils.clip_grad_norm_(parameter, training.clip_norm)


def fill_idle(model: nn.Module) -> None:
    """Zeros for gradients that a step left out: weight decay and running means then go on."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def set_scheduled(
    model: nn.Module, optimizer: torch.optim.Optimizer, values: Mapping[str, float]
) -> None:
    """Give "weight_decay" to the optimiser; any other name becomes an attribute of the model."""
    for name, value in values.items():
        if name == "weight_decay":
            set_weight_decay(optimizer, value)
        else:
            setattr(model, name, value)
