"""notebooks/ and solutions/ are what `make notebooks` builds from the lessons; nothing is run here.

Answers that you wrote into notebooks/ make this fail too; `minivl check` grades them.
"""

import functools
from pathlib import Path

import pytest

from minivl.course import drift, rules
from minivl.course.lesson import read, scripts

ROOT = Path(__file__).parents[2]
SCRIPTS = scripts()


@functools.cache
def lesson(name):
    return read(SCRIPTS[name])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_lesson_keeps_every_rule(name):
    assert not [f"{problem.where}: {problem.what}" for problem in rules.broken(lesson(name))]


@pytest.mark.parametrize("name", SCRIPTS)
def test_notebook_and_solution_are_what_the_lesson_builds(name):
    assert not drift.all_drift([lesson(name)], ROOT, complete=False)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_lesson_shows_the_answer_to_anothers_exercise(name):
    for other in SCRIPTS:
        assert not list(rules.shown_answers(lesson(name), lesson(other).blanks))


def test_every_notebook_has_a_lesson():
    stored = {path.stem for folder in drift.FOLDERS for path in (ROOT / folder).glob("*.ipynb")}
    assert stored <= set(SCRIPTS)
