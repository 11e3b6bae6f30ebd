"""Exercise 02.4, ema_update: a teacher that is the running mean of its student."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told


def on_copies(
    ema_update: Callable, teacher: list[Tensor], student: list[Tensor], momentum: float
) -> tuple[Tensor, ...]:
    """What the tensors of teacher and student are after one update of copies of them.

    Both come as iterators, as `module.parameters()` does, and the student's require gradients.
    """
    ours = [tensor.detach().clone() for tensor in teacher]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in student]
    if ema_update(iter(ours), iter(theirs), momentum) is ...:
        return ...
    return tuple(tensor.detach() for tensor in (*ours, *theirs))


def _one(teacher: float, student: float, momentum: float) -> Callable[[], tuple]:
    return lambda: ([numbers([teacher])], [numbers([student])], momentum)


def _after(ema_update: Callable, steps: int, momentum: float) -> Tensor:
    """Where a teacher that starts at 0 stands after some steps towards 1."""
    teacher, student = [numbers([0])], [numbers([1])]
    for _ in range(steps):
        ema_update(iter(teacher), iter(student), momentum)
    return teacher[0]


def _twice(ema_update: Callable) -> str | None:
    expected = numbers([0.4375])
    return differs("from 0 towards 1, twice, m 0.75: 1 - m²", _after(ema_update, 2, 0.75), expected)


def _half_life(ema_update: Callable) -> str | None:
    for momentum, steps in ((0.995, 138), (0.996, 173)):
        got = _after(ema_update, steps, momentum)
        if reason := differs(f"from 0 towards 1, {steps} steps, m {momentum}", got,
                             numbers([0.5]), tolerance=5e-3):  # fmt: skip
            return reason
    return None


def _no_graph(ema_update: Callable) -> str | None:
    teacher, student = [numbers([2])], [numbers([4]).requires_grad_()]
    ema_update(iter(teacher), iter(student), 0.75)
    # Wrong numbers are the other checks' business: their reason must not depend on the graph.
    if differs("", teacher[0], numbers([2.5])) or not teacher[0].requires_grad:
        return None
    return (
        told("a student that requires gradients", "a teacher that does not", "one that does")
        + "\nThe teacher now remembers every step it came from. Update it under `torch.no_grad()`."
    )


def _storage_of_its_own(ema_update: Callable) -> str | None:
    teacher, student = [numbers([2])], [numbers([4])]
    ema_update(iter(teacher), iter(student), 0.0)
    student[0].add_(1)
    if not (teacher[0] == 5).all():
        return None
    return told("m 0, then 1 added to the student", "a teacher of 4", "a teacher of 5")


def _pairwise(change: Callable[[Tensor, Tensor, float], Any]) -> Callable:
    """ema_update that does something else to each pair."""

    def ema_update(teacher, student, momentum):
        with torch.no_grad():
            for t, s in zip(teacher, student, strict=True):
                change(t, s, momentum)

    return ema_update


def _share(t: Tensor, s: Tensor, m: float) -> None:
    t.data = s.data


def _first_pair_only(teacher, student, momentum):
    with torch.no_grad():
        next(iter(teacher)).lerp_(next(iter(student)), 1 - momentum)


EMA_UPDATE = Exercise(
    target="minivl.objectives.momentum.ema_update",
    number="02.4",
    minutes=8,
    difficulty=2,
    source="Caron et al. 2021, section 3.1, teacher network",
    hints=(
        "Change the teacher's tensors in place, without a gradient: `with torch.no_grad():`.",
        "Go through both in pairs: `zip(teacher, student)`. Mostly the old teacher stays.",
        "For each pair: `t.lerp_(s, 1 - momentum)`, or `t.mul_(momentum).add_(s, alpha=1 - "
        "momentum)`.",
    ),
    checks=(
        Case(
            "2 towards 4 by hand (teacher; student after it)",
            _one(2, 4, 0.75),
            (numbers([2.5]), numbers([4])),
        ),
        Case("m = 1 leaves the teacher", _one(2, 4, 1.0), (numbers([2]), numbers([4]))),
        Case("m = 0 copies the student", _one(2, 4, 0.0), (numbers([4]), numbers([4]))),
        Case(
            "a matrix and a vector",
            lambda: ([drawn(1, 2, 3), drawn(2, 4)], [drawn(3, 2, 3), drawn(4, 4)], 0.9),
        ),
        Property("two updates", _twice),
        Property("the half-life", _half_life),
        Property("the teacher never requires a gradient", _no_graph),
        Property("the two share no storage", _storage_of_its_own),
    ),
    variants=(
        Variant(
            "swapped",
            _pairwise(lambda t, s, m: t.lerp_(s, m)),
            "Your teacher follows the student almost at once: m weighs the old value.",
        ),
        Variant(
            "overwritten",
            _pairwise(lambda t, s, m: t.copy_(s)),
            "You copied. Without averaging the teacher is as noisy as the student.",
        ),
        Variant(
            "not averaged",
            _pairwise(lambda t, s, m: t.mul_(m).add_(s)),
            "The weights must add to 1, or the teacher grows without end.",
        ),
        Variant(
            "same object",
            _pairwise(_share),
            "Teacher and student are the same tensors; one needs a deep copy.",
        ),
        Variant(
            "not in place",
            _pairwise(lambda t, s, m: m * t + (1 - m) * s),
            "You made new tensors, and the teacher still holds the old ones. Change them in place: "
            "`lerp_`, `copy_`, `mul_`.",
        ),
        Variant(
            "student moved",
            _pairwise(lambda t, s, m: s.lerp_(t, 1 - m)),
            "You moved the student towards the teacher. The student learns by gradient; only the "
            "teacher is averaged.",
        ),
        Variant(
            "first pair only",
            _first_pair_only,
            "Only the first tensor moved. Go through all pairs: `zip(teacher, student)`.",
        ),
    ),
    call=on_copies,
)
