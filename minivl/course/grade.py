"""Grades a notebook: runs a copy of it from the top and notes what each check says.

The notebook itself is only read. Nothing is sent anywhere.
"""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivl.course import kernel
from minivl.course.drift import read_stored
from minivl.course.exercise import of_lesson
from minivl.course.lesson import scripts
from minivl.errors import UserError

SECONDS = 300
"""What one cell may take."""

CHECK = re.compile(r"^(?:\w+\s*=\s*)?check\(\s*(\w+)\s*\)", re.M)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Row:
    """What there is to say of one exercise, or of one cell that failed."""

    lesson: str
    place: str
    """ "05.2 info_nce", or "cell 14"."""
    state: str
    """passed, wrong, not done, not checked; error for a cell."""
    message: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is left to do here."""
        return self.state == "passed"


def grade(
    path: Path,
    size: str = "test",
    progress: kernel.Progress = lambda done, total: None,
    *,
    seconds: int = SECONDS,
) -> list[Row]:
    """Run a copy of a notebook, outputs cleared, in the notebook's folder; a row an exercise.

    Cells that fail have rows of their own, after the exercises. Raises UserError for a file that
    is no notebook.
    """
    notebook = read_stored(path)
    if notebook is None:
        raise UserError(f"{path} is not a notebook", "restore it, or name another file")
    cleared(notebook)
    died = ""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        variables = {"MINIVL_SIZE": size, "MINIVL_CHECK_REPORT": str(report)}
        try:
            kernel.run(notebook, path.parent, variables, progress, seconds=seconds)
        except kernel.KernelDied as error:
            died, cell = f"{error.what}; {error.remedy}", error.cell
        verdicts = read_report(report)
    errors = failed_cells(path.stem, notebook, seconds)
    if died:
        errors.append(Row(path.stem, f"cell {cell}", "error", died))
    return [*exercise_rows(path.stem, notebook, verdicts, errors), *errors]


def cleared(notebook: Any) -> None:
    """Take out what an earlier run left, so that only this run is graded."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def read_report(report: Path) -> dict[str, dict[str, str]]:
    """Exercise -> what its last check wrote."""
    if not report.exists():
        return {}
    lines = map(json.loads, report.read_text(encoding="utf-8").splitlines())
    return {line["exercise"]: line for line in lines}


def exercise_rows(
    lesson: str, notebook: Any, verdicts: dict[str, dict[str, str]], errors: list[Row]
) -> list[Row]:
    """A row an exercise: those of the lesson, and whatever else the notebook checks."""
    expected = of_lesson(lesson[:2]) if lesson in scripts() else ()
    numbers = {one.name: one.number for one in expected}
    numbers |= {name: line["number"] for name, line in verdicts.items()}
    codes = (cell.source for cell in notebook.cells if cell.cell_type == "code")
    checked = [name for source in codes for name in CHECK.findall(source)]
    rows = []
    for name in dict.fromkeys([*numbers, *checked]):
        place = f"{numbers.get(name, '')} {name}".strip()
        if verdict := verdicts.get(name):
            passed = verdict["state"] == "passed"
            message = "" if passed else verdict["message"]
            rows.append(Row(lesson, place, verdict["state"], message))
        else:
            why = "its check did not run" if name in checked else "its check is not in the notebook"
            because = f"; {errors[0].place} failed first" if errors else ""
            rows.append(Row(lesson, place, "not checked", why + because))
    return sorted(rows, key=lambda row: row.place)


def failed_cells(lesson: str, notebook: Any, seconds: int) -> list[Row]:
    """A row for each cell that ended in an error."""
    rows = []
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                message = COLOURS.sub("", f"{output.ename}: {output.evalue}").strip()
                if output.ename == "KeyboardInterrupt":
                    message = f"took longer than {seconds} s"
                rows.append(Row(lesson, f"cell {number}", "error", message))
    return rows
