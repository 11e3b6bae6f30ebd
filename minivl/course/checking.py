"""What a notebook calls: `check` a function, ask for a `hint`, look at one's `progress`."""

import json
import os
import textwrap
from collections.abc import Callable

from minivl.course.compare import kind
from minivl.course.exercise import Case, Exercise, every, find
from minivl.course.judging import Verdict, judge
from minivl.errors import UserError

__all__ = ["NotPassed", "Verdict", "check", "hint", "judge", "progress"]

OWN_VERSION = "  minivl's own version is used below."


class NotPassed(AssertionError):
    """Raised by `check` in place of going on, where MINIVL_STRICT is 1."""


class Session:
    """What this kernel has seen: hints given and states reached, by exercise."""

    def __init__(self) -> None:
        self.hints: dict[str, int] = {}
        self.states: dict[str, str] = {}


SESSION = Session()


def check(function: Callable) -> Callable:
    """Print a verdict on a learner's function; return it if it passed, else minivl's own.

    With MINIVL_STRICT=1 a function that did not pass raises NotPassed. With MINIVL_CHECK_REPORT
    set to a file's name, each call adds a line of JSON to the file.
    """
    try:
        exercise = find(_name(function))
    except UserError as error:
        print(f"✗ {error.what}: {error.remedy}")
        return function
    if function is exercise.function:
        print(f"… {exercise.name}: this is minivl's own. Run the cell with your function first.")
        return function
    verdict = judge(function, exercise)
    SESSION.states[exercise.name] = verdict.state
    text = told(verdict, exercise)
    print(text)
    _report(verdict, exercise)
    if verdict.state == "passed":
        return function
    if os.environ.get("MINIVL_STRICT", "0") not in ("", "0"):
        raise NotPassed(text)
    return exercise.function


def told(verdict: Verdict, exercise: Exercise) -> str:
    """A verdict in words."""
    name = exercise.name
    if verdict.state == "not done":
        return f"… {name}: not done yet.\n  Hint 1 of 3: {exercise.hints[0]}\n{OWN_VERSION}"
    notes = [f"  It prints: {line}" for line in verdict.printed.splitlines()[:3]]
    if verdict.state == "passed":
        shown = textwrap.fill(proven(exercise), 88, initial_indent="  ", subsequent_indent="  ")
        return "\n".join([f"✓ {name} passed {len(exercise.checks)} checks:", shown, *notes])
    lines = [f"✗ {name}: {verdict.title}", *(f"  {line}" for line in verdict.lines)]
    if verdict.message:
        lines.append(f"  {verdict.message}")
    return "\n".join([*lines, *notes, OWN_VERSION])


def proven(exercise: Exercise) -> str:
    """What a function that passed has shown: the titles of its checks, and its gradients."""
    titles = [one.title for one in exercise.checks]
    if any(isinstance(one, Case) and one.gradient for one in exercise.checks):
        titles.append("gradient")
    return "; ".join(titles)


def hint(function: Callable | str) -> None:
    """Print the next hint of an exercise; after the third, all three."""
    try:
        exercise = find(function if isinstance(function, str) else _name(function))
    except UserError as error:
        print(f"✗ {error.what}: {error.remedy}")
        return
    given = SESSION.hints.get(exercise.name, 0)
    SESSION.hints[exercise.name] = given + 1
    numbers = range(3) if given >= 3 else (given,)
    for number in numbers:
        print(f"{exercise.name}, hint {number + 1} of 3: {exercise.hints[number]}")


def progress() -> None:
    """Print the exercises of this session's lessons and what became of them."""
    lessons = {one.lesson for one in every() if one.name in SESSION.states}
    marks = {"passed": "✓", "wrong": "✗"}
    for one in every():
        if one.lesson in lessons:
            state = SESSION.states.get(one.name, "not run")
            print(f"{marks.get(state, '…')} {one.number}  {one.name:24} {state}")


def _name(function: object) -> str:
    name = getattr(function, "__name__", None)
    if not callable(function) or name is None:
        what = function if isinstance(function, str) else kind(function)
        raise UserError(f"check wants a function, got {what}", "pass the function itself")
    return name


def _report(verdict: Verdict, exercise: Exercise) -> None:
    file = os.environ.get("MINIVL_CHECK_REPORT")
    if not file:
        return
    line = {
        "lesson": exercise.lesson,
        "number": exercise.number,
        "exercise": exercise.name,
        "state": verdict.state,
        "message": verdict.message
        or verdict.title
        or ("" if verdict.state == "passed" else f"hint: {exercise.hints[0]}"),
    }
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
