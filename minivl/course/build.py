"""`make notebooks`: every lesson's script becomes a notebook to solve and one that is solved.

    python -m minivl.course.build [LESSON ...] [--check | --no-execute]

notebooks/NN_name.ipynb has blanks and no outputs. solutions/NN_name.ipynb has the package's own
functions in their place, was run, and keeps its outputs and figures. A second build on the same
machine writes the same bytes.
"""

import argparse
import difflib
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minivl.course import kernel, rules
from minivl.course.drift import all_drift, faults, read_stored, was_run
from minivl.course.lesson import METADATA, SCRIPTS, Lesson, as_text, notebook, read, scripts
from minivl.errors import MinivlError, UserError

SIZE = "tiny"
"""What the committed solutions are run at; MINIVL_SIZE overrules it."""

MEASURES_TIME = "measures-time"
"""Tag of a cell whose output holds a measured time."""


def main(
    arguments: list[str] | None = None, root: Path = rules.REPOSITORY, folder: Path = SCRIPTS
) -> int:
    """Run the command: 0 done, 1 the notebooks drifted, 2 a lesson is not as it must be.

    Lessons are read in `folder`; notebooks/ and solutions/ stand in `root`.
    """
    parser = argparse.ArgumentParser(
        prog="make notebooks", description="Builds notebooks/ and solutions/ from the lessons."
    )
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="such as 05; all of them")
    parser.add_argument(
        "--check", action="store_true", help="only say what differs from what would be built"
    )
    parser.add_argument(
        "--no-execute", action="store_true", help="write notebooks/ only: no solution is run"
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite a notebook in notebooks/ that was run"
    )
    chosen = parser.parse_args(arguments)
    try:
        found = scripts(folder)
        lessons = [read(found[name]) for name in choose(chosen.lessons, found)]
        enforce(lessons)
        if chosen.check:
            return report_drift(lessons, root, complete=not chosen.lessons)
        for lesson in lessons:
            write_blank(lesson, root, force=chosen.force)
            if not chosen.no_execute:
                write_solution(lesson, root)
    except MinivlError as error:
        print(f"minivl: {error.what}\n  -> {error.remedy}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def choose(asked: Iterable[str], known: Mapping[str, Any]) -> list[str]:
    """Names of lessons from what was typed: "5", "05", "contrastive", "05_contrastive"; [] is all.

    Raises UserError, with the nearest name, for a lesson that does not exist.
    """
    short = {form: name for name in known for form in (name, name[:2], name[3:])}
    chosen = []
    for word in asked:
        name = short.get(word) or short.get(word.zfill(2))
        if name is None:
            near = [] if word.isdigit() else difflib.get_close_matches(word, short, 1, 0.5)
            remedy = (
                f"did you mean {short[near[0]]!r}?" if near else f"there are: {', '.join(known)}"
            )
            raise UserError(f"there is no lesson {word!r}", remedy)
        chosen.append(name)
    return sorted(set(chosen)) or list(known)


def enforce(lessons: list[Lesson]) -> None:
    """UserError for the first rule that is broken; the others that are, on stderr."""
    problems = [problem for lesson in lessons for problem in rules.broken(lesson)]
    for lesson in lessons:
        others = [blank for other in lessons if other is not lesson for blank in other.blanks]
        problems += rules.shown_answers(lesson, others)
    for problem in problems[1:]:
        print(f"{problem.where}: {problem.what}\n  -> {problem.remedy}", file=sys.stderr)
    if problems:
        raise UserError(f"{problems[0].where}: {problems[0].what}", problems[0].remedy)


def report_drift(lessons: list[Lesson], root: Path, *, complete: bool) -> int:
    """Print each file and cell that is not what would be built: 1 if there is any."""
    lines = all_drift(lessons, root, complete=complete)
    for line in lines:
        print(line)
    if lines:
        print("  -> run `make notebooks` (answers that you wrote into notebooks/ count as drift)")
    else:
        print(f"lessons as they would be built: {', '.join(lesson.name for lesson in lessons)}")
    return int(bool(lines))


def write_blank(lesson: Lesson, root: Path, *, force: bool = False) -> Path:
    """Write notebooks/NN_name.ipynb. UserError if somebody has worked in the one that is there."""
    path = root / "notebooks" / f"{lesson.name}.ipynb"
    if path.exists() and not force and was_run(read_stored(path)):
        raise UserError(
            f"{path.parent.name}/{path.name} was run: it may hold somebody's answers",
            "move it away, or overwrite it with --force",
        )
    write(path, as_text(notebook(lesson, solved=False)))
    print(f"{lesson.name}: {len(lesson.cells)} cells, {len(lesson.blanks)} exercises", flush=True)
    return path


def write_solution(lesson: Lesson, root: Path) -> Path:
    """Run the solved lesson and write solutions/NN_name.ipynb.

    Raises UserError for a cell that fails, a check that is not passed, or an output that would
    differ from build to build; then the file stays as it was.
    """
    size = os.environ.get("MINIVL_SIZE") or SIZE
    path = root / "solutions" / f"{lesson.name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    built = notebook(lesson, solved=True)
    begun, show = time.perf_counter(), Ticker(f"{lesson.name}: running at size {size}")
    try:
        kernel.run(built, path.parent, {"MINIVL_SIZE": size}, show)
    finally:
        show.end()
    kernel.tidy(built, METADATA)
    if path.exists():
        keep_timings(built, read_stored(path))
    problems = faults(built, private=(str(root), str(Path.home())))
    for problem in problems[1:]:
        print(f"{lesson.name}: {problem}", file=sys.stderr)
    if problems:
        raise UserError(f"{lesson.name}: {problems[0]}", "mend the lesson, or the function it uses")
    write(path, as_text(built))
    print(f"{lesson.name}: ran in {time.perf_counter() - begun:.0f} s", flush=True)
    return path


def keep_timings(built: Any, stored: Any) -> None:
    """Give unchanged cells that are tagged `measures-time` the outputs they had, in place.

    No two runs take equally long; all else is the same bytes each time.
    """
    cells = stored.cells if stored is not None else []
    before = {(cell.get("id"), cell.source): cell for cell in cells if cell.cell_type == "code"}
    for cell in built.cells:
        known = before.get((cell.get("id"), cell.source))
        if known is not None and MEASURES_TIME in cell.metadata.get("tags", []):
            cell.outputs = known.outputs


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)


class Ticker:
    """Shows how far a run is: in a terminal the line moves, elsewhere it is printed once."""

    def __init__(self, title: str):
        self.title, self.begun, self.moves = title, time.perf_counter(), sys.stdout.isatty()
        print(title, end="" if self.moves else " ...\n", flush=True)

    def __call__(self, done: int, total: int) -> None:
        """Cell number `done` of `total` begins."""
        if self.moves:
            seconds = time.perf_counter() - self.begun
            print(f"\r{self.title}: cell {done} of {total}, {seconds:.0f} s ", end="", flush=True)

    def end(self) -> None:
        """Leave the moving line."""
        if self.moves:
            print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
