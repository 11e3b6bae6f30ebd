"""A script becomes two notebooks, the same bytes each time; what is not right is named."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from lesson_toys import code, good_cells, text
from nbformat.v4 import new_code_cell, new_notebook, new_output

from minivl.course import build, drift, kernel
from minivl.course.lesson import METADATA, as_text, blank, notebook, read
from minivl.errors import UserError

ROOT = Path(__file__).parents[2]


def sources(nb, kind="code"):
    return [cell.source for cell in nb.cells if cell.cell_type == kind]


def test_an_exercise_becomes_heading_blank_and_check(toy):
    lesson = toy.read(["# %% exercise toy.triple"])
    heading, blank_cell, check = notebook(lesson, solved=False).cells
    assert heading.source.startswith("### Exercise 90.2: `triple`")
    assert "5 minutes" in heading.source and "1 of 3" in heading.source
    assert heading.source.endswith("Euclid, equation 1.")
    assert blank_cell.source == (
        "def triple(x: float) -> float:\n"
        '    """Three times x.\n\n    x any number -> a number.\n    """\n'
        "    ..."
    )
    assert check.source == "triple = check(triple)"
    assert check.metadata.tags == ["nbval-check-output"]
    solved = notebook(lesson, solved=True).cells
    assert solved[1].source.endswith("    twice = x * 2\n    return twice + x")
    assert [c.source for c in solved[::2]] == [heading.source, check.source]


def test_the_blank_is_what_the_check_calls_not_done(toy):
    from minivl.course.judging import is_blank

    made = {}
    exec(blank('def f(x):\n    """Doc."""\n    return x\n'), made)
    assert is_blank(made["f"])


def test_comments_of_the_answer_stay_in_the_solution(toy):
    lesson = toy.read(["# %% exercise toy.double"])
    assert "# Why" in notebook(lesson, solved=True).cells[1].source
    assert "# Why" not in notebook(lesson, solved=False).cells[1].source


def test_notebooks_are_valid_without_outputs_and_carry_no_trace_of_jupytext(toy):
    lesson = toy.read(good_cells())
    for solved in (False, True):
        built = as_text(notebook(lesson, solved=solved))
        stored = nbformat.reads(built, as_version=4)
        nbformat.validate(stored)
        assert stored.metadata == METADATA
        assert "jupytext" not in built and "lines_to_next_cell" not in built
        assert not drift.was_run(stored)
        assert as_text(stored) == built


def test_tags_of_a_cell_are_kept(toy):
    lesson = toy.read([code("x = 1", tags=' tags=["nbval-skip"]')])
    assert notebook(lesson, solved=False).cells[0].metadata == {"tags": ["nbval-skip"]}


def test_ids_stay_when_other_cells_come_or_change(toy):
    cells = [text("one"), code("x = 1"), code("x = 1"), "# %% exercise toy.double"]
    before = [cell.id for cell in toy.read(cells).cells]
    assert len(set(before)) == len(before)
    assert before[-2:] == ["blank-double", "check-double"]
    after = [cell.id for cell in toy.read([text("zero"), text("one, changed"), *cells[1:]]).cells]
    assert after[2:] == before[1:]


REFUSED = {
    "no such function": ("# %% exercise toy.dubble", "there is no toy.dubble", "spelling"),
    "no such module": ("# %% exercise tyo.double", "there is no tyo.double", "spelling"),
    "a class": ("# %% exercise toy.Counter", "toy.Counter is not a function", "function"),
    "no Exercise": ("# %% exercise toy.helped", "no Exercise", "double, triple, shifted"),
    "no docstring": ("# %% exercise toy.silent", "no docstring", "computed"),
    "two names": ("# %% exercise toy.double toy.triple", "an exercise is one line", "write:"),
    "something in it": ("# %% exercise toy.double\nx = 1", "an exercise is one line", "write:"),
    "misspelt directive": ("# %% exercice toy.double", "headed 'exercice toy.double'", "exercise"),
    "raw cell": ("# %% [raw]\n# x", "headed 'raw'", "markdown"),
    "empty cell": ("# %%\n", "empty", "remove"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_scripts_that_are_refused(case, toy):
    cell, what, remedy = REFUSED[case]
    toy.renamed("shifted", "silent") if case == "no docstring" else None
    with pytest.raises(UserError) as error:
        toy.read([text("before"), cell, text("after")])
    assert error.value.what.startswith("90_toys.py line 4: ") and what in error.value.what
    assert remedy in error.value.remedy


def test_a_script_begins_with_a_cell(toy):
    with pytest.raises(UserError, match="before the first cell"):
        toy.read(["import json", code("x = 1")])


def test_lessons_are_chosen_by_number_or_name():
    known = {"00_start_here": 0, "05_contrastive": 0}
    for word in ("5", "05", "contrastive", "05_contrastive"):
        assert build.choose([word, word], known) == ["05_contrastive"]
    assert build.choose([], known) == list(known)
    with pytest.raises(UserError) as error:
        build.choose(["contrastiv"], known)
    assert error.value.remedy == "did you mean '05_contrastive'?"
    with pytest.raises(UserError, match="no lesson 'x'"):
        build.choose(["x"], known)


EXTRAS = code(
    "from ipywidgets import IntSlider",
    "print({'a', 'b', 'c', 'd'})",
    "print('more')",
    "IntSlider()",
)
TIMED = code("import time", "print(time.perf_counter())", tags=' tags=["measures-time"]')


@pytest.fixture
def built(toy, capsys):
    """A lesson with a widget, a set and a measured time, built: its two files."""
    cells = [*good_cells(), TIMED, EXTRAS]
    toy.register()
    toy.write(cells)
    toy.build = lambda *arguments: build.main(list(arguments), toy.root, toy.scripts)
    assert toy.build() == 0, capsys.readouterr()
    return [toy.root / folder / "90_toys.ipynb" for folder in drift.FOLDERS]


def test_building_checking_and_drifting(toy, built, capsys):
    out = capsys.readouterr().out
    assert "47 cells, 3 exercises" in out
    assert "running at size tiny" in out and "ran in" in out
    files = [path.read_bytes() for path in built]
    solution = nbformat.read(built[1], as_version=4)
    codes = [cell for cell in solution.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    shown = [cell.outputs[0].text for cell in codes if cell.id.startswith("check-")]
    assert shown == ["✓ double passed\n", "✓ triple passed\n", "✓ shifted passed\n"]
    assert [output.output_type for output in codes[-1].outputs] == ["stream"], "a widget is left"
    assert codes[-1].outputs[0].text.endswith("more\n")
    assert (
        b"widget" not in files[1].replace(b"ipywidgets", b"") and b'"execution": {' not in files[1]
    )
    assert not list(toy.root.rglob("*.unfinished"))

    assert toy.build("--check") == 0
    assert "as they would be built" in capsys.readouterr().out
    assert toy.build() == 0
    assert [path.read_bytes() for path in built] == files, "a second build differs"
    capsys.readouterr()

    cells = [*good_cells(), TIMED, EXTRAS]
    cells[0] = text("# Other toys")
    toy.write(cells)
    shutil.copy(built[0], built[0].with_name("91_gone.ipynb"))
    assert toy.build("--check") == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "make notebooks" in lines[-1]
    assert lines[0].startswith("notebooks/90_toys.ipynb: cell 1 (text-")
    assert lines[1].startswith("solutions/90_toys.ipynb: cell 1 (text-")
    assert all(line.endswith("has another text and id") for line in lines[:2])
    assert lines[2] == "notebooks/91_gone.ipynb: there is no such lesson"
    assert toy.build("--check", "90") == 1
    assert "91_gone" not in capsys.readouterr().out
    assert [path.read_bytes() for path in built] == files, "a check wrote something"


def lesson_and_file(toy, folder):
    """A lesson and its notebook file as built, but not run."""
    lesson = toy.read(good_cells())
    path = toy.root / folder / "90_toys.ipynb"
    build.write(path, as_text(notebook(lesson, solved=folder == "solutions")))
    return lesson, path


def test_drift_of_a_notebook_to_solve(toy):
    lesson, path = lesson_and_file(toy, "notebooks")
    good = path.read_bytes()
    assert list(drift.blank_drift(lesson, toy.root)) == []

    def lines(data):
        path.write_bytes(data)
        found = list(drift.blank_drift(lesson, toy.root))
        assert all(line.startswith("notebooks/90_toys.ipynb: ") for line in found)
        return [line.removeprefix("notebooks/90_toys.ipynb: ") for line in found]

    assert lines(good.replace(b"Twice x.", b"Twice y.")) == [
        "cell 4 (blank-double) has another text"
    ]
    assert lines(good.replace(b'"check-double"', b'"czech-double"')) == [
        "cell 5 (check-double) has another id"
    ]
    assert lines(good.replace(b"nbval-check-output", b"nbval-skip", 1)) == [
        "cell 5 (check-double) has another metadata"
    ]
    assert lines(good + b"\n") == ["the file is laid out differently"]
    assert lines(good.replace(b'"name": "python3"', b'"name": "other"')) == [
        "the notebook's metadata differ"
    ]
    assert lines(good.replace(b'"execution_count": null', b'"execution_count": 1', 1)) == [
        "it has outputs"
    ]
    assert lines(b"{") == ["no notebook"]
    nb = json.loads(good)
    removed = nb["cells"].pop(3)
    assert lines(json.dumps(nb).encode()) == ["cell 4 (blank-double) is missing"]
    nb["cells"].insert(3, removed)
    nb["cells"].insert(0, {**removed, "id": "mine"})
    assert lines(json.dumps(nb).encode()) == ["cell 1 (mine) is not in the lesson"]
    path.unlink()
    assert list(drift.blank_drift(lesson, toy.root)) == ["notebooks/90_toys.ipynb: missing"]


def test_drift_of_a_solution_that_was_not_run(toy):
    lesson, path = lesson_and_file(toy, "solutions")
    lines = list(drift.solution_drift(lesson, toy.root))
    assert len(lines) == len(sources(notebook(lesson, solved=True)))
    assert lines[0].startswith("solutions/90_toys.ipynb: cell 2 (code-")
    assert all(line.endswith("was not run") for line in lines)
    path.write_text(path.read_text().replace("twice + x", "twice - x"))
    lines = list(drift.solution_drift(lesson, toy.root))
    assert lines[0] == "solutions/90_toys.ipynb: cell 15 (blank-triple) has another text"


FAULTY = {
    "not run": ([], None, "x", "was not run"),
    "failed": (
        [new_output("error", ename="NameError", evalue="no x", traceback=[])],
        1,
        "x",
        "failed: NameError: no x",
    ),
    "warning": (
        [new_output("stream", name="stderr", text="careful\nof x")],
        1,
        "x",
        "prints a warning: careful",
    ),
    "wrong": (
        [new_output("stream", name="stdout", text="✗ f: no\n")],
        1,
        "check-f",
        "was not passed: ✗ f: no",
    ),
    "silent check": ([], 1, "check-f", "was not passed: "),
    "address": (
        [new_output("display_data", {"text/plain": "<A at 0x7f0011223344>"})],
        1,
        "x",
        "shows an address, 0x7f0011223344: end the cell with `_ = ...`",
    ),
    "folder": (
        [new_output("stream", name="stdout", text="in /a/b/c\n")],
        1,
        "x",
        "shows a folder of this machine, /a/b",
    ),
}


@pytest.mark.parametrize("case", FAULTY)
def test_faults_of_a_solution(case):
    outputs, count, name, fault = FAULTY[case]
    good = new_code_cell("f()", id="good", execution_count=1)
    good.outputs = [new_output("stream", name="stdout", text="✓ 0x1 is short\n")]
    bad = new_code_cell("f()", id=name, execution_count=count, outputs=outputs)
    found = drift.faults(new_notebook(cells=[good, bad]), private=["/a/b"])
    assert found == [f"cell 2 ({name}) {fault}"]


def test_a_solution_with_a_fault_is_not_written(toy, monkeypatch):
    lesson, path = lesson_and_file(toy, "solutions")
    before = path.read_bytes()
    # Stands in for a kernel: every cell runs, no check is passed.
    monkeypatch.setattr(
        kernel, "run", lambda nb, *_, **__: [c.update(execution_count=1) for c in nb.cells]
    )
    with pytest.raises(UserError, match=r"check-double\) was not passed"):
        build.write_solution(lesson, toy.root)
    assert path.read_bytes() == before


def test_a_notebook_that_was_run_is_not_overwritten(toy, capsys):
    lesson, path = lesson_and_file(toy, "notebooks")
    mine = path.read_text().replace('"execution_count": null', '"execution_count": 7', 1)
    path.write_text(mine)
    toy.register()
    assert build.main(["--no-execute"], toy.root, toy.scripts) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_text() == mine
    assert build.main(["--no-execute", "--force"], toy.root, toy.scripts) == 0
    assert not drift.was_run(drift.read_stored(path))


def test_pieces_of_a_stream_are_joined_and_widgets_leave_their_picture():
    def stream(name, text):
        return new_output("stream", name=name, text=text)

    picture = new_output(
        "display_data", {kernel.WIDGET: {"model_id": "random"}, "text/plain": "w", "image/png": "p"}
    )
    cell = new_code_cell("x", metadata={"execution": {"a": "1"}, "tags": ["b"]})
    cell.outputs = [
        stream("stdout", "a"), stream("stdout", "b"), picture, stream("stdout", "c"),
        stream("stderr", "d"),
        new_output("display_data", {kernel.WIDGET: {"model_id": "other"}, "text/plain": "w"}),
        stream("stderr", "e"),
    ]  # fmt: skip
    nb = new_notebook(cells=[cell], metadata={"language_info": {"name": "python", "version": "3"}})
    kernel.tidy(nb, METADATA)
    assert [o.get("text", o.get("data")) for o in cell.outputs] == [
        "ab", {"text/plain": "w", "image/png": "p"}, "c", "de",
    ]  # fmt: skip
    assert cell.metadata == {"tags": ["b"]} and nb.metadata == METADATA


def test_a_real_function_can_be_an_exercise():
    """Source and docstring of the package's functions are found as the builder needs them."""
    from minivl.course.exercise import every
    from minivl.course.lesson import _expanded

    for one in every():
        _, blank_cell, _ = _expanded(one.target, [one], "here", 1)
        assert blank_cell.source.endswith("    ...") and blank_cell.solved.startswith("def ")


def outside_make():
    """The environment without what a make around the tests adds to what an inner one prints."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


@pytest.fixture
def checkout(tmp_path):
    """commands(*arguments): what `make test` would run in a folder with two notebooks."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "solutions").mkdir()

    def commands(*arguments):
        done = subprocess.run(
            ["make", "-n", *arguments],
            cwd=tmp_path,
            env=outside_make() | {"PYTHON": sys.executable},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.replace("\\\n", " ").splitlines()

    commands.folder = tmp_path
    return commands


@needs_make
def test_make_test_runs_the_notebooks_that_there_are(checkout):
    assert not any("nbval" in line for line in checkout("test"))
    (checkout.folder / "solutions" / "a.ipynb").touch()
    assert "nbval" in checkout("test")[-1] and "solutions/" in checkout("test")[-1]
    assert not any("nbval" in line for line in checkout("test", "ARGS=tests/nn -k attention"))
    assert "pytest" in checkout("test", "ARGS=tests/nn -k x")[-1]
    assert checkout("test", "ARGS=tests/nn -k x")[-1].endswith(" tests/nn -k x")
    assert checkout("notebooks", "ARGS=--check")[-1].endswith("-m minivl.course.build --check")


@needs_make
def test_nbval_passes_a_solution_and_fails_one_with_a_character_changed(checkout, toy):
    """The command that `make test` runs, on a solved toy lesson and on a broken copy of it."""
    lesson = toy.read(good_cells()[:3])
    good = notebook(lesson, solved=True)
    for cell in good.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
        if cell.id == "check-double":
            cell.outputs = [new_output("stream", name="stdout", text="✓ double passed\n")]
    folder = checkout.folder / "solutions"
    (folder / "good.ipynb").write_text(as_text(good))
    (folder / "broken.ipynb").write_text(as_text(good).replace("return x + x", "return x - x"))
    command = (
        checkout("test")[-1].replace(".venv/bin/python", sys.executable).replace("-n 2", "-n 0")
    )
    done = subprocess.run(
        ["sh", "-c", f"{command} -rA"], cwd=checkout.folder, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout + done.stderr
    verdicts = re.findall(r"(PASSED|FAILED) solutions/(\w+)\W+ipynb::Cell (\d)", done.stdout)
    assert sorted(set(verdicts)) == [
        ("FAILED", "broken", "2"),
        *[("PASSED", "broken", number) for number in "01"],
        *[("PASSED", "good", number) for number in "012"],
    ]


def test_read_takes_the_real_exercises_by_the_scripts_number(toy):
    toy.register()
    assert len(read(toy.write(good_cells())).blanks) == 3
