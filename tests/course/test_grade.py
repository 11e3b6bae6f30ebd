"""`minivl check`: the checks' verdicts become a table and an exit code; a notebook is only read."""

import io
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import nbformat
import pytest
from lesson_toys import code, good_cells
from nbformat.v4 import new_output

from minivl import cli
from minivl.commands import check
from minivl.course import drift
from minivl.course.grade import Row, grade
from minivl.course.lesson import as_text, notebook
from minivl.errors import UserError


@pytest.fixture
def lesson(toy):
    """notebook(solved, change) -> the toy lesson's file, its text changed."""
    toy.register()
    cells = [cell for cell in good_cells() if not cell.startswith("# %% [markdown]")]

    def make(*, solved, cells=cells, name="90_toys", folder="notebooks"):
        toy.root.joinpath(folder).mkdir(exist_ok=True)
        path = toy.root / folder / f"{name}.ipynb"
        path.write_text(as_text(notebook(toy.read(cells), solved=solved)))
        return path

    make.root, make.cells = toy.root, cells
    return make


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_solved_passes_and_one_character_makes_it_wrong(lesson, capsys, monkeypatch):
    path = lesson(solved=True)
    monkeypatch.chdir(lesson.root / "minivl" / "course")
    assert cli.main(["check", "90"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["lesson", "exercise", "state", "message"]
    assert out.splitlines()[1].split() == ["90_toys", "90.1", "double", "passed"]
    assert out.endswith("\n3 of 3 exercises passed\n")

    rewrite(path, "return x + x", "return x * x - x")
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert cli.main(["check", "toys"]) == 1
    out = capsys.readouterr().out
    assert "90.1 double   wrong   expected 4, got 2" in out
    assert out.endswith("\n2 of 3 exercises passed\n")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [p.name for p in path.parent.iterdir()] == ["90_toys.ipynb"]


def test_the_courses_own_check_and_every_state(lesson, toy):
    """The real `check` in a real kernel: passed, wrong, not done, and a cell that fails."""
    (toy.package / "real_toys.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(toy.scripts.parent)!r})\n"
        "from lesson_toys import an_exercise\n"
        "from minivl.course import exercise\n"
        "sys.modules['minivl.course.exercises.toys'] = sys.modules[__name__]\n"
        "exercise.LESSONS.clear()\n"
        "exercise.LESSONS['90'] = 'toys'\n"
        "EXERCISES = tuple(an_exercise(n, f'90.{i}', r) for i, (n, r) in enumerate(\n"
        "    [('double', 4.0), ('triple', 6.0), ('shifted', 5.0)], 1))\n"
    )
    shutil.copy(Path(__file__).with_name("lesson_toys.py"), toy.scripts.parent)
    cells = [code("import real_toys", "from minivl.course import check"), *lesson.cells[1:]]
    path = lesson(solved=False, cells=cells)
    nb = nbformat.read(path, as_version=4)
    blanks = {cell.id: cell for cell in nb.cells}
    blanks["blank-double"].source = "def double(x):\n    return x * 2"
    blanks["blank-triple"].source = "def triple(x):\n    return x * 0"
    for cell in nb.cells:  # what an earlier run left must not count
        if cell.cell_type == "code":
            cell.execution_count = 5
            cell.outputs = [new_output("error", ename="Old", evalue="error", traceback=[])]
    nb.cells[-1].source = "raise ValueError('the last cell')"
    nbformat.write(nb, path)
    rows = grade(path)
    assert [(row.place, row.state) for row in rows] == [
        ("90.1 double", "passed"),
        ("90.2 triple", "wrong"),
        ("90.3 shifted", "not done"),
        (f"cell {len(nb.cells)}", "error"),
    ]
    assert rows[1].message == "Zero is not much."
    assert rows[3].message == "ValueError: the last cell"


def test_a_loop_without_end_and_a_kernel_that_dies(lesson):
    cells = [
        code("from toy import check, double, triple"),
        code("while True:", "    pass"),
        code("_ = triple = check(triple)", "triple = check(triple)"),
        code("import os", "os._exit(1)"),
        code("double = check(double)"),
    ]
    path = lesson(solved=False, cells=cells, name="loop")
    seen = []
    rows = grade(path, progress=lambda done, total: seen.append((done, total)), seconds=2)
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5)]
    assert [(row.place, row.state) for row in rows] == [
        ("90.1 triple", "passed"),
        ("double", "not checked"),
        ("cell 2", "error"),
        ("cell 4", "error"),
    ]
    assert rows[1].message == "its check did not run; cell 2 failed first"
    assert rows[2].message == "took longer than 2 s"
    assert "the kernel died" in rows[3].message


def test_the_kernel_works_in_the_notebooks_folder_at_the_asked_size(lesson, monkeypatch, capsys):
    monkeypatch.setenv("MINIVL_STRICT", "1")
    cells = [
        code("import os", "from pathlib import Path"),
        code("assert Path('beside.txt').exists()", "assert Path('../minivl').exists()"),
        code(
            "assert os.environ['MINIVL_SIZE'] == 'tiny'", "assert 'MINIVL_STRICT' not in os.environ"
        ),
    ]
    path = lesson(solved=False, cells=cells, name="mine")
    (path.parent / "beside.txt").touch()
    monkeypatch.chdir(path.parent)
    assert cli.main(["check", "mine.ipynb", "--size", "tiny"]) == 0
    assert "0 of 0 exercises" in capsys.readouterr().out


def test_ctrl_c_ends_the_run_and_its_kernel(lesson):
    cells = [
        code("import os", "import signal", "import time", "from pathlib import Path"),
        code("_ = Path('kernel').write_text(str(os.getpid()))"),
        code("os.kill(os.getppid(), signal.SIGINT)", "time.sleep(60)"),
    ]
    path = lesson(solved=False, cells=cells, name="mine")
    with pytest.raises(KeyboardInterrupt):
        grade(path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((path.parent / "kernel").read_text()), 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_kernel_that_does_not_start_says_why(lesson, toy):
    (toy.package / "ipykernel_launcher.py").write_text("raise SystemExit('no such thing')\n")
    with pytest.raises(UserError, match="no Jupyter kernel starts: no such thing") as error:
        grade(lesson(solved=False))
    assert "minivl doctor" in error.value.remedy


def failure(capsys, *arguments):
    code = cli.main(["check", *arguments])
    return code, capsys.readouterr().err.splitlines()


def test_mistakes_name_what_is_near(lesson, capsys, monkeypatch, tmp_path):
    path = lesson(solved=False)
    monkeypatch.chdir(lesson.root)
    assert failure(capsys, "90_tois") == (
        2,
        ["minivl: there is no lesson '90_tois'", "  -> did you mean '90_toys'?"],
    )
    assert failure(capsys, "90_tois.ipynb")[1][0].endswith("no notebook '90_tois.ipynb'")
    assert failure(capsys, "--size", "tyni")[1][1] == "  -> did you mean 'tiny'?"
    assert failure(capsys, "--solutions")[1][0].startswith("minivl: there are no lessons in")
    path.write_text("{")
    code, lines = failure(capsys, str(path))
    assert code == 2 and "is not a notebook" in lines[-2]


def test_all_lessons_and_solutions_are_found_from_anywhere_in_the_repository(lesson):
    paths = [lesson(solved=False, folder=folder) for folder in drift.FOLDERS]
    inside = lesson.root / "minivl" / "course"
    assert check.find_repository(inside) == lesson.root
    for folder, path in zip(drift.FOLDERS, paths, strict=True):
        for word in ("", "90", "toys", "90_toys", "90_toys.ipynb"):
            assert check.find_notebooks(word, lesson.root / folder) == [path]


def test_outside_of_any_repository_it_is_the_packages_own(tmp_path):
    assert (check.find_repository(tmp_path) / "minivl" / "commands" / "check.py").is_file()


def test_the_table_in_a_terminal_wraps_messages(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "60")
    long = "a message with [brackets] that is longer than a line of a terminal " * 2
    check.print_rows([Row("90_toys", "90.1 double", "wrong", long), Row("x", "cell 3", "error")])
    out = re.sub(r"\x1b\[[\d;]*m", "", sys.stdout.getvalue())
    assert "[brackets]" in out and "0 of 1 exercises passed, 1 cell failed" in out
    assert "90.1 double" in out and max(map(len, out.splitlines())) <= 60
