"""Randomness that needs no history: every step seeds it anew from (seed, stage, step, purpose).

A resumed training so draws the same dropout masks as one that never stopped, whatever happened
in between. The states of all generators are saved as well, for what a step leaves behind.
"""

import base64
import hashlib
import random
from typing import Any

import numpy as np
import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed for a purpose, such as seed_of(0, "clip", 12, "step", rank)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def seed_everything(*parts: int | str) -> None:
    """Seed torch (on every device), NumPy and Python for a purpose."""
    seed = seed_of(*parts)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third parties draw from it


def random_states() -> dict[str, Any]:
    """The state of every process-wide generator, as JSON (bytes in base64)."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    version, internal, next_gauss = random.getstate()
    return {
        "torch": _text(torch.get_rng_state().numpy()),
        "cuda": [_text(state.numpy()) for state in _cuda_states()],
        "numpy": [kind, _text(keys), position, has_gauss, gauss],
        "python": [version, _text(np.array(internal, np.uint32)), next_gauss],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """The inverse of random_states."""
    torch.set_rng_state(torch.from_numpy(_array(states["torch"], np.uint8)))
    if states["cuda"] and len(states["cuda"]) == len(_cuda_states()):
        torch.cuda.set_rng_state_all(
            [torch.from_numpy(_array(text, np.uint8)) for text in states["cuda"]]
        )
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, _array(keys, np.uint32), *rest))  # noqa: NPY002
    version, internal, next_gauss = states["python"]
    random.setstate((version, tuple(_array(internal, np.uint32).tolist()), next_gauss))


def _cuda_states() -> list[torch.Tensor]:
    started = torch.cuda.is_available() and torch.cuda.is_initialized()
    return torch.cuda.get_rng_state_all() if started else []


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _array(text: str, dtype: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype).copy()
