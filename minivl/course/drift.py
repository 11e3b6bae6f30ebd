"""Says in which files and cells notebooks/ and solutions/ differ from what the lessons build."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Any

from minivl.course.lesson import Lesson, as_text, notebook

FOLDERS = ("notebooks", "solutions")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


def all_drift(lessons: Sequence[Lesson], root: Path, *, complete: bool = True) -> list[str]:
    """One line for each difference; with `complete`, also for notebooks without a lesson."""
    lines = [
        line
        for lesson in lessons
        for line in (*blank_drift(lesson, root), *solution_drift(lesson, root))
    ]
    if complete:
        names = {lesson.name for lesson in lessons}
        for folder in FOLDERS:
            for path in sorted((root / folder).glob("*.ipynb")):
                if path.stem not in names:
                    lines.append(f"{folder}/{path.name}: there is no such lesson")
    return lines


def blank_drift(lesson: Lesson, root: Path) -> Iterator[str]:
    """How the notebook to be solved differs, byte for byte."""
    name = f"notebooks/{lesson.name}.ipynb"
    built = notebook(lesson, solved=False)
    if not (root / name).exists():
        yield f"{name}: missing"
    elif (root / name).read_bytes() != as_text(built).encode():
        stored = read_stored(root / name)
        lines = ["no notebook"] if stored is None else list(_differences(built, stored))
        rest = "it has outputs" if was_run(stored) else "the file is laid out differently"
        yield from (f"{name}: {line}" for line in lines or [rest])


def solution_drift(lesson: Lesson, root: Path) -> Iterator[str]:
    """How the solved notebook differs, outputs left out, and what is wrong with its outputs."""
    name = f"solutions/{lesson.name}.ipynb"
    if not (root / name).exists():
        yield f"{name}: missing"
        return
    stored = read_stored(root / name)
    lines = ["no notebook"]
    if stored is not None:
        lines = [*_differences(notebook(lesson, solved=True), stored), *faults(stored)]
    yield from (f"{name}: {line}" for line in lines)


def faults(stored: Any, private: Sequence[str] = ()) -> list[str]:
    """What is wrong with a solution that was run, one line each.

    A cell that did not run or failed, a check that was not passed, and outputs that another
    machine would write differently: warnings, addresses, folders named in `private`.
    """
    found = []
    for number, cell in enumerate(stored.cells, 1):
        if cell.cell_type == "code":
            fault = _fault(cell, private)
            found += [f"cell {number} ({cell.id}) {fault}"] if fault else []
    return found


def _fault(cell: Any, private: Sequence[str]) -> str:
    for output in cell.outputs:
        if output.output_type == "error":
            return f"failed: {output.ename}: {_first_line(output.evalue)}"
        if output.get("name") == "stderr":
            return f"prints a warning: {_first_line(output.text)}"
    if not cell.execution_count:
        return "was not run"
    shown = "".join(_texts(cell))
    if cell.id.startswith("check-") and not shown.startswith("✓"):
        return f"was not passed: {_first_line(shown)}"
    if found := ADDRESS.search(shown):
        return f"shows an address, {found[0]}: end the cell with `_ = ...`"
    if found := next((folder for folder in private if f"{folder}/" in shown), None):
        return f"shows a folder of this machine, {found}"
    return ""


def _texts(cell: Any) -> Iterator[str]:
    for output in cell.outputs:
        if "text" in output:
            yield output.text
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield data


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def was_run(stored: Any) -> bool:
    """Whether a notebook has outputs or counts, which a built one to be solved never has."""
    codes = [cell for cell in stored.cells if cell.cell_type == "code"] if stored else []
    return any(cell.outputs or cell.execution_count for cell in codes)


def read_stored(path: Path) -> Any:
    """A notebook file's notebook; None if it is none."""
    import nbformat

    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (ValueError, AttributeError, KeyError, nbformat.ValidationError):
        return None


def _differences(built: Any, stored: Any) -> Iterator[str]:
    """Where a stored notebook's cells and metadata are not the built one's."""
    ours, theirs = ([_essence(cell) for cell in nb.cells] for nb in (built, stored))
    for kind, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        for own, other in zip_longest(range(a, b), range(c, d)):
            if own is None:
                yield f"cell {other + 1} ({stored.cells[other].get('id')}) is not in the lesson"
            elif other is None:
                yield f"cell {own + 1} ({built.cells[own].id}) is missing"
            else:
                fields = ("kind", "text", "id", "metadata")
                pairs = zip(fields, ours[own], theirs[other], strict=True)
                what = " and ".join(field for field, one, two in pairs if one != two)
                yield f"cell {other + 1} ({built.cells[own].id}) has another {what}"
    if built.metadata != stored.metadata or built.nbformat_minor != stored.nbformat_minor:
        yield "the notebook's metadata differ"


def _essence(cell: Any) -> tuple[str, str, str, str]:
    """What a cell is, without what it put out."""
    metadata = repr(sorted(cell.metadata.items()))
    return cell.cell_type, cell.source, cell.get("id", ""), metadata
