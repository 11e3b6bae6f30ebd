"""Files of published weights: read without running a line of what they hold, and written.

A pickle is a program. Here it is read with `weights_only=True`, which builds tensors and plain
values and refuses the rest.
"""

import contextlib
import errno
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from minivl.errors import UserError
from minivl.weights.names import Tensors

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
WRAPPERS = ("model", "state_dict")
"""Under which key a training's file keeps the weights, beside optimiser, schedule and settings."""


def read(path: str | Path) -> Tensors:
    """The tensors of a .safetensors file, or of one that torch has saved (.pth, .bin), by name.

    UserError for a file that is not there, is no file of weights, or holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}", "check the path; nothing is downloaded here")
    found = _safetensors(path) if path.suffix == ".safetensors" else _unpickled(path)
    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path} holds no named tensors", "name a file of a model's state_dict")
    strange = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if strange:
        raise UserError(
            f"{path} is no state_dict: {strange[0]!r} is a {type(found[strange[0]]).__name__}, not "
            "a tensor",
            f"name a file of a state_dict, alone or under {' or '.join(map(repr, WRAPPERS))}",
        )
    return dict(found)


def names(path: str | Path) -> frozenset[str]:
    """The names in a .safetensors file, from its head alone. UserError as in `read`."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}", "check the path; nothing is downloaded here")
    with _told(path), safetensors.safe_open(path, framework="pt") as file:
        return frozenset(file.keys())


def _safetensors(path: Path) -> Tensors:
    with _told(path):
        return safetensors.torch.load_file(path)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}", "fetch or write it anew") from error


def _unpickled(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise UserError(
                f"{path} holds more than tensors and plain values, and is not run to see what",
                "where you trust it, save its state_dict alone with torch.save, and give that",
            ) from error
        raise _no_weights(path) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _no_weights(path) from error


def _no_weights(path: Path) -> UserError:
    head = path.read_bytes()[:64].lstrip()
    looks = ""
    if head.startswith(b"version https://git-lfs"):
        looks = ": it is the pointer of a file in Git LFS"
    elif head.startswith(b"<"):
        looks = ": it is a page of the web"
    return UserError(f"{path} is no file of weights, or a damaged one{looks}", "fetch it anew")


def write(path: str | Path, tensors: Tensors) -> None:
    """Write .safetensors, or else what torch loads as {"model": tensors}; whole or not at all."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    # Parts of a stacked tensor share memory; each is written by itself.
    apart = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(apart, temporary)
        else:
            with open(temporary, "wb") as file:
                torch.save({"model": apart}, file)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise UserError(f"cannot write {path}: {error.strerror}", "choose another --out") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
