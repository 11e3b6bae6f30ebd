"""The front door: finds the command, runs it, and turns whatever goes wrong into an exit code.

Imports nothing but the standard library, so that `minivl --help` answers at once.
"""

import contextlib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from minivl.errors import MinivlError, UserError

COMMANDS = {
    "train": "train a recipe; writes one folder with checkpoints, numbers and a report",
    "eval": "measure a trained run again and rewrite its report",
    "show": "how well one picture and one sentence fit, and where the model looks",
    "check": "grade your exercises",
    "data": "list, preview, count, verify or rebuild the embedded data",
    "weights": "published weights into our models, and ours into the published format",
    "bench": "speed, memory and share of the peak of one training step here",
    "doctor": "what is wrong with this machine or installation, and the mend",
    "version": "versions of minivl, Python and torch",
}

HELP = """\
minivl: from an image and a sentence to a model that understands both

usage: minivl COMMAND ...          minivl COMMAND --help explains one command

{commands}

First steps
  minivl data preview                     a picture of what the models learn from
  minivl train clip --size test           the whole path in seconds; learns nothing yet
  minivl train clip --size tiny           about three minutes on two CPU cores
  minivl train flava --size tiny          about seven: five stages, the whole of FLAVA
  minivl train albef --size tiny          about five and a half: align, then fuse
  minivl train finetune --run runs/flava_tiny --task scene-vqa
  minivl show runs/clip_tiny scene:0 "a dog on the left"
  minivl check 05                         grade your exercises in lesson 05

Everywhere
  --debug     show the traceback of an error (also: MINIVL_DEBUG=1)

Exit codes: 0 done, 1 a bug (or what check or doctor found), 2 a mistake in what was typed, 3 out of
memory or disk, 4 data missing or damaged, 5 training diverged, 130 interrupted.
"""

INTERRUPTED = 130
BUG = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code and lets no error through."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("MINIVL_DEBUG", "0") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = dispatch(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; Python must not complain when it flushes.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        return report(error)


def dispatch(arguments: list[str]) -> int:
    """Hand the arguments after the command's name to its module in minivl/commands."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        lines = (f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
        print(HELP.format(commands="\n".join(lines)), end="")
        return 0
    name, *rest = arguments
    if name in ("version", "--version", "-V"):
        print(versions())
        return 0
    if name not in COMMANDS:
        from minivl.commands.parser import did_you_mean

        raise UserError(f"there is no command {name!r}", did_you_mean(name, COMMANDS))
    return importlib.import_module(f"minivl.commands.{name}").main(rest)


def versions() -> str:
    """One line that a bug report needs; reads torch's version without importing it."""
    from importlib.metadata import PackageNotFoundError, version

    import minivl

    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "missing"
    python = ".".join(map(str, sys.version_info[:3]))
    return f"minivl {minivl.__version__}, Python {python}, torch {torch}"


def report(error: Exception) -> int:
    """Say on stderr what went wrong and what to do, in two lines; returns the exit code."""
    what, remedy, code = explain(error)
    print(f"minivl: {what}", file=sys.stderr)
    if remedy:
        print(f"  -> {remedy}", file=sys.stderr)
    return code


def explain(error: Exception) -> tuple[str, str, int]:
    """What went wrong, what to do about it, and the exit code."""
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, MinivlError):
        return one_line(error.what), one_line(error.remedy), error.exit_code
    if is_out_of_memory(error):
        return f"out of memory: {first_line}", "lower --training.batch-size, or use --size test", 3
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" for {error.filename}" if error.filename else ""
        return f"no space left on the disk{where}", "free some, or choose another --out", 3
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", "check the path and its permissions", 2
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("minivl"):
        return f"the package {error.name} is not installed", "run `minivl doctor`", 2
    return (
        f"{type(error).__name__}: {first_line}",
        "this should not happen: run it again with --debug and report what that prints",
        BUG,
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, the CPU allocator or the GPU ran out of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def one_line(text: str) -> str:
    """The text without line breaks: an error is two lines, whatever was in the message."""
    return " ".join(text.split())
