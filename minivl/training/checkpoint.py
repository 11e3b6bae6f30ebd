"""Checkpoints that survive kill -9, a full disk and a flipped bit: plain files with checksums.

    checkpoints/LATEST                     STAGE/step-N, a pointer for people and quick readers
    checkpoints/STAGE/BEST                 step-N, where the stage names a metric to judge by
    checkpoints/STAGE/step-N/
        model.safetensors optim.safetensors state.json
        MANIFEST.json                      sizes and sha256 of the others, written last

Everything is written into a temporary folder, forced to disk, and then renamed: under its name
a checkpoint is complete. One whose checksums fail is never used, and never deleted. There is no
pickle anywhere: reading a checkpoint cannot run code.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from minivl.errors import DataError, UserError

MODEL, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "optim.safetensors",
    "state.json",
    "MANIFEST.json",
)
LATEST, BEST = "LATEST", "BEST"
CHUNK = 2**24  # bytes between two looks at the checksum
Tensors = dict[str, torch.Tensor]


def _fault_point(name: str) -> None:
    """Does nothing; tests put a kill here. Every state that a disk can be left in has a name."""


def save(folder: Path, step: int, model: Tensors, optimizer: Tensors, state: dict) -> Path:
    """Write folder/step-N (folder is checkpoints/STAGE) and point LATEST at it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step}"
    temporary = folder / f"{target.name}.tmp-{os.getpid()}"
    try:
        temporary.mkdir()
        _fault_point("mkdir")
        files = {
            MODEL: safetensors.torch.save(model),
            OPTIMIZER: safetensors.torch.save(optimizer),
            STATE: json.dumps(state, indent=1).encode(),
        }
        manifest = {name: _write(temporary / name, data) for name, data in files.items()}
        _write(temporary / MANIFEST, json.dumps({"files": manifest}, indent=1).encode())
        _sync_folder(temporary)
        _set_aside(target)
        os.rename(temporary, target)
        _fault_point("rename")
        _sync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    point(folder.parent / LATEST, f"{folder.name}/{target.name}")
    return target


def _write(path: Path, data: bytes) -> dict[str, Any]:
    """Write and fsync one file; its line in the manifest."""
    with open(path, "wb") as file:
        for start in range(0, len(data), CHUNK):
            file.write(data[start : start + CHUNK])
            file.flush()
            _fault_point(f"write {path.name} {start}")
        os.fsync(file.fileno())
    _fault_point(f"fsync {path.name}")
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    _fault_point(f"fsync folder {folder.name}")


def _set_aside(target: Path) -> None:
    """Move a damaged checkpoint of the same step out of the way: it is not ours to delete."""
    number = 1
    while target.exists():
        aside = target.with_name(f"{target.name}.damaged-{number}")
        if not aside.exists():
            os.rename(target, aside)
            _fault_point("aside")
        number += 1


def point(pointer: Path, name: str) -> None:
    """Make a pointer file (LATEST, BEST) name a checkpoint, in one indivisible move."""
    temporary = pointer.with_name(f"{pointer.name}.tmp-{os.getpid()}")
    try:
        _write(temporary, f"{name}\n".encode())
        os.replace(temporary, pointer)
        _fault_point(f"replace {pointer.name}")
        _sync_folder(pointer.parent)
    finally:
        temporary.unlink(missing_ok=True)


def fault(path: Path, *, checksums: bool = True) -> str:
    """What is wrong with a checkpoint, in words; empty if nothing is."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        files = {name: manifest["files"][name] for name in (MODEL, OPTIMIZER, STATE)}
        for name, line in files.items():
            if (path / name).stat().st_size != line["size"]:
                return f"{name} has {(path / name).stat().st_size} bytes, not {line['size']}"
            if checksums and _sha256(path / name) != line["sha256"]:
                return f"{name} is altered (its checksum differs)"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    return ""


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def steps(folder: Path) -> dict[int, Path]:
    """The checkpoints of a stage by step, oldest first, good or bad."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in folder.iterdir():
        if match := re.fullmatch(r"step-(\d+)", path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def newest(folder: Path, report: Callable[[str], None] = lambda line: None) -> Path | None:
    """The newest intact checkpoint of a stage; damaged ones are reported by name.

    None if the stage has no checkpoint; DataError if it has some and all are damaged.
    """
    bad = []
    for path in reversed(steps(folder).values()):
        if not (what := fault(path)):
            return path
        bad.append(f"{path}: {what}")
        report(f"damaged checkpoint ignored: {bad[-1]}")
    if bad:
        raise DataError(
            f"no intact checkpoint: {'; '.join(bad)}", "restore one of them, or start a new run"
        )
    return None


def resolve(path: str | Path) -> Path:
    """The checkpoint that a checkpoint's, stage's or run's folder stands for."""
    path = Path(path)
    if re.fullmatch(r"step-\d+", path.name):
        if what := fault(path):
            raise DataError(f"damaged checkpoint: {path}: {what}", "use another one")
        return path
    if (path / "checkpoints").is_dir():
        path = path / "checkpoints"
    stages = [path]
    if path.name == "checkpoints" and path.is_dir():
        stages = sorted((s for s in path.iterdir() if steps(s)), key=lambda s: s.stat().st_mtime)
        pointer = path / LATEST
        named = pointer.read_text().strip().split("/")[0] if pointer.is_file() else ""
        stages.sort(key=lambda stage: stage.name == named)
    found = newest(stages[-1]) if stages else None
    if found is None:
        raise UserError(f"no checkpoint in {path}", "name a run that has been trained")
    return found


def read_weights(path: str | Path) -> Tensors:
    """The model's tensors from a checkpoint, a stage's or run's folder, or a .safetensors file."""
    file = Path(path)
    file = file if file.suffix == ".safetensors" else resolve(file) / MODEL
    return _read_tensors(file)


def read(path: Path) -> tuple[Tensors, Tensors, dict[str, Any]]:
    """Model tensors, optimiser tensors and state of an intact checkpoint."""
    state = json.loads((path / STATE).read_bytes())
    return _read_tensors(path / MODEL), _read_tensors(path / OPTIMIZER), state


def _read_tensors(file: Path) -> Tensors:
    try:
        return safetensors.torch.load_file(file)
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist", "check the path") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{file} cannot be read: {error}", "fetch or write it anew") from error


def prune(folder: Path, keep: int, best: str | None = None) -> None:
    """Delete all but the `keep` newest intact checkpoints and the one named best."""
    intact = [path for path in steps(folder).values() if not fault(path, checksums=False)]
    for path in intact[: -max(keep, 1)]:
        if path.name != best and not fault(path):
            doomed = path.with_name(f"{path.name}.tmp-{os.getpid()}")
            os.rename(path, doomed)  # half-deleted, it would look like a damaged one
            _fault_point("prune")
            shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(checkpoints: Path) -> None:
    """Delete what a killed save left behind; only the holder of the run's lock may call this."""
    for path in [*checkpoints.glob("*.tmp-*"), *checkpoints.glob("*/*.tmp-*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
