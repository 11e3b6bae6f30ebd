"""A lesson's script, and the two notebooks it stands for: exercises blank, exercises solved.

The script is in jupytext's percent format. One line stands for an exercise:

    # %% exercise minivl.objectives.contrastive.info_nce

Blank and solution come from that function's own source: a lesson cannot drift from the package.
"""

import ast
import hashlib
import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minivl.course import exercise
from minivl.course.exercise import Exercise
from minivl.errors import UserError

SCRIPTS = Path(__file__).parent / "lessons"
CHECKED = "nbval-check-output"
"""The tag of a cell whose output nbval compares; learners do not see it."""

METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson."""

    role: str
    """text, code, heading (of an exercise), blank or check."""
    source: str
    """As the learner finds it."""
    solved: str
    """As it stands in the solution; differs from `source` in a blank only."""
    line: int
    """Of the script."""
    tags: tuple[str, ...] = ()
    exercise: Exercise | None = None
    id: str = ""

    @property
    def is_text(self) -> bool:
        """Whether it is Markdown."""
        return self.role in ("text", "heading")


@dataclass(frozen=True)
class Lesson:
    """What a script says, with its exercises written out."""

    name: str
    """As its files are called: "05_contrastive"."""
    cells: tuple[Cell, ...]
    registered: tuple[Exercise, ...] = ()
    """What minivl/course/exercises holds for the lesson."""

    @property
    def blanks(self) -> tuple[Cell, ...]:
        """The cells in which something is to be written."""
        return tuple(cell for cell in self.cells if cell.role == "blank")

    def where(self, cell: Cell) -> str:
        """Place of a cell in the script and in the notebook, for a message."""
        number = self.cells.index(cell) + 1
        first = next(iter(cell.source.strip().splitlines()), "")
        start = first if len(first) <= 40 else first[:39] + "…"
        return f"{self.name}.py line {cell.line}, cell {number} ({start})"


def scripts(folder: Path = SCRIPTS) -> dict[str, Path]:
    """Lesson -> its script, in the order of the course."""
    return {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.py"))}


def read(path: Path, exercises: Callable[[str], Sequence[Exercise]] = exercise.of_lesson) -> Lesson:
    """The lesson that a script describes; `exercises("05")` gives those of lesson 05.

    Raises UserError, with the line, for a script that is not made as a lesson must be.
    """
    registered = tuple(exercises(path.stem[:2]))
    cells: list[Cell] = []
    for line, header, raw in _raw_cells(path):
        where = f"{path.name} line {line}"
        words = header.split()
        tags = tuple(raw.metadata.get("tags", ()))
        if words[:1] == ["exercise"]:
            if len(words) != 2 or raw.source.strip():
                raise UserError(
                    f"{where}: an exercise is one line and an empty cell",
                    "write: # %% exercise minivl.module.function",
                )
            cells += _expanded(words[1], registered, where, line)
        elif header or raw.cell_type not in ("markdown", "code"):
            raise UserError(
                f"{where}: a cell cannot be headed {header or raw.cell_type!r}",
                "use `# %%`, `# %% [markdown]` or `# %% exercise minivl.module.function`",
            )
        elif not raw.source.strip():
            raise UserError(f"{where}: the cell is empty", "fill or remove it")
        else:
            role = "text" if raw.cell_type == "markdown" else "code"
            cells.append(Cell(role, raw.source, raw.source, line, tags))
    return Lesson(path.stem, tuple(_with_ids(cells)), registered)


def _raw_cells(path: Path) -> Iterator[tuple[int, str, Any]]:
    """(line, what stands in the header beside kind and tags, jupytext's cell) of each cell."""
    import jupytext

    text = path.read_text(encoding="utf-8")
    raw = jupytext.reads(text, fmt="py:percent").cells
    lines = [n for n, line in enumerate(text.splitlines(), 1) if re.match(r"# %%( |$)", line)]
    if len(raw) != len(lines):
        raise UserError(
            f"{path.name}: something stands before the first cell", "begin it with a `# %%` line"
        )
    for line, cell in zip(lines, raw, strict=True):
        yield line, cell.metadata.get("title", ""), cell


def _expanded(
    target: str, registered: Sequence[Exercise], where: str, line: int
) -> tuple[Cell, Cell, Cell]:
    """An exercise as heading, blank and check."""
    try:
        function = exercise.resolve(target)
    except UserError as error:
        raise UserError(f"{where}: {error.what}", error.remedy) from error
    if not inspect.isfunction(function):
        raise UserError(f"{where}: {target} is not a function", "an exercise is one function")
    found = next((one for one in registered if one.target == target), None)
    if found is None:
        known = ", ".join(one.name for one in registered) or "none"
        raise UserError(
            f"{where}: {target} has no Exercise in this lesson",
            f"add it to the lesson's file in minivl/course/exercises (which has: {known})",
        )
    solution = textwrap.dedent(inspect.getsource(function)).rstrip()
    if function.__doc__ is None:
        raise UserError(f"{where}: {target} has no docstring", "say there what is to be computed")
    title, call = heading(found), f"{found.name} = check({found.name})"
    return (
        Cell("heading", title, title, line, exercise=found),
        Cell("blank", blank(solution), solution, line, exercise=found),
        Cell("check", call, call, line, (CHECKED,), found),
    )


def heading(one: Exercise) -> str:
    """What stands above a blank: number, time, difficulty, source."""
    return (
        f"### Exercise {one.number}: `{one.name}`\n\n"
        f"About {one.minutes} minutes, difficulty {one.difficulty} of 3. {one.source.rstrip('.')}."
    )


def blank(source: str) -> str:
    """A function's signature and docstring, and `...` where its body was."""
    return "\n".join([*source.splitlines()[: _documented(source)], "    ..."])


def answer(source: str) -> str:
    """A function's body, without the docstring."""
    return "\n".join(source.splitlines()[_documented(source) :])


def _documented(source: str) -> int:
    """The number of lines up to the docstring's last one."""
    return ast.parse(source).body[0].body[0].end_lineno


def _with_ids(cells: list[Cell]) -> Iterator[Cell]:
    """The cells with ids that stay as they are when other cells come, go or change."""
    seen: Counter[str] = Counter()
    for cell in cells:
        own = cell.exercise.name if cell.exercise else _fingerprint(cell.source)
        name = f"{cell.role}-{own}"[:56]
        seen[name] += 1
        yield replace(cell, id=name if seen[name] == 1 else f"{name}-{seen[name]}")


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def notebook(lesson: Lesson, *, solved: bool) -> Any:
    """The lesson as a notebook that was never run."""
    from nbformat import from_dict
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    cells = []
    for cell in lesson.cells:
        make = new_markdown_cell if cell.is_text else new_code_cell
        metadata = {"tags": list(cell.tags)} if cell.tags else {}
        source = cell.solved if solved else cell.source
        cells.append(make(source, id=cell.id, metadata=metadata))
    return new_notebook(cells=cells, metadata=from_dict(METADATA), nbformat_minor=5)


def as_text(notebook: Any) -> str:
    """A notebook as its file holds it: one writer, so that equal notebooks are equal bytes."""
    import nbformat

    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"
