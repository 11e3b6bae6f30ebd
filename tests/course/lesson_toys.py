"""A toy package with functions to write, and a toy lesson that keeps every rule."""

import sys
import types
from dataclasses import replace

import pytest

from minivl.course import exercise
from minivl.course.exercise import Case, Exercise, Variant, find
from minivl.course.lesson import read

PACKAGE = '''\
"""Functions to write, and a small `check` that needs no torch."""

import json
import os

SHIFT = 3
KNOWN = {2: 4, 3: 9, 5: 8}


def double(x: float) -> float:
    """Twice x."""
    # Why: an addition is enough.
    return x + x


def triple(x: float) -> float:
    """Three times x.

    x any number -> a number.
    """
    twice = x * 2
    return twice + x


def shifted(x: float) -> float:
    """x and three more."""
    return float(sum([x, 1, 1, 1]))


def helped(x: float) -> float:
    """x and SHIFT."""
    return double(x) - x + SHIFT


def long(x: float) -> float:
    """x, by a long way."""
LONG    return x


def silent(x):
    return x


class Counter:
    """No function."""


def check(function):
    """Prints and reports as the course's check does."""
    name = function.__name__
    results = {"double": (2, 4), "triple": (2, 6), "shifted": (2, 5)}
    given, expected = results[name]
    got = function(given)
    state = "passed" if got == expected else "not done" if got is None else "wrong"
    print({"passed": "✓", "wrong": "✗", "not done": "…"}[state], name, state)
    if file := os.environ.get("MINIVL_CHECK_REPORT"):
        line = {"lesson": "90", "number": "90.1", "exercise": name, "state": state}
        with open(file, "a") as lines:
            lines.write(json.dumps(line | {"message": f"expected {expected}, got {got}"}) + "\\n")
    return function if state == "passed" else globals()[name]
'''.replace("LONG", "".join(f"    x = x + {n} - {n}\n" for n in range(16)))


def an_exercise(name, number, results):
    return Exercise(
        target=f"toy.{name}",
        number=number,
        minutes=5,
        difficulty=1,
        source="Euclid, equation 1",
        hints=("Try.", "Add.", "Add twice."),
        checks=(Case("two, by hand", lambda: (2.0,), results),),
        variants=(Variant("zero", lambda x: x * 0, "Zero is not much."),),
    )


class World:
    """Everything that a test of the builder needs, away from the real lessons."""

    def __init__(self, folder, monkeypatch):
        self.root, self.scripts = folder / "repository", folder / "lessons"
        self.scripts.mkdir()
        (self.root / "minivl" / "course").mkdir(parents=True)
        package = folder / "package"
        package.mkdir()
        (package / "toy.py").write_text(PACKAGE)
        monkeypatch.syspath_prepend(package)
        monkeypatch.delitem(sys.modules, "toy", raising=False)
        monkeypatch.setenv("PYTHONPATH", str(package))
        exercise._original.cache_clear()
        self.package, self.monkeypatch = package, monkeypatch
        self.registered = [
            an_exercise("double", "90.1", 4.0),
            an_exercise("triple", "90.2", 6.0),
            an_exercise("shifted", "90.3", 5.0),
        ]

    def register(self):
        """Make the toys known as lesson 90 to whoever asks the course."""
        module = types.SimpleNamespace(EXERCISES=tuple(self.registered))
        self.monkeypatch.setitem(sys.modules, "minivl.course.exercises.toys", module)
        self.monkeypatch.setitem(exercise.LESSONS, "90", "toys")

    def write(self, cells, name="90_toys"):
        path = self.scripts / f"{name}.py"
        path.write_text("\n\n".join(cells) + "\n", encoding="utf-8")
        return path

    def read(self, cells, name="90_toys"):
        return read(self.write(cells, name), lambda number: self.registered)

    def renamed(self, old, new):
        """Put another function in the place of an exercise."""
        self.registered = [
            replace(one, target=f"toy.{new}") if one.name == old else one for one in self.registered
        ]


def text(*lines):
    return "# %% [markdown]\n" + "\n".join(f"# {line}" for line in lines)


def code(*lines, tags=""):
    return "\n".join([f"# %%{tags}", *lines])


def words(count, word="word"):
    return " ".join([word] * count)


IMPORTS = code("from toy import check")


def good_cells():
    """45 cells, some 1,300 words, three exercises, six short cells of code."""
    cells = [text("# Toys"), IMPORTS]
    for number, name in enumerate(("double", "triple", "shifted")):
        cells.append(f"# %% exercise toy.{name}")
        cells += [text(words(70)), text(words(20))] * 2
        cells.append(code(f"value_{number} = {name}({number})", f"print(value_{number})"))
        cells += [text(words(70)), text(words(20))]
        cells.append(code(f"_ = value_{number} + 1"))
    cells += [text(words(70)), text(words(20))] * 5
    return cells


def pairs(table):
    """Parameters of a test: each exercise of a table beside each of its answers."""
    return [
        pytest.param(find(name), answer, id=answer.__name__)
        for name, answers in table.items()
        for answer in answers
    ]
