"""Small trained models that come with the data, each with a card that says how to remake it.

    data/checkpoints/dino.safetensors   weights, rounded to bfloat16
    data/checkpoints/dino.json          its card: command, seed, settings, what it reaches

A lesson calls `trained("dino")`: the learner's own run if there is one, else the one shipped.
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from minivl.commands import runs
from minivl.data import pack
from minivl.errors import DataError, UserError
from minivl.training import checkpoint, config
from minivl.training.recipe import Stage
from minivl.training.run import Run, as_json, write_text

ENVIRONMENT = "environment.json"

FOLDER = "checkpoints"
"""In the data folder."""


@dataclass(frozen=True)
class Card:
    """What a shipped model is, and how it was made."""

    name: str
    command: str
    """Typed in a terminal, remakes it."""
    stage: str
    parts: tuple[str, ...]
    """Beginnings of the names of the tensors that are shipped; none: all of them."""
    steps: int
    minutes: float
    """Time of training, where it was trained."""
    config: dict[str, Any]
    """Every setting of the run, as in its config.yaml."""
    evaluation: dict[str, Any]
    """As in eval.json, measured on the rounded weights."""
    sha256: str
    """Of the weights' file."""


def trained(
    name: str,
    folder: str | Path = "runs",
    *,
    fits: Callable[[nn.Module], bool] = lambda model: True,
) -> tuple[nn.Module, str]:
    """The model of the learner's newest finished run of the recipe `name`, else the shipped one.

    In evaluation mode, without gradients, and with a line that says which it is. `folder` holds the
    runs; one beside the working folder or above it. An own model that does not `fits` what it is
    wanted for is left alone, and the line says so.
    """
    own, why = own_run(name, folder), ""
    if own is not None:
        opened = runs.open_run(own)
        model, path = runs.load_model(opened.stages[-1], opened.run, torch.device("cpu"))
        if fits(model):
            return model.requires_grad_(False), f"your own {name}: {own.name}, {path.name}"
        why = f"; your own, {own.name}, has other words or heads"
    model, card = load(name)
    return model, f"the {name} that comes with minivl ({card.steps:,} steps){why}"


def own_run(name: str, folder: str | Path = "runs") -> Path | None:
    """The newest finished run of a recipe that a lesson can go on with; None if there is none.

    `folder` is looked for in the working folder and in the one above it.
    """
    found = []
    for place in (Path(folder), Path("..") / folder):
        for summary in place.glob("*/summary.json"):
            settings = Run.read(summary.parent).config
            if settings.get("recipe") == name and teaches(settings):
                found.append(summary)
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


def teaches(settings: dict[str, Any]) -> bool:
    """Whether a run's settings are of size tiny or larger, and made neither to collapse nor to
    compare with."""
    broken = settings.get("distillation", {}).get("centring") is False
    other = settings.get("objective", "dino") != "dino"
    return settings.get("size") != "test" and not broken and not other


def load(name: str, root: Path | None = None) -> tuple[nn.Module, Card]:
    """The shipped model in evaluation mode, without gradients, in float32; and its card.

    UserError for a name that is not shipped, DataError for a damaged file.
    """
    folder = _folder(root)
    card = read_card(name, folder)
    file = folder / f"{name}.safetensors"
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != card.sha256:
        raise DataError(
            f"{file} is missing or altered", f"git checkout -- {file}, or {card.command}"
        )
    stage = stage_of(card.config, card.stage)
    model = stage.build_model()
    tensors = {key: value.float() for key, value in checkpoint.read_weights(file).items()}
    missing, unknown = model.load_state_dict(tensors, strict=False)
    missing = [key for key in missing if not card.parts or key.startswith(card.parts)]
    if missing or unknown:
        raise DataError(
            f"{file} does not fit its card: {[*missing, *unknown][:3]}", f"run: {card.command}"
        )
    return model.eval().requires_grad_(False), card


def read_card(name: str, folder: Path) -> Card:
    """The card of a shipped model; UserError with what there is, if there is no such."""
    path = folder / f"{name}.json"
    if not path.is_file():
        names = sorted(card.stem for card in folder.glob("*.json"))
        raise UserError(f"no model {name!r} is shipped", f"choose from: {', '.join(names) or '-'}")
    fields = json.loads(path.read_text(encoding="utf-8"))
    return Card(**fields | {"parts": tuple(fields["parts"])})


def recipe_of(settings: dict[str, Any]) -> Any:
    """The recipe that settings (as in config.yaml) describe."""
    fields = {key: value for key, value in settings.items() if key not in ("recipe", "seed")}
    return config.from_plain(runs.recipe_class(settings["recipe"]), fields)


def stage_of(settings: dict[str, Any], stage: str) -> Stage:
    """The stage of that name, of the recipe that settings describe."""
    stages = recipe_of(settings).stages(settings["seed"])
    return next(found for found in stages if found.name == stage)


def ship(
    folder: str | Path, name: str, parts: tuple[str, ...] = (), root: Path | None = None
) -> Card:
    """Round the last stage of a finished run to bfloat16, evaluate it, and write file and card.

    parts: beginnings of the names of the tensors to ship, where the rest only served training.
    """
    opened = runs.open_run(folder)
    if not opened.run.finished:
        raise UserError(f"{folder} is not finished", "resume it first")
    summary = json.loads(opened.run.summary_file.read_text(encoding="utf-8"))
    stage = opened.stages[-1]
    model, path = runs.load_model(stage, opened.run, torch.device("cpu"))
    tensors = {
        key: rounded(value)
        for key, value in model.state_dict().items()
        if not parts or key.startswith(parts)
    }
    model.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=False)
    measured = stage.evaluate(model, torch.device("cpu"))
    data = safetensors.torch.save(tensors)
    card = Card(
        name=name,
        command=json.loads((opened.run.folder / ENVIRONMENT).read_text())["command"],
        stage=stage.name,
        parts=parts,
        steps=int(path.name.removeprefix("step-")),
        minutes=round(summary["stages"][stage.name]["seconds"] / 60, 1),
        config=opened.run.config,
        evaluation={key: as_json(value) for key, value in measured.items()},
        sha256=hashlib.sha256(data).hexdigest(),
    )
    target = _folder(root)
    target.mkdir(exist_ok=True)
    (target / f"{name}.safetensors").write_bytes(data)
    write_text(target / f"{name}.json", json.dumps(asdict(card), indent=1) + "\n")
    return card


def rounded(value: torch.Tensor) -> torch.Tensor:
    """Floating point numbers in bfloat16; whole numbers as they are."""
    return value.to(torch.bfloat16).contiguous() if value.is_floating_point() else value


def _folder(root: Path | None) -> Path:
    return (root or pack.find()) / FOLDER


def main(arguments: list[str] | None = None) -> None:
    """`python -m minivl.commands.shipped RUN NAME [PART ...]`."""
    parser = argparse.ArgumentParser(
        prog="python -m minivl.commands.shipped",
        description="Write a finished run's last stage into data/checkpoints, with its card.",
    )
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("name", help="what lessons call the model")
    parser.add_argument(
        "parts", nargs="*", help="beginnings of the names of the tensors to ship (all)"
    )
    chosen = parser.parse_args(arguments)
    card = ship(chosen.run, chosen.name, tuple(chosen.parts))
    print(f"{card.name}: {card.steps:,} steps, {len(card.evaluation)} numbers in its card")


if __name__ == "__main__":
    main()
