"""`minivl doctor`: what is wrong with this machine or installation, and the mend."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from minivl.commands.parser import Parser

DESCRIPTION = """\
Checks Python, packages, processor, GPU, memory, disk, data and Jupyter, one line each:
ok, warn (works, but slowly or in part) or FAIL (something will not work), with the mend.
Ends with exit code 1 if anything fails.
"""

SECONDS_FOR_AN_IMPORT = 180
GIGA = 1e9


class Finding(NamedTuple):
    """One line of the report."""

    state: str
    what: str
    mend: str = ""


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = Parser("doctor", DESCRIPTION)
    parser.add_argument("--quick", action="store_true", help="do not import torch and torchvision")
    chosen = parser.parse_args(arguments)
    failed = False
    for check in CHECKS if not chosen.quick else QUICK_CHECKS:
        for finding in examine(check):
            failed |= finding.state == "FAIL"
            print(f"{finding.state:5} {finding.what}", flush=True)
            if finding.mend:
                print(f"      -> {finding.mend}", flush=True)
    return int(failed)


def examine(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check; one that breaks is itself a finding."""
    try:
        yield from check()
    except Exception as error:
        name = check.__name__.replace("_", " ")
        yield Finding(
            "FAIL", f"{name}: {type(error).__name__}: {error}", "report this with --debug"
        )


def python() -> Iterator[Finding]:
    """Its version; one too old could not have read this file."""
    version = platform.python_version()
    what = f"Python {version}, {platform.system()} {platform.machine()}"
    yield Finding("ok", what)


def packages() -> Iterator[Finding]:
    """Every direct dependency, present and new enough."""
    wanted = importlib.metadata.requires("minivl") or []
    missing, old = [], []
    for requirement in (r for r in wanted if "extra ==" not in r):
        name, floor = re.match(r"([\w.-]+)\s*(?:>=([\d.]+))?", requirement).groups()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if floor and numbers(version) < numbers(floor):
            old.append(f"{name} {version} (needs {floor})")
    if missing or old:
        yield Finding("FAIL", f"missing or too old: {', '.join(missing + old)}", "make setup")
    else:
        named = [f"{n} {importlib.metadata.version(n)}" for n in ("torch", "transformers")]
        yield Finding("ok", f"packages, among them {', '.join(named)}")


def numbers(version: str) -> tuple[int, ...]:
    """2.15.0+cpu -> (2, 15, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0]))


def torch_and_torchvision() -> Iterator[Finding]:
    """Whether both import, each in a process of its own: a bad build may crash."""
    for name in ("torch", "torchvision"):
        code = f"import {name}; print({name}.__version__)"
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                text=True,
                timeout=SECONDS_FOR_AN_IMPORT,
            )
        except subprocess.TimeoutExpired:
            yield Finding("FAIL", f"import {name} hangs", "make clean setup")
            continue
        if done.returncode == 0:
            yield Finding("ok", f"import {name}")
            if name == "torch":
                yield from bfloat16_and_gpu()
            continue
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        yield Finding("FAIL", f"import {name}: {reason}", "make clean setup")


def torchvision_fits_torch() -> Iterator[Finding]:
    """Each torchvision is built for one torch: another one crashes at import."""
    try:
        wanted = importlib.metadata.requires("torchvision") or []
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return  # packages() has said so
    found = [re.match(r"torch\s*\(?(==|>=)\s*([\d.]+)", line) for line in wanted]
    for sign, version in (match.groups() for match in found if match):
        fits = numbers(torch)[:2] >= numbers(version)[:2]
        if sign == "==":
            fits = numbers(torch)[:2] == numbers(version)[:2]
        if not fits:
            what = f"torchvision needs torch{sign}{version}, not torch {torch}"
            yield Finding("FAIL", what, "make setup")


def processor() -> Iterator[Finding]:
    """Cores that may be used, and environment variables that hide some."""
    all_cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else all_cores
    threads = os.environ.get("OMP_NUM_THREADS", "")
    what = f"{usable} of {all_cores} CPU cores may be used"
    if threads.isdigit() and int(threads) < usable:
        yield Finding(
            "warn", f"{what}, OMP_NUM_THREADS={threads}", "unset OMP_NUM_THREADS to train"
        )
    else:
        yield Finding("ok", what)


def bfloat16_and_gpu() -> Iterator[Finding]:
    """What trains fast here."""
    import torch

    from minivl.training.device import computes_bfloat16

    if torch.cuda.is_available():
        device = torch.device("cuda")
        properties = torch.cuda.get_device_properties(0)
        size = properties.total_memory / GIGA
        yield Finding(
            "ok", f"GPU {properties.name}, {size:.0f} GB, {torch.cuda.device_count()} in all"
        )
    elif torch.backends.mps.is_available():
        device = torch.device("mps")
        yield Finding("ok", "Apple GPU (mps)")
    else:
        device = torch.device("cpu")
        if shutil.which("nvidia-smi"):
            mend = "update the NVIDIA driver, or install the torch that fits it"
            yield Finding(
                "warn", f"an NVIDIA driver, but torch {torch.__version__} sees no GPU", mend
            )
        else:
            yield Finding("ok", "no GPU: sizes test and tiny train on the CPU")
    if computes_bfloat16(device):
        yield Finding("ok", f"bfloat16 is native on this {device.type}")
    else:
        yield Finding(
            "ok", f"this {device.type} has no fast bfloat16: training computes in float32"
        )


def memory() -> Iterator[Finding]:
    """Memory that is free, within the limit of a container if there is one."""
    free = free_memory()
    if free is None:
        yield Finding("ok", "memory: unknown on this system")
    elif free < 1.5 * GIGA:
        yield Finding(
            "warn", f"{free / GIGA:.1f} GB of memory free", "close programs; tiny takes 1.2 GB"
        )
    else:
        yield Finding("ok", f"{free / GIGA:.1f} GB of memory free")


def free_memory() -> float | None:
    """Bytes that a new process may still take; None where that cannot be told."""
    limits = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file() and (found := re.search(r"MemAvailable:\s+(\d+)", meminfo.read_text())):
        limits.append(1024.0 * int(found[1]))
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()).isdigit():
        limits.append(float(most) - float(used.read_text()))
    if not limits and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=None)


def disk() -> Iterator[Finding]:
    """Room for runs, and whether they can be written here."""
    folder = Path("runs") if Path("runs").is_dir() else Path(".")
    where = folder.resolve()
    free = shutil.disk_usage(where).free
    what = f"{free / GIGA:.1f} GB of disk free in {where}"
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        mend = "work in another folder, or train with --out"
        yield Finding("FAIL", f"cannot write to {where}: {error.strerror}", mend)
        return
    if free < GIGA:
        yield Finding("warn", what, "free some: a tiny run takes 0.1 GB, a base run 10 GB")
    else:
        yield Finding("ok", what)


def data() -> Iterator[Finding]:
    """The data pack's files against their checksums."""
    from minivl.data import pack
    from minivl.errors import DataError

    try:
        folder = pack.find()
        problems = pack.verify()
    except DataError as error:
        yield Finding("FAIL", error.what, error.remedy)
        return
    if problems:
        more = f" and {len(problems) - 1} more" if problems[1:] else ""
        yield Finding("FAIL", problems[0] + more, f"git checkout -- {folder.name}")
    else:
        yield Finding("ok", f"data pack in {folder}")


def jupyter() -> Iterator[Finding]:
    """Whether notebooks will run with this Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        argv = KernelSpecManager().get_kernel_spec("python3").argv
    except Exception as error:
        yield Finding("FAIL", f"no Jupyter kernel: {type(error).__name__}: {error}", "make setup")
        return
    own = os.path.realpath(argv[0]) == os.path.realpath(sys.executable)
    if own or Path(argv[0]).name == argv[0]:
        yield Finding("ok", "Jupyter kernel python3")
    else:
        mend = f"{sys.executable} -m ipykernel install --sys-prefix"
        yield Finding("warn", f"the Jupyter kernel python3 runs {argv[0]}, not this Python", mend)


QUICK_CHECKS = (python, packages, torchvision_fits_torch, processor, memory, disk, data, jupyter)
CHECKS = (*QUICK_CHECKS, torch_and_torchvision)
