"""What an exercise is: a function of the package, what must hold for it, how people go wrong."""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minivl.errors import UserError

LESSONS = {
    "00": "lesson_00",
    "01": "lesson_01",
    "02": "lesson_02",
    "03": "lesson_03",
    "04": "lesson_04",
    "05": "lesson_05",
    "06": "lesson_06",
    "07": "lesson_07",
    "08": "lesson_08",
    "09": "lesson_09",
    "10": "lesson_10",
}
"""Lesson -> module in minivl/course/exercises."""


@dataclass(frozen=True)
class Case:
    """One call: fresh arguments, and what must come back."""

    title: str
    """Reads well after "failed at: "."""
    make: Callable[[], tuple]
    """Positional arguments, new ones at every call."""
    expected: Any = None
    """Worked by hand: what minivl's own function must compute, which a test holds."""
    gradient: tuple[int, ...] = ()
    """Positions of the arguments that must receive the right gradient."""
    constant: tuple[int, ...] = ()
    """Positions of the arguments that no gradient may reach."""


@dataclass(frozen=True)
class Property:
    """A promise that a single call cannot show."""

    title: str
    holds: Callable[[Callable], str | None]
    """Given the function: None, or why not (input, expected, got)."""


@dataclass(frozen=True)
class Variant:
    """A wrong version that people write, and why it is wrong."""

    name: str
    function: Callable
    message: str
    """Names the misconception, and what to think of instead."""


@dataclass(frozen=True)
class Exercise:
    """One blank of a lesson."""

    target: str
    """The function of the package that the learner writes: module.name."""
    number: str
    """Lesson and place in it: "05.2"."""
    minutes: int
    difficulty: int
    """1 to 3."""
    source: str
    """Paper and equation."""
    hints: tuple[str, str, str]
    """Each tells more than the one before."""
    checks: tuple[Case | Property, ...]
    """In the order in which they are asked; the case worked by hand first."""
    variants: tuple[Variant, ...]
    """The more common ones first."""
    fast_twins: tuple[str, ...] = ()
    """Functions of the package that compute the same faster: `plugged` replaces them too."""
    call: Callable[..., Any] | None = None
    """call(function, *arguments) -> result, where a plain call is not enough."""

    @property
    def name(self) -> str:
        """The function's name."""
        return self.target.rpartition(".")[2]

    @property
    def lesson(self) -> str:
        """The lesson's number: "05"."""
        return self.number.partition(".")[0]

    @property
    def function(self) -> Callable:
        """The package's own function, also while a learner's is plugged in."""
        return _original(self.target)

    @property
    def cases(self) -> tuple[Case, ...]:
        """The checks that are calls."""
        return tuple(check for check in self.checks if isinstance(check, Case))

    @property
    def properties(self) -> tuple[Property, ...]:
        """The checks that are promises."""
        return tuple(check for check in self.checks if isinstance(check, Property))

    def result(self, function: Callable, arguments: tuple) -> Any:
        """What the function makes of the arguments."""
        return self.call(function, *arguments) if self.call else function(*arguments)


def resolve(path: str) -> Any:
    """The object that "package.module.name" names. UserError if there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"there is no {path}", "check the name's spelling") from error


@functools.cache  # asked for before anything is plugged in, remembered while it is
def _original(path: str) -> Callable:
    return resolve(path)


def of_lesson(lesson: str) -> tuple[Exercise, ...]:
    """The exercises of a lesson, in its order; none for a lesson without any."""
    if lesson not in LESSONS:
        return ()
    return importlib.import_module(f"minivl.course.exercises.{LESSONS[lesson]}").EXERCISES


def every() -> tuple[Exercise, ...]:
    """All exercises of the course, in its order."""
    return tuple(exercise for lesson in LESSONS for exercise in of_lesson(lesson))


def find(name: str) -> Exercise:
    """The exercise whose function has this name. UserError, with the nearest name, if none has."""
    exercises = {exercise.name: exercise for exercise in every()}
    if name not in exercises:
        import difflib

        near = difflib.get_close_matches(name, exercises, 1) or [", ".join(exercises)]
        raise UserError(f"no exercise is called {name!r}", f"did you mean {near[0]}?")
    return exercises[name]
