"""A recipe from flags: every field of its dataclasses is one, and mistakes are named.

`--training.lr 1e-3` in full, or `--lr 1e-3`: a field's last name is enough where only one has it,
or where one stands higher than all others: of training.steps and dvae.training.steps the former.
"""

import contextlib
import dataclasses
import inspect
import io
import re
import sys
import textwrap
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import tyro

from minivl.commands.parser import did_you_mean, nearest
from minivl.commands.runs import DEFAULT_SIZE, SIZES, recipe_class
from minivl.errors import UserError
from minivl.training.recipe import Training


@dataclasses.dataclass(frozen=True)
class Options:
    """How to train."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder of the run; else a new one, runs/RECIPE_SIZE."""
    seed: int = 0
    """Everything that is drawn at random follows from it."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on from the newest intact checkpoint of the run."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Check model, data and folder, print size, work and memory, and write nothing."""


def parse(name: str, arguments: list[str]) -> tuple[Options, Any]:
    """Options and recipe that the arguments after `minivl train NAME` ask for."""
    size, rest = take_size(arguments)
    recipe = recipe_class(name).at_size(size)
    known = flags_of(Options()) | flags_of(recipe)
    rest = [in_full(argument, known) for argument in rest]
    recipe = usual(name, rest, recipe)
    options, chosen = _by_tyro(name, rest, recipe)
    given = {argument.split("=")[0] for argument in rest}
    return options, shorten_warmups(chosen, recipe, given)


def usual(name: str, arguments: list[str], recipe: Any) -> Any:
    """What the flags change: the size's recipe, or what it has for the run and task they name."""
    if not hasattr(recipe, "usual"):
        return recipe
    asked = [argument for argument in arguments if argument not in ("-h", "--help")]
    return _by_tyro(name, asked, recipe)[1].usual()


def shorten_warmups(settings: Any, default: Any, given: Collection[str], prefix: str = "--") -> Any:
    """With fewer steps than the size's own, a stage's warm-up shrinks in proportion.

    At any depth, unless the stage's own `--...warmup-steps` was given.
    """
    changes = {}
    for field in dataclasses.fields(settings):
        value, usual = getattr(settings, field.name), getattr(default, field.name)
        flag = f"{prefix}{field.name.replace('_', '-')}"
        if isinstance(value, Training):
            if value.steps < usual.steps and f"{flag}.warmup-steps" not in given:
                warmup = usual.warmup_steps * max(value.steps, 0) // usual.steps
                changes[field.name] = dataclasses.replace(value, warmup_steps=warmup)
        elif dataclasses.is_dataclass(value):
            changes[field.name] = shorten_warmups(value, usual, given, f"{flag}.")
    return dataclasses.replace(settings, **changes)


def take_size(arguments: list[str]) -> tuple[str, list[str]]:
    """The size asked for (its defaults are where flags start from), and the other arguments."""
    size, rest = DEFAULT_SIZE, []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag != "--size":
            rest.append(word)
            continue
        size = value if equals else next(words, "")
    if size not in SIZES:
        raise UserError(f"--size cannot be {size!r}", did_you_mean(size, SIZES))
    return size, rest


def flags_of(config: Any, prefix: str = "") -> dict[str, Any]:
    """Flag (with underscores) -> value, for every field of a dataclass and those inside it."""
    flags: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flags |= flags_of(value, f"{prefix}{field.name}.")
        else:
            flags[prefix + field.name] = value
    return flags


def in_full(argument: str, known: dict[str, Any]) -> str:
    """The argument with its flag's full name; UserError if no field, or more than one, fits."""
    if not argument.startswith("--") or argument == "--help":
        return argument
    flag, equals, value = argument[2:].partition("=")
    path, _, last = flag.replace("-", "_").rpartition(".")
    # A switch has an opposite: --training.flip and --training.no-flip.
    positive = last.removeprefix("no_")
    for leaf, negation in ((last, ""), (positive, "no_")):
        name = f"{path}.{leaf}" if path else leaf
        fits = [name] if name in known else [k for k in known if not path and _last(k) == leaf]
        highest = [k for k in fits if k.count(".") == min(f.count(".") for f in fits)]
        if len(highest) > 1:
            choices = ", ".join(f"--{name.replace('_', '-')}" for name in fits)
            raise UserError(f"--{flag} fits several fields", f"choose one of: {choices}")
        fits = highest
        if fits and (not negation or isinstance(known[fits[0]], bool)):
            *above, leaf = fits[0].split(".")
            return "--" + ".".join([*above, negation + leaf]).replace("_", "-") + equals + value
    raise UserError(f"no field of the recipe is called --{flag}", _hint(f"{path}.{last}", known))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _hint(given: str, known: dict[str, Any]) -> str:
    given = given.strip(".")
    near = nearest(given, known)
    if not near:
        last = nearest(_last(given), [_last(name) for name in known])
        near = next((name for name in known if _last(name) == last), "")
    near = near.replace("_", "-")
    return f"did you mean --{near}?" if near else "add --help to see all fields"


def _by_tyro(name: str, arguments: list[str], recipe: Any) -> tuple[Options, Any]:
    flat = tyro.conf.arg(name="")
    command = dataclasses.make_dataclass(
        "Command",
        [("options", Annotated[Options, flat]), ("recipe", Annotated[type(recipe), flat])],
    )
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            chosen = tyro.cli(
                command,
                args=arguments,
                default=command(Options(), recipe),
                prog=f"minivl train {name}",
                description=_description(name, recipe),
            )
    except SystemExit as stop:
        if stop.code:
            raise UserError(
                f"minivl train {name}: {_said(errors.getvalue())}",
                f"see `minivl train {name} --help`",
            ) from None
        raise
    sys.stderr.write(errors.getvalue())
    return chosen.options, chosen.recipe


def _said(box: str) -> str:
    """The first paragraph inside tyro's box, in one line."""
    lines = [re.sub(r"^[│|]\s?|\s*[│|]$", "", line).strip() for line in box.splitlines()]
    body = [line for line in lines if line and not line.startswith(("╭", "╰"))]
    rule = next((number for number, line in enumerate(body) if line.startswith("─")), len(body))
    return " ".join(body[:rule])


def _description(name: str, recipe: Any) -> str:
    """What the recipe's file says of it, and how flags work.

    Indented by a space, which tells tyro to leave the lines as they are.
    """
    about = inspect.getdoc(inspect.getmodule(type(recipe))) or ""
    size = getattr(recipe, "size", DEFAULT_SIZE)
    # A recipe that goes on from another run needs that one named.
    of = "albef" if name == "retrieval" else "flava"
    start = f" --run runs/{of}_tiny" if hasattr(recipe, "run") else ""
    # torchrun would take --run for a beginning of its own --run-path.
    module = "-m -- minivl" if start else "-m minivl"
    text = f"""{about}

Defaults below are those of --size {size}. A field's last name is enough where only one
field has it, or where one stands highest: --lr for --training.lr. With fewer steps the
warm-up of their stage shrinks too.

  minivl train {name}{start} --size tiny --steps 400 --out runs/short
  minivl train {name}{start} --size base --dry-run
  torchrun --nproc-per-node 8 {module} train {name}{start} --size base --out runs/{name}"""
    return textwrap.indent(text, " ", lambda line: True)
