"""One stage made ready to train: the model on its device, its optimiser, and where to go on."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from minivl.data.stream import Stream
from minivl.errors import UserError
from minivl.training import checkpoint, distributed
from minivl.training import config as settings
from minivl.training import state as states
from minivl.training.device import autocast, choose_device
from minivl.training.loader import Loader
from minivl.training.monitor import say
from minivl.training.optim import make_optimizer
from minivl.training.randomness import seed_everything, seed_of
from minivl.training.recipe import Stage
from minivl.training.run import Run


@dataclass
class Session:
    """A stage in training. What must outlive the process is in `state`, the rest is remade."""

    stage: Stage
    run: Run
    device: torch.device
    state: states.RunState
    streams: list[Stream]
    module: nn.Module
    """The model, or the model in DistributedDataParallel: what the forward pass calls."""
    autocast: contextlib.AbstractContextManager

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.state.model

    @property
    def folder(self) -> Path:
        """Where the stage's checkpoints lie."""
        return self.run.checkpoints / self.stage.name

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.state.step >= self.stage.training.steps

    def loader(self) -> Loader:
        """The batches from the next step to the last."""
        training = self.stage.training
        return Loader(
            self.streams,
            seed_of(self.run.seed, self.stage.name),
            range(self.state.step, training.steps),
            turns=self.stage.turns,
            accumulate=training.accumulate,
            shard=(distributed.rank(), distributed.world_size()),
            prefetch=training.prefetch,
            workers=training.workers,
        ).to(self.device)


def begin(stage: Stage, run: Run, going_on_from: Path | None) -> Session:
    """Build a stage's model and optimiser; fill both from a checkpoint of the stage, if any."""
    device = choose_device(stage.training.device)
    seed_everything(run.seed, stage.name, "model")
    model = stage.build_model().to(device).train()
    if hasattr(model, "gather") and distributed.world_size() > 1:
        model.gather = distributed.Gather()
    if stage.start_from and going_on_from is None:
        _start_from(stage, run, model)
    if stage.fill and going_on_from is None:
        told = stage.fill(model)
        if distributed.is_main():
            say(f"{stage.name} starts from {told}")
    state = states.RunState(stage.name, model, make_optimizer(model, stage.training))
    if going_on_from is not None:
        _restore(state, run, going_on_from)
    streams = stage.build_streams()
    session = Session(
        stage,
        run,
        device,
        state,
        streams,
        module=_wrapped(model, stage, device, len(streams)),
        autocast=autocast(device, stage.training.precision),
    )
    _introduce(session)
    return session


def _wrapped(model: nn.Module, stage: Stage, device: torch.device, streams: int) -> nn.Module:
    if distributed.world_size() > 1 and device.type == "cuda":
        # Batch norm sees the joint batch, as one process would; torch has no such form on a CPU.
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    wanted = stage.training.compile
    if wanted or (wanted is None and device.type == "cuda"):
        model.compile()
    if distributed.world_size() == 1:
        return model
    ids = [device.index] if device.type == "cuda" else None
    # Streams take turns, and each may use its own part of the model.
    return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=streams > 1)


def starts_of(stage: Stage) -> list[tuple[str, str, str]]:
    """What a stage starts from: (part of its model, stage or path, part of the model there)."""
    wanted = stage.start_from if isinstance(stage.start_from, dict) else {"": stage.start_from}
    return [
        (part, *((source, "") if isinstance(source, str) else source))
        for part, source in wanted.items()
        if source is not None
    ]


def _start_from(stage: Stage, run: Run, model: nn.Module) -> None:
    for part, name, of in starts_of(stage):
        own = run.checkpoints / name
        weights = checkpoint.read_weights(own if own.is_dir() else Path(name))
        told = states.start_from(model, weights, str(name), part=part, of=of)
        if distributed.is_main():
            say(f"{f'{stage.name} {part}'.strip()} starts from {told}")


def _restore(state: states.RunState, run: Run, path: Path) -> None:
    record = states.restore(state, path)
    if record["config"] != settings.digest(run.config) or record["seed"] != run.seed:
        raise UserError(
            f"{path} was made with other settings (or another seed) than {run.config_file} holds",
            "restore config.yaml, or choose another --out",
        )
    if distributed.is_main():
        say(f"{state.stage} goes on after step {state.step}, from {path}")
        for name, version in states.versions().items():
            if record["versions"].get(name) != version:
                old = record["versions"].get(name)
                say(f"  it was made with {name} {old}, this is {version}: not the same bits")


def about(run: Run) -> dict[str, Any]:
    """What a checkpoint says of the run it belongs to."""
    return {"seed": run.seed, "config": settings.digest(run.config)}


def _introduce(session: Session) -> None:
    if not distributed.is_main():
        return
    training = session.stage.training
    parameters = sum(p.numel() for p in session.model.parameters())
    number = "float32" if isinstance(session.autocast, contextlib.nullcontext) else "bfloat16"
    say(
        f"{session.stage.name}: {training.steps:,} steps, {parameters:,} parameters, "
        f"{session.device.type}, {number}, seed {session.run.seed}, {session.run.folder}"
    )
    for note in session.stage.notes:
        say(f"  {note}")
