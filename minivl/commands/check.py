"""`minivl check`: grade the exercises of lessons in the terminal."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from minivl.commands.parser import Parser, did_you_mean
from minivl.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minivl.course.grade import Row

DESCRIPTION = """\
Grades your exercises: runs a copy of each notebook from its first cell to its last and lists what
the checks say. Your notebook is only read, and nothing is sent anywhere. Ends with exit code 1 if
an exercise is not passed or a cell fails.
"""

EXAMPLES = """\
examples
  minivl check                     every lesson; about 20 seconds each
  minivl check 05                  lesson 05
  minivl check 05 --size tiny      as large as in the notebook: minutes
  minivl check my_copy.ipynb       any notebook with checks in it
"""

SIZES = ("test", "tiny", "base")
COLOURS = {"passed": "green", "wrong": "red", "error": "red", "not checked": "red"}
HEADINGS = ("lesson", "exercise", "state", "message")


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = Parser("check", DESCRIPTION, EXAMPLES)
    parser.add_argument("notebooks", nargs="*", metavar="LESSON|FILE", help="such as 05 (all)")
    parser.add_argument("--solutions", action="store_true", help="grade minivl's own solutions")
    parser.add_argument("--size", choices=SIZES, default="test", help="how large to train (test)")
    chosen = parser.parse_args(arguments)
    folder = find_repository(Path.cwd()) / ("solutions" if chosen.solutions else "notebooks")
    paths = [path for word in chosen.notebooks or [""] for path in find_notebooks(word, folder)]
    from minivl.course.grade import grade  # takes seconds: it imports torch

    rows: list[Row] = []
    for number, path in enumerate(dict.fromkeys(paths), 1):
        with Showing(f"{path.stem} ({number} of {len(paths)})") as showing:
            rows += grade(path, chosen.size, showing.cell)
    print_rows(rows)
    return int(not all(row.good for row in rows))


def find_repository(start: Path) -> Path:
    """The repository that a folder is in; that of this package, if it is in none."""
    for folder in (start, *start.parents):
        if (folder / "minivl" / "course").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return Path(__file__).resolve().parents[2]


def find_notebooks(word: str, folder: Path) -> list[Path]:
    """A file, a lesson's notebook in `folder`, or for no word all of them."""
    known = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not word and not known:
        raise UserError(f"there are no lessons in {folder}", "make them: make notebooks")
    if not word:
        return list(known.values())
    if Path(word).is_file():
        return [Path(word).resolve()]
    short = {form: path for name, path in known.items() for form in (name, name[:2], name[3:])}
    path = short.get(word.removesuffix(".ipynb")) or short.get(word.zfill(2))
    if path is None:
        what = "notebook" if word.endswith(".ipynb") else "lesson"
        raise UserError(f"there is no {what} {word!r}", did_you_mean(word, known))
    return [path]


class Showing:
    """Says on stderr which notebook runs, and in a terminal which of its cells."""

    def __init__(self, title: str):
        self.title, self.begun, self.moves = title, time.perf_counter(), sys.stderr.isatty()

    def __enter__(self) -> "Showing":
        self._say(f"checking {self.title} ...", "" if self.moves else "\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self.moves:
            self._say("\r\x1b[K", "")

    def cell(self, done: int, total: int) -> None:
        """Cell `done` of `total` begins."""
        if self.moves:
            seconds = time.perf_counter() - self.begun
            where = f"cell {done} of {total}, {seconds:.0f} s"
            self._say(f"\r\x1b[Kchecking {self.title}: {where}", "")

    def _say(self, text: str, end: str) -> None:
        print(text, end=end, file=sys.stderr, flush=True)


def print_rows(rows: "Iterable[Row]") -> None:
    """The table, drawn in a terminal and plain elsewhere, and one line that sums it up."""
    rows = list(rows)
    cells = [(row.lesson, row.place, row.state, " ".join(row.message.split())) for row in rows]
    if sys.stdout.isatty():
        print_drawn(cells)
    else:
        widths = [max(map(len, column)) for column in zip(HEADINGS, *cells, strict=True)]
        for line in (HEADINGS, *cells):
            print("  ".join(f"{c:{w}}" for c, w in zip(line, widths, strict=True)).rstrip())
    exercises = [row for row in rows if row.state != "error"]
    passed = sum(row.good for row in exercises)
    failed = len(rows) - len(exercises)
    more = f", {failed} cell{'s' if failed > 1 else ''} failed" if failed else ""
    print(f"\n{passed} of {len(exercises)} exercises passed{more}")


def print_drawn(cells: list[tuple[str, ...]]) -> None:
    """The table with lines and colours; long messages wrap within their column."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*HEADINGS)
    for lesson, place, state, message in cells:
        table.add_row(lesson, place, Text(state, COLOURS.get(state, "yellow")), Text(message))
    Console().print(table)
