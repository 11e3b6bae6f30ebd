"""Exercise 09.1, enqueue: a queue that is a ring, the newest keys over the oldest."""

from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told

FOUR = [[1, 2, 3, 4]]
"""A queue of four keys, each of one number."""


def _two_new(pointer: int) -> Callable[[], tuple]:
    """The keys 8 and 9, to be written from this column on."""
    return lambda: (numbers(FOUR), numbers([[8], [9]]), pointer)


def _all_new() -> tuple:
    """As many keys as there is room for, from the third column on."""
    return numbers(FOUR), numbers([[6], [7], [8], [9]]), 2


def _wide() -> tuple:
    """Keys of three numbers; 3 of 7 columns, and the end of the ring between them."""
    return drawn(1, 3, 7), drawn(2, 3, 3), 5


def _round_and_round(enqueue: Callable) -> str | None:
    queue, pointer, given = numbers(FOUR), 0, "keys 5, 6, then 7, 8, from column 0 on"
    for first in (5, 7):
        queue, pointer = enqueue(queue, numbers([[first], [first + 1]]), pointer)
    return differs(given, queue, numbers([[5, 6, 7, 8]])) or (
        None if int(pointer) == 0 else told(f"{given}; the pointer", "0", f"{int(pointer)}")
    )


def _steps_that_do_not_divide(enqueue: Callable) -> str | None:
    queue, pointer = numbers([[0, 0, 0, 0, 0]]), 0
    for step in range(1, 5):
        queue, pointer = enqueue(queue, numbers([[step], [step + 0.5]]), pointer)
    given = "four batches of 2 in a queue of 5"
    return differs(given, queue, numbers([[3.5, 4, 4.5, 2.5, 3]])) or (
        None if int(pointer) == 3 else told(f"{given}; the pointer", "3", f"{int(pointer)}")
    )


def _too_many_are_refused(enqueue: Callable) -> str | None:
    keys = numbers([[5], [6], [7], [8], [9]])
    try:
        got = enqueue(numbers(FOUR), keys, 0)
    except (ValueError, AssertionError):
        return None
    except (RuntimeError, IndexError) as error:
        got = type(error).__name__
    return told("5 keys for a queue of 4", "a ValueError that says so", f"{got}")


def _pointer_in_a_tensor(enqueue: Callable) -> str | None:
    """A model keeps its pointer as a buffer."""
    queue, pointer = enqueue(numbers(FOUR), numbers([[8], [9]]), torch.tensor(3))
    given = "the pointer 3 as a tensor"
    return differs(given, queue, numbers([[9, 2, 3, 8]])) or (
        None if int(pointer) == 1 else told(f"{given}; the new one", "1", f"{int(pointer)}")
    )


def _pointer_keeps_its_kind(enqueue: Callable) -> str | None:
    """`int` of a tensor waits for the GPU at every step, and a compiled graph breaks there."""
    _, pointer = enqueue(numbers(FOUR), numbers([[8], [9]]), torch.tensor(3))
    if not torch.is_tensor(pointer):
        got = f"{type(pointer).__name__} {pointer}"
    elif pointer.shape or pointer.dtype != torch.int64:
        got = f"a tensor {tuple(pointer.shape)} of {str(pointer.dtype)[6:]}"
    else:
        return None
    return told("the pointer 3 as a tensor; the new one", "a tensor () of int64", got)


def _writing(
    *,
    places: Callable[[int | Tensor, int, int], Tensor] | None = None,
    new: Callable[[int | Tensor, int, int], int | Tensor] = lambda p, b, q: (p + b) % q,
    refuse: bool = True,
    detach: bool = True,
) -> Callable:
    """enqueue that writes to other columns, or gives another pointer."""

    def enqueue(queue, keys, pointer):
        b, q = len(keys), queue.shape[1]
        if refuse and b > q:
            raise ValueError(f"{b} keys for a queue of {q}")
        ring = (pointer + torch.arange(b)) % q
        columns = ring if places is None else places(pointer, b, q)
        written = (keys.detach() if detach else keys).T[:, : len(columns)]
        queue = queue.clone()
        queue[:, columns] = written.to(queue.dtype)
        return queue, new(pointer, b, q)

    return enqueue


def _shifted(queue, keys, pointer):
    b, q = len(keys), queue.shape[1]
    if b > q:
        raise ValueError(f"{b} keys for a queue of {q}")
    return torch.cat([queue[:, b:], keys.detach().T], dim=1), (pointer + b) % q


def _not_transposed(queue, keys, pointer):
    b, q = len(keys), queue.shape[1]
    if b > q:
        raise ValueError(f"{b} keys for a queue of {q}")
    queue = queue.clone()
    queue[:, (pointer + torch.arange(b)) % q] = keys.detach()
    return queue, (pointer + b) % q


ENQUEUE = Exercise(
    target="minivl.objectives.momentum.enqueue",
    fast_twins=("minivl.models.albef.enqueue_in_place",),
    number="09.1",
    minutes=8,
    difficulty=1,
    source="He et al. 2020, section 3.1, as ALBEF uses it (Li et al. 2021, section 3.2)",
    hints=(
        "The columns from `pointer` on hold the oldest keys: these are replaced. Nothing else "
        "moves.",
        "Count the columns modulo Q: `(pointer + torch.arange(b)) % Q`. The new pointer is counted "
        "the same way.",
        "Copy the queue, then write `keys.detach().T` into these columns. Before that, raise "
        "ValueError for more keys than columns.",
    ),
    checks=(
        Case("from column 0 on, by hand", _two_new(0), (numbers([[8, 9, 3, 4]]), 2)),
        Case("from column 2 on", _two_new(2), (numbers([[1, 2, 8, 9]]), 0)),
        Case("from the last column on", _two_new(3), (numbers([[9, 2, 3, 8]]), 1)),
        Case("all columns at once", _all_new, (numbers([[8, 9, 6, 7]]), 2)),
        Case("three keys of three numbers", _wide, constant=(1,)),
        Property("after a round only new keys", _round_and_round),
        Property("batches that do not divide the queue", _steps_that_do_not_divide),
        Property("a pointer that is a tensor", _pointer_in_a_tensor),
        Property("such a pointer comes back as a tensor", _pointer_keeps_its_kind),
        Property("more keys than columns are refused", _too_many_are_refused),
    ),
    variants=(
        Variant(
            "pointer kept",
            _writing(new=lambda p, b, q: p),
            "You give the old pointer back, so every batch overwrites the same place.",
        ),
        Variant(
            "pointer not wrapped",
            _writing(new=lambda p, b, q: p + b),
            "The pointer runs off the end: it is counted modulo Q.",
        ),
        Variant(
            "always the front",
            _writing(places=lambda p, b, q: torch.arange(b)),
            "The pointer is ignored: only the first columns ever change.",
        ),
        Variant(
            "shifted",
            _shifted,
            "Right content, but this moves 65,536 columns at every step. Write in place of the "
            "oldest.",
        ),
        Variant(
            "cut at the end",
            _writing(places=lambda p, b, q: torch.arange(int(p), min(int(p) + b, q))),
            "A key was lost where the ring begins again. Count the columns modulo Q.",
        ),
        Variant(
            "reversed",
            _writing(places=lambda p, b, q: (p + torch.arange(b).flip(0)) % q),
            "The keys of the batch stand in reverse: key i goes to column pointer + i.",
        ),
        Variant(
            "before the pointer",
            _writing(places=lambda p, b, q: (p - b + torch.arange(b)) % q),
            "You write before the pointer, over the newest keys. The oldest begin at it.",
        ),
        Variant(
            "not transposed",
            _not_transposed,
            "A key is a row of `keys`, but a column of the queue: transpose.",
        ),
        Variant(
            "nothing refused",
            _writing(refuse=False),
            "More keys than columns: some columns are written twice, and in no certain order. "
            "Raise ValueError.",
        ),
        Variant(
            "pointer made a number",
            _writing(new=lambda p, b, q: (int(p) + b) % q),
            "A pointer that came as a tensor goes back as a tensor. `int` makes a number of it; "
            "leave it out, for `(pointer + b) % Q` serves both.",
        ),
        Variant(
            "with gradient",
            _writing(detach=False),
            "Your queue remembers the graph of every batch in it. Keys are constants: detach them.",
        ),
    ),
)
