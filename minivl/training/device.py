"""Where and in which number format a training computes, chosen without flags."""

import contextlib
import os
from collections.abc import Iterator

import torch

from minivl.errors import UserError
from minivl.training.recipe import Training


def choose_device(name: str = "auto") -> torch.device:
    """The best device there is, or the one asked for; one GPU per process under torchrun."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if (name == "cuda" and not cuda) or (name == "mps" and not mps):
        raise UserError(f"this machine has no {name} device", "use --device auto")
    if name == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(name)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices natively, so that autocast pays."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    # AVX512-BF16 alone loses: its convolutions and attention gradients took 1.4 to 2 times as long
    # as float32's here. AMX tiles multiply several times faster.
    return getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """The context that the forward pass runs in."""
    wanted = precision == "bfloat16" or (precision == "auto" and computes_bfloat16(device))
    if not wanted:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextlib.contextmanager
def computing(training: Training, device: torch.device) -> Iterator[None]:
    """Threads and determinism for the length of a stage; the process's own settings after."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    if training.threads or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(training.threads or _cores())
    if device.type == "cpu":  # costs nothing there; on a GPU some kernels become many times slower
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fills


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
