"""Exercise 08.1, task_queries: what tells a shared decoder which task it solves."""

from collections.abc import Callable

from torch import Tensor

from minivl.course.exercise import Case, Exercise, Variant
from minivl.course.exercises import drawn, numbers


def _by_hand() -> tuple:
    """Two tasks with two queries of two numbers: 1 to 8."""
    return numbers([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]), 1, 2


def _first_task() -> tuple:
    return drawn(1, 3, 2, 4), 0, 3


def _one_query() -> tuple:
    """Four tasks with one query each, one example."""
    return drawn(2, 4, 1, 3), 2, 1


def _picking(rows: Callable[[Tensor, int], Tensor]) -> Callable:
    """task_queries that gives other rows to each example: rows(table, task) -> (q, d)."""

    def task_queries(table, task, batch):
        return rows(table, task).expand(batch, -1, -1)

    return task_queries


def _averaged(table: Tensor, task: int) -> Tensor:
    own = table[task]
    return own.mean(dim=0, keepdim=True).expand_as(own)


def _without_batch(table, task, batch):
    return table[task]


def _query_of_each_task(table, task, batch):
    return table[:, task % table.shape[1]].expand(batch, -1, -1)


TASK_QUERIES = Exercise(
    target="minivl.models.unit.task_queries",
    number="08.1",
    minutes=5,
    difficulty=1,
    source="Hu and Singh 2021, section 3.3",
    hints=(
        "The table has a page for each task. Open the page of this one.",
        "Each example of the batch gets the same page: add a batch axis in front.",
        "`table[task]` is (q, d). `.expand(batch, -1, -1)` repeats it without a copy; gradients of "
        "all examples add up in the one page.",
    ),
    checks=(
        Case(
            "the second of two tasks, by hand",
            _by_hand,
            numbers([[[5, 6], [7, 8]], [[5, 6], [7, 8]]]),
            gradient=(0,),
        ),
        Case("the first of three tasks", _first_task, gradient=(0,)),
        Case("one query, one example", _one_query, gradient=(0,)),
    ),
    variants=(
        Variant(
            "all tasks",
            _picking(lambda table, task: table.flatten(0, 1)),
            "You hand over every task's queries; one task per batch.",
        ),
        Variant(
            "first task",
            _picking(lambda table, task: table[0]),
            "`task` is unused: every task would ask the first one's questions.",
        ),
        Variant(
            "counted from 1",
            _picking(lambda table, task: table[task - 1]),
            "Tasks count from 0.",
        ),
        Variant(
            "one query",
            _picking(lambda table, task: table[task, :1]),
            "Detection needs q answers; classification reads the first one later.",
        ),
        Variant(
            "averaged",
            _picking(_averaged),
            "Queries must differ, or all boxes are the same.",
        ),
        Variant(
            "without a batch",
            _without_batch,
            "The decoder reads (batch, q, d): every example asks the same queries.",
        ),
        Variant(
            "by column",
            _query_of_each_task,
            "The first axis of the table counts tasks, the second one queries.",
        ),
        Variant(
            "constant",
            _picking(lambda table, task: table[task].detach()),
            "The table is learned, so gradients must reach it.",
        ),
    ),
)
