"""How long each exercise keeps a learner waiting: `python -m minivl.course.timings`.

For maintainers. A check should answer well below five seconds on a slow laptop, a mistake too:
its verdict compares the function with every known wrong version.
"""

import time

from rich.console import Console
from rich.table import Table

from minivl.course.exercise import Exercise, every
from minivl.course.judging import judge

PATIENCE = 5.0
"""Seconds after which people look elsewhere."""


def seconds(exercise: Exercise) -> tuple[float, float]:
    """What a right answer waits for its verdict, and the slowest of the known wrong ones."""
    waits = []
    for function in (exercise.function, *(variant.function for variant in exercise.variants)):
        start = time.perf_counter()
        judge(function, exercise)
        waits.append(time.perf_counter() - start)
    return waits[0], max(waits[1:])


def table() -> Table:
    """A row for each exercise."""
    rows = Table()
    for heading in ("exercise", "checks", "wrong", "right s", "slowest wrong s"):
        rows.add_column(heading, no_wrap=True)
    for exercise in every():
        right, wrong = seconds(exercise)
        mark = "" if max(right, wrong) < PATIENCE else " ✗"
        rows.add_row(
            f"{exercise.number} {exercise.name}",
            str(len(exercise.checks)),
            str(len(exercise.variants)),
            f"{right:.3f}",
            f"{wrong:.3f}{mark}",
        )
    return rows


if __name__ == "__main__":
    Console().print(table())
