"""All that changes while a stage trains, in one place: what is not here is not saved."""

import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import minivl
from minivl.errors import UserError
from minivl.training import checkpoint
from minivl.training.randomness import random_states, restore_random_states


@dataclass
class RunState:
    """The state of one stage after `step` optimiser steps."""

    stage: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    samples_read: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    """Corrupt samples left out so far, by stream."""
    best: dict[str, Any] | None = None
    """Checkpoint, step and value of the best evaluation."""
    seconds: float = 0.0
    """Time in training steps, waiting for data included."""
    seconds_waited: float = 0.0

    @property
    def data_wait_share(self) -> float:
        """Which share of the training time was spent waiting for batches."""
        return self.seconds_waited / self.seconds if self.seconds else 0.0


JSON_FIELDS = ("stage", "step", "samples_read", "skipped", "best", "seconds", "seconds_waited")


def save(state: RunState, folder: Path, about: dict[str, Any]) -> Path:
    """Write a checkpoint of the state (folder is checkpoints/STAGE); `about` goes beside it."""
    optimizer, numbers = pack_optimizer(state.model, state.optimizer)
    record = {name: getattr(state, name) for name in JSON_FIELDS}
    record |= {"optimizer": numbers, "random": random_states(), "versions": versions(), **about}
    return checkpoint.save(folder, state.step, on_cpu(state.model.state_dict()), optimizer, record)


def restore(state: RunState, path: Path) -> dict[str, Any]:
    """Fill the state from an intact checkpoint; returns all that its state.json holds."""
    model, optimizer, record = checkpoint.read(path)
    try:
        state.model.load_state_dict(model)
        unpack_optimizer(state.model, state.optimizer, optimizer, record["optimizer"])
    except (RuntimeError, KeyError) as error:
        raise UserError(
            f"{path} does not fit the model: {error}", "resume with the settings it was made with"
        ) from error
    for name in JSON_FIELDS:
        setattr(state, name, record[name])
    restore_random_states(record["random"])
    return record


def on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies on the CPU, each with storage of its own (tied weights become two)."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }


def pack_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The optimiser's state by parameter name: tensors `KEY/NAME`, and other numbers."""
    tensors, numbers = {}, {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            kept = tensors if torch.is_tensor(value) else numbers
            kept[f"{key}/{name}"] = value
    return on_cpu(tensors), numbers


def unpack_optimizer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    numbers: dict[str, Any],
) -> None:
    """The inverse of pack_optimizer."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    packed: dict[str, dict[str, Any]] = {name: {} for name in names.values()}
    for path, value in (tensors | numbers).items():
        key, name = path.split("/", 1)
        packed[name][key] = value
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    groups = optimizer.state_dict()["param_groups"]
    by_index = {index: packed[name] for index, name in enumerate(order) if packed[name]}
    optimizer.load_state_dict({"state": by_index, "param_groups": groups})


def start_from(
    model: nn.Module, tensors: dict[str, torch.Tensor], source: str, *, part: str = "", of: str = ""
) -> str:
    """Copy every tensor that the model's `part` shares with part `of` of a source, by name.

    Says what was copied and what was not. UserError if nothing is shared, or if a tensor has
    another shape there: a checkpoint of another size.
    """
    own = {name: value for name, value in model.state_dict().items() if _inside(name, part)}
    offered = {
        _renamed(name, part, of): value for name, value in tensors.items() if _inside(name, of)
    }
    fitting = {name: value for name, value in offered.items() if name in own}
    if not fitting:
        raise UserError(
            f"{source} shares no tensor with {part or 'the model'}",
            "start from a stage of the same model",
        )
    for name, value in fitting.items():
        if own[name].shape != value.shape:
            raise UserError(
                f"{name} is {tuple(value.shape)} in {source}, but {tuple(own[name].shape)} in this "
                "model: a checkpoint of another size",
                "start from one with the same widths, depths, picture size and vocabulary",
            )
    model.load_state_dict(fitting, strict=False)
    fresh = _some((name for name in own if name not in fitting), part)
    unused = _some((name for name in offered if name not in fitting), part)
    return f"{len(fitting)} of {len(offered)} tensors of {source}; fresh: {fresh}; unused: {unused}"


def _inside(name: str, part: str) -> bool:
    return not part or f"{name}.".startswith(f"{part}.")


def _renamed(name: str, part: str, of: str) -> str:
    """A tensor's name inside `of` as one inside `part`; either may be the whole model."""
    inner = f"{name}.".removeprefix(f"{of}." if of else "").removesuffix(".")
    return ".".join(filter(None, (part, inner)))


def _some(names: Iterable[str], part: str = "", most: int = 2) -> str:
    """One or two names; of more only what they belong to: 'text_encoder (35), itm_head (4)'.

    `part`, with which they all begin, is left out then.
    """
    names = list(names)
    if len(names) <= most:
        return ", ".join(names) or "none"
    inside = f"{part}." if part else ""
    owners = Counter(name.removeprefix(inside).partition(".")[0] for name in names)
    return ", ".join(f"{owner} ({n})" if n > 1 else owner for owner, n in owners.items())


def versions() -> dict[str, str]:
    """What the bits of a result depend on."""
    return {
        "minivl": getattr(minivl, "__version__", "?"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
