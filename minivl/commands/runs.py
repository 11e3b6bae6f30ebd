"""From a recipe's name, or a run's folder, to stages and trained models."""

import dataclasses
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from minivl.commands.parser import did_you_mean
from minivl.errors import DataError, UserError
from minivl.recipes import RECIPES
from minivl.training import config
from minivl.training.recipe import Size, Stage
from minivl.training.run import Run

if TYPE_CHECKING:
    import torch

SIZES: tuple[str, ...] = get_args(Size)
DEFAULT_SIZE = "tiny"


@dataclass(frozen=True)
class Trained:
    """A run that exists: its folder and the recipe that it was trained with."""

    run: Run
    name: str
    recipe: Any
    stages: list[Stage]


def recipe_class(name: str) -> Any:
    """The recipe called `name`; UserError with the nearest name if there is none."""
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}", did_you_mean(name, RECIPES))
    module, kind = RECIPES[name].split(":")
    return getattr(importlib.import_module(module), kind)


def settings(name: str, recipe: Any, seed: int) -> dict[str, Any]:
    """What config.yaml holds: the recipe's name, the seed, and every field."""
    return {"recipe": name, "seed": seed, **config.to_plain(recipe)}


def open_run(folder: str | Path) -> Trained:
    """The run in a folder; UserError if it is none, DataError if its config.yaml is damaged."""
    if not Path(folder).is_dir():
        raise UserError(f"there is no run in {folder}", _runs_beside(Path(folder)))
    run = Run.read(folder)
    fields = dict(run.config)
    name, seed = fields.pop("recipe", None), fields.pop("seed", None)
    if name is None or not isinstance(seed, int):
        raise DataError(
            f"{run.config_file} names no recipe or no seed", "restore it or start a new run"
        )
    kind = recipe_class(name)
    try:
        recipe = config.from_plain(kind, fields)
    except (TypeError, AttributeError) as error:
        raise DataError(
            f"{run.config_file} does not describe {name}: {error}", "restore it or start a new run"
        ) from error
    return Trained(run, name, recipe, recipe.stages(seed))


def _runs_beside(folder: Path) -> str:
    parent = folder.parent if folder.parent.is_dir() else Path("runs")
    names = sorted(path.parent.name for path in parent.glob("*/config.yaml"))
    if not names:
        return "train one: minivl train clip --size tiny"
    near = did_you_mean(folder.name, names)
    return f"in {parent}: {near}"


def load_model(stage: Stage, run: Run, device: "torch.device") -> tuple[Any, Path]:
    """The stage's model with the weights of its newest intact checkpoint, and that checkpoint."""
    from minivl.training import checkpoint

    path = checkpoint.newest(run.checkpoints / stage.name, print)
    if path is None:
        raise UserError(
            f"{run.folder} has no checkpoint of stage {stage.name}",
            f"train it: {run.resume_command}" if run.command else "train it first",
        )
    model = stage.build_model()
    try:
        model.load_state_dict(checkpoint.read_weights(path))
    except RuntimeError as error:
        raise DataError(
            f"{path} does not fit {run.config_file}: {str(error).splitlines()[-1].strip()}",
            "restore the config.yaml that the run was trained with",
        ) from error
    return model.to(device).eval(), path


def check_fields(settings: Any, path: str = "--") -> None:
    """Call `check()` of every dataclass in the recipe that has one; they raise UserError.

    Heads and blocks are checked here for all encoders alike, by the full name of their flag.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            check_fields(value, f"{path}{field.name.replace('_', '-')}.")
    if {"width", "heads"} <= {field.name for field in dataclasses.fields(settings)}:
        if getattr(settings, "depth", 1) < 1:
            raise UserError(
                f"{path}depth is {settings.depth}: an encoder without a block", "give it 1 or more"
            )
        width, heads = settings.width, settings.heads
        if heads < 1 or width % heads:
            raise UserError(
                f"{path}heads is {heads}: the width {width} is no multiple of {heads} heads",
                f"give {path}heads a divisor of {width}, or {path}width a multiple of it",
            )
    if hasattr(settings, "check"):
        settings.check()


def check_streams(stage: Stage) -> None:
    """Read two samples of every stream: what cannot be drawn shows before the run begins."""
    from minivl.data.stream import CorruptSample

    for stream in stage.build_streams():
        try:
            stream.examples.collate([stream.examples[0], stream.examples[1]])
        except CorruptSample:
            continue  # one bad sample is no bad setting: training counts and replaces it
        except (ValueError, IndexError, KeyError, TypeError, ArithmeticError) as error:
            raise UserError(
                f"stream {stream.name} gives no samples: {type(error).__name__}: {error}",
                "check the fields under data",
            ) from error


def check_model(stage: Stage) -> Any:
    """The stage's model without its random numbers: wrong fields show at once, at any size."""
    try:
        with _without_random_numbers():
            return stage.build_model()
    except (ValueError, AssertionError) as error:
        raise UserError(
            f"the model of stage {stage.name} cannot be built: {error}", "change that field"
        ) from error


def check_start(stage: Stage, model: Any, stages: list[Stage]) -> None:
    """Start a throwaway model from what other runs bring: what does not fit shows at once.

    Without it the last of five stages would find out after the four before had trained.
    """
    from minivl.training import checkpoint, state
    from minivl.training.session import starts_of

    names = {one.name for one in stages}
    for part, source, of in starts_of(stage):
        if source not in names:
            weights = checkpoint.read_weights(Path(source))
            state.start_from(model, weights, source, part=part, of=of)


def _without_random_numbers() -> Any:
    """A mode in which initialising a parameter does nothing: its memory is not even touched."""
    import torch

    class LeaveParameters(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            first = args[0] if args else kwargs.get("tensor")
            name = getattr(function, "__name__", "")
            in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
            if in_place and isinstance(first, torch.nn.Parameter):
                return first
            return function(*args, **kwargs)

    return LeaveParameters()
