"""Toys for the engine's tests; run as a program, the process that forks a child per training.

The model has all that a checkpoint could forget: dropout, a buffer that follows the weights
after each step, a queue with a pointer, a scale, AdamW's moments, two streams, two stages.
"""

import dataclasses
import itertools
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from torch import nn

from minivl.data.stream import CorruptSample, Stream
from minivl.errors import MinivlError
from minivl.training import checkpoint
from minivl.training.recipe import Stage, Training
from minivl.training.run import Run

TIMINGS = {"samples_per_second", "data_wait_share"}
STEPS = {"first": 6, "second": 8}


class Points:
    """Points in the plane and whether they lie above a line; some may be corrupt."""

    def __init__(
        self, length=50, *, endless=False, bad=(), seconds=0.0, scale=1.0, dtype="float32"
    ):
        self.length, self.endless, self.bad = length, endless, set(bad)
        self.seconds, self.scale, self.dtype = seconds, scale, dtype

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(self.seconds)
        if index in self.bad:
            raise CorruptSample(f"point-{index}", "unreadable")
        point = np.random.default_rng(index).normal(size=4).astype(self.dtype) * self.scale
        return point, index

    def collate(self, examples):
        points = torch.from_numpy(np.stack([point for point, _ in examples]))
        target = (points.sum(1) > 0).to(points.dtype)
        return {"x": points, "y": target, "index": torch.tensor([i for _, i in examples])}


class Toy(nn.Module):
    """Logistic regression with much to remember. `trouble` maps a step to a callable(model)."""

    def __init__(self, dropout=0.2, trouble=None, clock=None):
        super().__init__()
        self.trouble, self.clock = trouble or {}, clock or itertools.count(1)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 1))
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("teacher", self.net[3].weight.detach().clone())
        self.register_buffer("queue", torch.zeros(7, 16))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.seen = []

    def forward(self, batch):
        self.seen.append(batch["index"].tolist())
        hidden = self.net[:3](batch["x"])
        logit = self.net[3](hidden)[:, 0] * self.logit_scale
        bce = nn.functional.binary_cross_entropy_with_logits(logit, batch["y"])
        pull = (self.net[3].weight - self.teacher).square().mean() + self.queue.mean() * 0.1
        losses = {"bce": bce, "pull": pull * hidden.mean()}
        if self.training:
            self.last = hidden.detach().mean(0)
            happens = self.trouble.get(next(self.clock))
            losses = (happens and happens(self, losses)) or losses
        return losses

    def after_step(self):
        self.teacher.lerp_(self.net[3].weight, 0.3)
        self.queue[int(self.pointer) % 7] = self.last
        self.pointer += 1


def toy_stage(name="toy", *, model=Toy, streams=None, start_from=None, **training):
    defaults = dict(
        steps=6, batch_size=8, warmup_steps=2, lr=0.01, precision="float32", device="cpu",
        log_every=1, checkpoint_every=3, threads=1,
    )  # fmt: skip
    streams = streams or [Stream("points", Points(), 8)]
    return Stage(
        name, Training(**defaults | training), model, lambda: streams, start_from=start_from
    )


def two_stages(trouble=None, **training):
    """A stage, and a second one that starts from it with two streams and accumulation."""
    clock = itertools.count(1)

    def model():
        return Toy(trouble=trouble, clock=clock)

    streams = [
        Stream("known", Points(21, bad=[3]), 8, weight=2.0),
        Stream("new", Points(endless=True), 4, losses=("bce",)),
    ]
    first = toy_stage("first", model=model, **{"steps": STEPS["first"]} | training)
    second = {"steps": STEPS["second"], "accumulate": 2} | training
    return [first, toy_stage("second", model=model, streams=streams, start_from="first", **second)]


def curve(folder):
    """All that a run logged, timings left out; floats as exact as they are."""
    lines = Run(folder).metrics()
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]


def weights(folder, stage="second"):
    """The checksums of a stage's last weights and optimiser state."""
    path = checkpoint.newest(Path(folder) / "checkpoints" / stage)
    files = json.loads((path / "MANIFEST.json").read_text())["files"]
    return path.name, files["model.safetensors"]["sha256"], files["optim.safetensors"]["sha256"]


def outcome(folder):
    """What must be equal in two runs that are to be the same."""
    skipped = (Path(folder) / "skipped.jsonl").read_text()
    return curve(folder), skipped, weights(folder, "first"), weights(folder)


def send(number, times=1):
    def happening(model, losses):
        for _ in range(times):
            os.kill(os.getpid(), number)

    return happening


def limit_file_size(model=None, losses=None):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))


def no_number(model, losses):
    return losses | {"small": losses["small"] * float("nan")}


TROUBLE = {
    "no number": no_number,
    "kill": send(signal.SIGKILL),
    "terminate": send(signal.SIGTERM),
    "interrupt": send(signal.SIGINT),
    "interrupt twice": send(signal.SIGINT, times=2),
    "limit file size": limit_file_size,
}


def watch_saves(at, what, names):
    """At the save's `at`-th point (from 0) do `what`; write every point's name into `names`."""
    counter = itertools.count()

    def hook(name):
        if names:
            with open(names, "a") as file:
                file.write(f"{name}\n")
        if next(counter) == at:
            TROUBLE[what](None, None)

    checkpoint.CHUNK = 1500  # several writes a file
    checkpoint._fault_point = hook


def child(request):
    """One training, as the request says; returns the exit code."""
    from minivl.training.engine import train

    os.environ |= request.get("environment", {})
    if request.get("nobody") and os.getuid() == 0:
        os.setuid(65534)
    if "at" in request or "names" in request:
        what = request.get("what", "kill")
        watch_saves(request.get("at"), what, request.get("names"))
    trouble = {int(step): TROUBLE[name] for step, name in request.get("trouble", {}).items()}
    make = square_stage if request.get("square") else two_stages
    stages = make(trouble, **request.get("training", {}))
    run = Run(request["out"], {"seed": 5, "stages": STEPS}, command="minivl train toy")
    try:
        train(stages, run, resume=request.get("resume", False))
    except MinivlError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code
    except SystemExit as stopped:
        return stopped.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


class Square(nn.Module):
    """A mean over samples, in float64, without randomness: parts of a batch average exactly."""

    def __init__(self, trouble=None):
        super().__init__()
        self.linear = nn.Linear(4, 1, dtype=torch.float64)
        self.batches, self.trouble = [], trouble or {}

    def forward(self, batch):
        self.batches.append(batch["index"].tolist())
        error = (self.linear(batch["x"])[:, 0] - batch["y"]).square().mean()
        losses = {"square": error, "small": 0.01 * error}
        happens = self.trouble.get(len(self.batches))
        return (happens and happens(self, losses)) or losses


def square_stage(trouble=None, **training):
    """A stage that must come out the same however its batches are shared."""
    points = Points(40, dtype="float64", bad=[5, 6])
    defaults = {"accumulate": 2, "steps": 8, "checkpoint_every": 4} | training
    stage = toy_stage("square", streams=[Stream("points", points, 8)], **defaults)
    return dataclasses.replace(stage, build_model=lambda: Square(trouble))


def fork(request):
    """Run a request's processes (1): the answer of the first, or of all of them."""
    count = request.get("processes", 1)
    if count == 1:
        return answer(*start(request))
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    trouble = request.get("trouble", {})
    started = []
    for rank in range(count):
        environment = place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        mine = trouble if rank == count - 1 else {}  # it strikes the last process alone
        started.append(start(request | {"environment": environment, "trouble": mine}))
    return [answer(*process) for process in started]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(request):
    """Fork a child; its process number, and where its output comes out."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(reader)
            os.dup2(writer, 2)
            if request.get("closed pipe"):
                reader, writer = os.pipe()
                os.close(reader)
            if request.get("terminal"):
                writer = os.open(request["terminal"], os.O_RDWR | os.O_NOCTTY)
            os.dup2(writer, 1)
            os.close(writer)
            sys.stdout = open(1, "w", closefd=False)
            code = child(request)
            sys.stdout.flush()
        finally:
            os._exit(code)
    os.close(writer)
    return process, reader


def answer(process, reader):
    """A child's exit code, or minus the signal that ended it, and all that it printed."""
    with open(reader, errors="replace") as output:
        printed = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), printed


def serve():
    """Fork a child for each request line; answer with its exit code and output."""
    import torch._dynamo  # noqa: F401 - torch's optimisers import it, in seconds, when first used
    import torch.utils.tensorboard  # noqa: F401

    import minivl.training.engine  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
