"""What a run's folder holds, read with care: damage becomes a sentence, never a crash."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Contents:
    """What a run's folder holds, read with care."""

    folder: Path
    config_text: str
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    evaluation: dict[str, dict[str, Any]]
    summary: dict[str, Any]
    environment: dict[str, Any]
    skipped: int
    choices: dict[str, int] = field(default_factory=dict)
    """Loss -> among how many words or codes it chooses, as far as the checkpoints tell."""
    complaints: list[str] = field(default_factory=list)
    """What could not be read, a sentence each."""

    @property
    def stages(self) -> list[str]:
        """The stages that have begun, in their order."""
        return list(dict.fromkeys(str(line.get("stage", "")) for line in self.metrics))


def read_contents(folder: Path) -> Contents:
    """Read a run's folder; each file that is damaged becomes a complaint."""
    complaints: list[str] = []
    config_text = (folder / "config.yaml").read_text(encoding="utf-8", errors="replace")
    evaluation = read_json(folder / "eval.json", complaints)
    checkpoint = newest_state(folder)
    recorded = read_json(checkpoint, complaints).get("versions", {}) if checkpoint else {}
    own = read_json(folder / "environment.json", complaints)
    skipped = folder / "skipped.jsonl"
    return Contents(
        folder=folder,
        config_text=config_text,
        config=parse_config(config_text, complaints),
        metrics=read_metrics(folder / "metrics.jsonl", complaints),
        evaluation={key: as_metric(value) for key, value in evaluation.items()},
        summary=read_json(folder / "summary.json", complaints),
        environment=recorded | own if isinstance(recorded, dict) else own,
        skipped=len(skipped.read_bytes().splitlines()) if skipped.is_file() else 0,
        choices=choices(folder),
        complaints=complaints,
    )


def read_json(path: Path, complaints: list[str]) -> dict[str, Any]:
    """A JSON object; empty, with a complaint, where the file is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        value = None
    if isinstance(value, dict):
        return value
    complaints.append(f"{path.name} is damaged and was left out.")
    return {}


def read_metrics(path: Path, complaints: list[str]) -> list[dict[str, Any]]:
    """The logged steps; a last line cut off by a kill is normal, any other damage is said."""
    if not path.is_file():
        return []
    *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
    steps = []
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            steps.append(line)
    if len(steps) < len(lines):
        complaints.append(f"Damaged lines of {path.name} left out: {len(lines) - len(steps)}.")
    return steps


def parse_config(text: str, complaints: list[str]) -> dict[str, Any]:
    """The settings as a dict; empty, with a complaint, where they are no YAML mapping."""
    import yaml

    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        config = None
    if isinstance(config, dict):
        return config
    complaints.append("config.yaml is damaged; its text is shown as it is.")
    return {}


def newest_state(folder: Path) -> Path | None:
    """state.json of the newest checkpoint, which records the versions it was made with."""
    found = list(folder.glob("checkpoints/*/step-*/state.json"))
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


EACH_ANSWER_ALONE = ("scene-vqa",)
"""Tasks that ask of each answer, yes or no: nobody chooses among them."""


def choices(folder: Path) -> dict[str, int]:
    """Loss -> number of classes, from the sizes of the heads in each stage's newest weights.

    Only the headers are read: a length of eight bytes, then JSON (safetensors' format).
    """
    found: dict[str, int] = {}
    for state in newest_by_stage(folder):
        try:
            with open(state.with_name("model.safetensors"), "rb") as file:
                header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 2**24)))
            shapes = {name: entry["shape"] for name, entry in header.items() if "shape" in entry}
        except (OSError, ValueError, TypeError, AttributeError):
            continue  # whoever loads the weights will say so
        for name, shape in shapes.items():
            if match := re.fullmatch(r"(?:(\w+)_)?head\.bias", name):
                found[match[1] or state.parents[1].name] = shape[0]
            answers = re.fullmatch(r"heads\.([\w-]+)\.classifier\.bias", name)  # of UniT
            if answers and answers[1] not in EACH_ANSWER_ALONE:
                found[f"{answers[1]}/answer"] = shape[0]
    return found


def newest_by_stage(folder: Path) -> list[Path]:
    """state.json of each stage's newest checkpoint."""
    found: dict[Path, Path] = {}
    for path in folder.glob("checkpoints/*/step-*/state.json"):
        stage = path.parents[1]
        if stage not in found or number_of(path) > number_of(found[stage]):
            found[stage] = path
    return sorted(found.values())


def number_of(state: Path) -> int:
    """.../step-40/state.json -> 40."""
    digits = state.parent.name.removeprefix("step-")
    return int(digits) if digits.isdigit() else -1


def stage_of(picture: Path) -> str:
    """The stage that drew a PNG, as its text fields say; '' where they do not."""
    from PIL import Image

    with Image.open(picture, formats=["PNG"]) as opened:
        return str(opened.text.get("Stage", ""))


def as_metric(value: Any) -> dict[str, Any]:
    """A metric, also where only a number was stored."""
    return value if isinstance(value, dict) else {"value": value}


def find(config: Any, name: str) -> Any:
    """The first setting of this name, at any depth; None if there is none."""
    if not isinstance(config, Mapping):
        return None
    if name in config and not isinstance(config[name], Mapping):
        return config[name]
    return next((v for v in (find(c, name) for c in config.values()) if v is not None), None)
