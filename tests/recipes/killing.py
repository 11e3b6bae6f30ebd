"""Commands that are killed with kill -9 at a named place, each in a process of its own.

The processes are forked from one that has imported torch, so that each starts at once.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from multiprocessing import forkserver
from pathlib import Path

HERE = Path(__file__).parent
FORKS = multiprocessing.get_context("forkserver")
PRELOADED = (
    "minivl.cli",
    "minivl.training.engine",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "matplotlib.figure",
    "warm",
)


def command(arguments, log, place=None, *, pictures=True):
    """Exit code of `minivl ARGUMENTS`, or minus the signal that ended it.

    `place`: (stage, when) where the process dies: before the step that follows step `when`, or
    when it "begins" the stage, or "ends" it: the last checkpoint lies there, no evaluation does.
    `log` gets what it prints. Without `pictures` no figure is drawn, which takes seconds a stage.
    """
    start_forks()
    process = FORKS.Process(target=run, args=(list(map(str, arguments)), str(log), place, pictures))
    process.start()
    process.join()
    return process.exitcode


def start_forks():
    """Start the process that forks; once it runs, nothing changes."""
    forkserver.set_forkserver_preload(list(PRELOADED))
    before = os.environ.get("PYTHONPATH")
    # Before Python 3.12.4 it does not get our sys.path, and then would not find `warm`.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [before])])
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def run(arguments, log, place, pictures):
    """What the forked process does."""
    with open(log, "a") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", closefd=False)
    from minivl import cli
    from minivl.training import engine

    if not pictures:
        engine.draw = lambda session: None
    if place:
        die_at(*place)
    try:
        code = cli.main(arguments)
    except SystemExit as left:
        code = left.code or 0
    with contextlib.suppress(ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def die_at(stage, when):
    """Put a kill -9 before one call of the engine's."""
    from minivl.training import engine

    name = {"begins": "begin", "ends": "evaluate"}.get(when, "train_step")
    call = getattr(engine, name)

    def dying(first, *rest):
        own = first if name == "begin" else first.stage
        if own.name == stage and reached(first, when):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(first, *rest)

    setattr(engine, name, dying)


def reached(session, when):
    """Whether a session stands at a place of its stage."""
    if when == "begins":
        return True
    return session.finished if when == "ends" else session.state.step == when
