"""`minivl train RECIPE`: check, train, evaluate, and say where the results are."""

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from minivl.commands.parser import did_you_mean
from minivl.commands.runs import (
    check_fields,
    check_model,
    check_start,
    check_streams,
    recipe_class,
    settings,
)
from minivl.errors import ResourceError, UserError, require_field
from minivl.recipes import ASKABLE, RECIPES
from minivl.training.recipe import Stage
from minivl.training.run import Run

HELP = """\
usage: minivl train RECIPE [--size tiny] [--out runs/NAME] [--seed 0] [--steps N]
                           [--resume] [--dry-run] [--any.field-of-the-recipe VALUE]

Trains a recipe and writes one folder: settings, losses, checkpoints, evaluation, report.html.

Recipes
{recipes}

Sizes: the same code, other numbers
  test    seconds; everything runs, nothing is learned
  tiny    minutes on two CPU cores (the default)
  small   an estimated hour on one GPU
  base    the paper's model and schedule

Examples
  minivl train clip
  minivl train clip --size small --dry-run        parameters, work, memory; writes nothing
  minivl train clip --lr 5e-4 --steps 800 --out runs/slower
  minivl train clip --out runs/slower --lr 5e-4 --steps 800 --resume
  minivl train clip --help                        every field of the recipe

Ctrl-C saves and ends; --resume goes on with the very numbers an unbroken run would have had.
"""


def main(arguments: list[str]) -> int:
    """Run the command."""
    if not arguments or arguments[0] in ("-h", "--help"):
        summaries = {name: (recipe_class(name).__doc__ or "").splitlines()[0] for name in RECIPES}
        recipes = "\n".join(f"  {name:6}  {summary}" for name, summary in summaries.items())
        if arguments:
            print(HELP.format(recipes=recipes), end="")
            return 0
        raise UserError("which recipe?", f"choose one: {', '.join(RECIPES)}")
    name, *rest = arguments
    if name.startswith("-"):
        raise UserError(
            f"name the recipe before {name}", f"minivl train clip {shlex.join(arguments)}"
        )
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}", did_you_mean(name, RECIPES))
    from minivl.commands.fields import parse

    options, recipe = parse(name, rest)
    check_fields(recipe)
    require_field(options, "seed", options.seed >= 0, "0 or more")
    folder = options.out or default_folder(name, getattr(recipe, "size", "tiny"), options.resume)
    if options.out is None and not options.resume:
        say_if_numbered(folder, f"{name}_{getattr(recipe, 'size', 'tiny')}")
    run = Run(
        folder,
        settings(name, recipe, options.seed),
        command=command_line(name, rest, folder),
    )
    usual = recipe.usual() if hasattr(recipe, "usual") else recipe_class(name).at_size(recipe.size)
    stages = with_notes_that_hold(recipe.stages(options.seed), usual.stages(options.seed))
    if options.dry_run:
        from minivl.commands.dry_run import dry_run

        return dry_run(stages, run)
    return train(stages, run, resume=options.resume)


def with_notes_that_hold(stages: list[Stage], usual: list[Stage]) -> list[Stage]:
    """The stages, without notes where other ones, or other steps, than the size's were asked for.

    The notes say how long the size's own stages take.
    """
    same = [(s.name, s.training.steps) for s in stages] == [
        (s.name, s.training.steps) for s in usual
    ]
    return stages if same else [dataclasses.replace(stage, notes=()) for stage in stages]


def train(stages: list[Stage], run: Run, *, resume: bool) -> int:
    """Check what can be checked before the first step, train, and print what came of it."""
    from minivl.training import distributed, engine

    check_folder(run.folder)
    for stage in stages:
        check_start(stage, check_model(stage), stages)
        check_streams(stage)
    with forgotten_if_nothing_was_done(run):
        try:
            engine.train(stages, run, resume=resume)
        except UserError:
            raise  # the folder may be another run's
        except BaseException:
            write_environment(run, stages[-1].training.device)
            raise
    if distributed.is_main():
        write_environment(run, stages[-1].training.device)
        print_results(run)
    return 0


def default_folder(name: str, size: str, resume: bool) -> Path:
    """runs/NAME_SIZE, with a number when it is taken; the newest such one to resume."""
    base = Path("runs") / f"{name}_{size}"
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return base  # all processes must agree, whoever makes the folder first
    number, free = 1, base
    last = base
    while free.exists():
        last, number = free, number + 1
        free = base.with_name(f"{base.name}_{number}")
    return last if resume else free


def say_if_numbered(folder: Path, plain: str) -> None:
    """Say that another run has the plain name, and what to do if this one was to go on with it."""
    if folder.name != plain:
        taken = folder.with_name(plain)
        print(
            f"{taken} exists, so this run goes to {folder} (or give --out, or --resume)", flush=True
        )


def command_line(name: str, arguments: list[str], folder: Path) -> str:
    """The command that was typed, with the folder spelled out: what --resume is added to."""
    words = [word for word in arguments if word not in ("--resume", "--dry-run")]
    if not any(word.split("=")[0] == "--out" for word in words):
        words += ["--out", str(folder)]
    return shlex.join(["minivl", "train", name, *words])


def check_folder(folder: Path) -> None:
    """UserError unless the folder can be made and written; ResourceError if the disk is full."""
    parent = folder
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"{parent} is a file, not a folder", "choose another --out")
    probe = parent / f".minivl-probe-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to {parent}: {error.strerror}", "choose another --out"
        ) from error
    if shutil.disk_usage(parent).free < 10_000_000:
        raise ResourceError(f"the disk of {parent} is full", "free some, or choose another --out")


@contextlib.contextmanager
def forgotten_if_nothing_was_done(run: Run) -> Iterator[None]:
    """Remove a new folder again if training failed before its first logged step."""
    new = not run.folder.exists()
    try:
        yield
    except Exception:
        if new and not run.metrics_file.exists() and not run.checkpoints.exists():
            shutil.rmtree(run.folder, ignore_errors=True)
        raise


def write_environment(run: Run, asked_device: str) -> None:
    """environment.json: the command and what the numbers depend on, for the report."""
    import platform

    import torch

    from minivl.training import distributed
    from minivl.training.device import choose_device

    if not run.config_file.exists() or not distributed.is_main():
        return
    device = choose_device(asked_device)
    record = {
        "command": run.command,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
    }
    with contextlib.suppress(OSError):  # a full disk must not hide the error that filled it
        (run.folder / "environment.json").write_text(json.dumps(record, indent=1) + "\n")


def print_results(run: Run) -> None:
    """The short table, the report's path and what to try next."""
    from minivl.data.unit_tasks import SCENE_BOXES
    from minivl.evaluation.table import names_alone, table
    from minivl.visualize.report import write_report

    write_report(run.folder, names_alone())
    print()
    evaluation = run.evaluation()
    print(table(evaluation))
    print()
    print(f"report   {run.report}")
    recipe = run.config.get("recipe")
    finds = any("/retrieval/" in key for key in evaluation)  # it can say what fits
    boxes = any(f"/{task}/" in key for key in evaluation for task in SCENE_BOXES)
    if recipe in ASKABLE and finds or recipe == "unit" and boxes:
        print(f"next     minivl show {shlex.quote(str(run.folder))} scene:0")
