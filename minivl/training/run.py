"""A run is one folder; whoever evaluates, shows or resumes it needs only that folder.

    config.yaml      every setting, resolved
    metrics.jsonl    one line a logged step: stage, step, loss, each named loss, lr, speed
    skipped.jsonl    one line a corrupt sample that was left out
    eval.json        flat keys, each with value, chance and n
    summary.json     written last: its presence says that the run is finished
    checkpoints/     STAGE/step-N, see checkpoint.py
    figures/ tensorboard/ report.html

Imports no torch, so that looking at runs is quick.
"""

import contextlib
import errno
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minivl.errors import DataError, UserError
from minivl.training import config as settings
from minivl.training.lock import locked

LOCK = ".lock"
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
ELASTIC_RESTARTS = "TORCHELASTIC_RESTART_COUNT"  # torchrun counts its restarts of a group here


class Run:
    """A run folder: the paths in it, and the reading and writing of its small files."""

    def __init__(
        self, folder: str | Path, config: Any = None, *, seed: int | None = None, command: str = ""
    ):
        """`config` is a dataclass (or dict); the seed is its `seed` unless given.

        `command` is how this training was started; errors and Ctrl-C print it with --resume.
        """
        self.folder = Path(folder)
        self.config = {} if config is None else config
        plain = settings.to_plain(self.config)
        self.seed = int(seed if seed is not None else plain.get("seed", 0))
        self.command = command or shlex.join(["minivl", *sys.argv[1:]])
        self.last_checkpoint: Path | None = None
        """The newest intact checkpoint, for messages; the engine keeps it."""

    @classmethod
    def read(cls, folder: str | Path) -> "Run":
        """An existing run, its config as the dict that config.yaml holds."""
        path = Path(folder) / "config.yaml"
        if not path.is_file():
            raise UserError(f"{folder} is not a run: it has no config.yaml", "name a run's folder")
        return cls(folder, settings.read(path))

    config_file = property(lambda self: self.folder / "config.yaml")
    metrics_file = property(lambda self: self.folder / "metrics.jsonl")
    skipped_file = property(lambda self: self.folder / "skipped.jsonl")
    watched_file = property(lambda self: self.folder / "watched.jsonl")
    eval_file = property(lambda self: self.folder / "eval.json")
    summary_file = property(lambda self: self.folder / "summary.json")
    checkpoints = property(lambda self: self.folder / "checkpoints")
    figures = property(lambda self: self.folder / "figures")
    tensorboard = property(lambda self: self.folder / "tensorboard")
    report = property(lambda self: self.folder / "report.html")

    @property
    def finished(self) -> bool:
        """Whether training, evaluation and figures of every stage are done."""
        return self.summary_file.is_file()

    @property
    def resume_command(self) -> str:
        """What to type to go on."""
        given = "--resume" in self.command.split()
        return self.command if given else f"{self.command} --resume"

    @contextlib.contextmanager
    def hold(self, resume: bool = False) -> Iterator[None]:
        """Make or reopen the folder for writing, alone; refuse what must not be written to."""
        if resume and not self.config_file.is_file():
            raise UserError(
                f"nothing to resume: {self.config_file} does not exist", "leave out --resume"
            )
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / LOCK))
            except OSError as error:
                if error.errno in NO_SPACE:
                    raise
                raise UserError(
                    f"cannot write to {self.folder}: {error.strerror}", "choose another --out"
                ) from error
            restarted = int(os.environ.get(ELASTIC_RESTARTS, 0)) > 0
            if self.config_file.is_file() and (resume or restarted):
                self._check_same_config()
            elif any(path.name != LOCK for path in self.folder.iterdir()):
                raise UserError(
                    f"{self.folder} is occupied", "add --resume to go on, or choose another --out"
                )
            write_text(self.config_file, settings.dump(self.config))
            yield

    def _check_same_config(self) -> None:
        changed = settings.differences(settings.read(self.config_file), self.config)
        if not changed:
            return
        steps = any(line.split(":")[0].split(".")[-1] == "steps" for line in changed)
        why = " (the learning rate's cosine is drawn over all steps)" if steps else ""
        raise UserError(
            f"{self.folder} was started with other settings: {'; '.join(changed)}",
            f"resume with the settings of {self.config_file}, or choose another --out{why}",
        )

    def metrics(self) -> list[dict[str, Any]]:
        """The logged steps, in order."""
        return read_lines(self.metrics_file)

    def evaluation(self) -> dict[str, dict[str, Any]]:
        """What eval.json holds: flat keys such as `twemoji/retrieval/image_to_text_r1`."""
        if not self.eval_file.is_file():
            return {}
        try:
            return json.loads(self.eval_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(
                f"{self.eval_file} is damaged", "delete it and evaluate again"
            ) from error

    def update_evaluation(self, metrics: dict[str, Any]) -> None:
        """Merge metrics (objects with to_json, dicts or numbers) into eval.json."""
        merged = self.evaluation() | {key: as_json(value) for key, value in metrics.items()}
        write_text(self.eval_file, json.dumps(merged, indent=1) + "\n")

    def finish(self, summary: dict[str, Any]) -> None:
        """Write summary.json, which makes the run a finished one."""
        write_text(self.summary_file, json.dumps(summary, indent=1) + "\n")

    def rewind(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Cut the lines of steps that the resumed training is going to repeat."""
        for path in (self.metrics_file, self.skipped_file, self.watched_file):
            if path.is_file():
                lines = [json.dumps(line) for line in read_lines(path) if keep(line)]
                write_text(path, "".join(f"{line}\n" for line in lines))


def as_json(metric: Any) -> dict[str, Any]:
    """A metric as eval.json holds it."""
    if hasattr(metric, "to_json"):
        return metric.to_json()
    return dict(metric) if isinstance(metric, dict) else {"value": float(metric)}


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add one JSON line in a single write, so that lines never mix."""
    with open(path, "ab", buffering=0) as file:
        file.write((json.dumps(line) + "\n").encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl file; a last line that was cut off by a kill is left out."""
    if not path.is_file():
        return []
    *lines, rest = path.read_text(encoding="utf-8").split("\n")
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", "restore it or start a new run") from error


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or a kill, sees the old or the new text."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
