"""A run's settings as YAML: from a dataclass, back into it, and what differs between two."""

import dataclasses
import difflib
import hashlib
import json
import typing
from pathlib import Path
from typing import Any

from minivl.errors import DataError, UserError

FREE_ON_RESUME = {
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "evaluate_every",
    "max_bad_fraction",
    "prefetch",
    "workers",
    "device",
    "threads",
    "compile",
    "out",
    "resume",
    "debug",
}
"""Settings that steer neither data nor curve; every other one must stay when a run goes on."""


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as what YAML and JSON know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: Any, value: Any, name: str = "config") -> Any:
    """The inverse of to_plain for a dataclass type; an unknown field is a UserError."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        for key in value:
            if key not in hints:
                near = difflib.get_close_matches(key, hints, 1) or sorted(hints)
                raise UserError(f"{name} has no field {key!r}", f"did you mean {near[0]!r}?")
        return kind(**{k: from_plain(hints[k], v, f"{name}.{k}") for k, v in value.items()})
    if typing.get_origin(kind) is tuple and value is not None:
        return tuple(value)
    options = typing.get_args(kind) or (kind,)
    nested = [option for option in options if dataclasses.is_dataclass(option)]
    if nested and isinstance(value, dict):
        return from_plain(nested[0], value, name)
    return Path(value) if Path in options and isinstance(value, str) else value


def dump(config: Any) -> str:
    """YAML text of a dataclass or dict, in the order of its fields."""
    import yaml

    return yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)


def read(path: Path) -> dict[str, Any]:
    """The settings in a config.yaml; DataError if it is not one."""
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = str(error).splitlines()[0]
        raise DataError(
            f"{path} cannot be read: {line}", "restore it or start a new run"
        ) from error
    if not isinstance(settings, dict):
        raise DataError(f"{path} holds no settings", "restore it or start a new run")
    return settings


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """{"training": {"lr": 1}} -> {"training.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def binding(config: Any) -> dict[str, Any]:
    """The flat settings that a resumed run must share with the run it continues."""
    plain = json.loads(json.dumps(to_plain(config)))
    flat = flatten(plain) if isinstance(plain, dict) else {"config": plain}
    return {key: v for key, v in flat.items() if key.split(".")[-1] not in FREE_ON_RESUME}


def differences(old: Any, new: Any) -> list[str]:
    """Lines `name: old -> new` for every setting that must agree and does not."""
    old, new = binding(old), binding(new)
    absent = "(absent)"
    return [
        f"{key}: {old.get(key, absent)} -> {new.get(key, absent)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent)
    ]


def digest(config: Any) -> str:
    """A hash of the settings that must agree."""
    text = json.dumps(binding(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
