"""`minivl train ... --dry-run`: everything that can be known before the first step."""

import shutil
from pathlib import Path
from typing import Any

from minivl.commands import estimate
from minivl.commands.estimate import human
from minivl.commands.runs import check_model, check_start, check_streams
from minivl.commands.train import check_folder
from minivl.errors import UserError
from minivl.training.recipe import Stage
from minivl.training.run import Run

SAMPLES = 8  # a small batch stands for a large one; work grows with the samples


def dry_run(stages: list[Stage], run: Run) -> int:
    """Print what each stage is, costs and needs; raises what would stop it. Writes nothing."""
    check_folder(run.folder)
    if run.folder.exists() and any(run.folder.iterdir()):
        raise UserError(
            f"{run.folder} is occupied", "add --resume to go on, or choose another --out"
        )
    print(f"dry run of: {run.command}")
    needed = sum(describe(stage, stages) for stage in stages)
    print()
    free = shutil.disk_usage(existing(run.folder)).free
    row(
        "output",
        f"{run.folder} can be written; {human(free, 'B')} free, {human(needed, 'B')} needed",
    )
    if free < needed:
        row("", "NOT ENOUGH: lower --training.keep-checkpoints, or choose another --out")
    return 0


def describe(stage: Stage, stages: list[Stage]) -> int:
    """Print one stage of several; returns the bytes that its checkpoints take."""
    training = stage.training
    model = check_model(stage)
    check_start(stage, model, stages)
    check_streams(stage)
    parts = estimate.parameters_by_part(model)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"\nstage {stage.name}")
    listed = ", ".join(f"{name} {human(count)}" for name, count in parts.items())
    row("model", f"{parameters:,} parameters: {listed}")
    row("steps", f"{training.steps:,} of {training.batch_size:,} samples")
    streams = stage.build_streams()
    steps = steps_of(stage, streams)
    for stream in streams:
        # A model whose work was counted is spent: its numbers are lost.
        describe_stream(stream, check_model(stage), parameters, training, steps[stream.name])
    for note in stage.notes:
        row("note", note)
    return estimate.checkpoint_bytes(parameters) * (training.keep_checkpoints + 1)


def steps_of(stage: Stage, streams: list[Any]) -> dict[str, float]:
    """Stream -> how many of the stage's steps draw it, on average."""
    weights = {one.name: one.weight if stage.turns == "drawn" else 1.0 for one in streams}
    whole = sum(weights.values())
    return {name: stage.training.steps * weight / whole for name, weight in weights.items()}


def describe_stream(stream: Any, model: Any, parameters: int, training: Any, steps: float) -> None:
    """Read a few samples, and count what a step of them costs."""
    batch = stream.examples.collate([stream.examples[index] for index in range(SAMPLES)])
    shapes = ", ".join(f"{k} {tuple(v.shape[1:])}" for k, v in batch.items() if hasattr(v, "shape"))
    row("data", f"{stream.name}: read {SAMPLES} samples, each {shapes}")
    work = estimate.work_of(model, batch)
    total = work.flops * stream.batch_size * steps
    tokens = f" and {work.tokens:.0f} tokens" if work.tokens else ""
    row(
        "work",
        f"{human(work.flops, 'FLOP')}{tokens} a sample, "
        f"{human(total, 'FLOP')} in all {round(steps):,} steps (forward and backward)",
    )
    at_a_time = stream.batch_size // training.accumulate
    memory = estimate.memory_bytes(parameters, work, at_a_time)
    row(
        "memory",
        f"about {human(memory, 'B')} in float32, {at_a_time:,} samples at a time in one process",
    )


def existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def row(name: str, text: str) -> None:
    """One line of the overview."""
    print(f"  {name:8}{text}")
