"""Exercise 10.4, alpha_at: how much an untrained teacher is trusted, and when it is more."""

import math
from collections.abc import Callable

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import told
from minivl.recipes import albef


def _at(step: int, steps_per_epoch: int = 100, *alpha: float) -> Callable[[], tuple]:
    return lambda: (step, steps_per_epoch, *alpha)


def _never_less_never_more(alpha_at: Callable) -> str | None:
    values = [alpha_at(step, 7, 0.6) for step in range(30)]
    for step, (before, after) in enumerate(zip(values, values[1:], strict=False)):
        if after < before:
            given = f"steps {step} and {step + 1} of epochs of 7"
            return told(given, "never less than before", f"{before:.4f}, then {after:.4f}")
    if max(values) > 0.6 + 1e-9:
        return told("thirty steps of epochs of 7, alpha 0.6", "0.6 at most", f"{max(values):.4f}")
    return None


def _sevenths(alpha_at: Callable) -> str | None:
    for step in range(15):
        got, expected = float(alpha_at(step, 7, 0.7)), min(step, 7) / 10
        if not math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12):
            given = f"step {step} of epochs of 7, alpha 0.7"
            return told(given, f"{expected:.4f}", f"{got:.9f}")
    return None


def _ramp(share: Callable[[int, int], float]) -> Callable:
    """alpha_at with another share of alpha."""

    def alpha_at(step, steps_per_epoch, alpha=0.4):
        return alpha * share(step, steps_per_epoch)

    return alpha_at


ALPHA_AT = Exercise(
    target="minivl.training.recipe.alpha_at",
    number="10.4",
    minutes=4,
    difficulty=1,
    source="Li et al. 2021, section 3.5",
    hints=(
        "What grows is a share between 0 and 1; the result is alpha times that share.",
        "The share is the step counted in epochs: `step / steps_per_epoch`, not `//`.",
        "After one epoch it stays: `min(1, …)` caps it.",
    ),
    checks=(
        Case("half an epoch of 100 steps, by hand", _at(50), 0.2),
        Case("the first step", _at(0), 0.0),
        Case("one epoch", _at(100), 0.4),
        Case("long after it", _at(250), 0.4),
        Case("epochs of 8 steps, alpha 0.8", _at(3, 8, 0.8), 0.3),
        Property("a straight line, then level", _sevenths),
        Property("never less, never more than alpha", _never_less_never_more),
    ),
    variants=(
        Variant(
            "constant",
            _ramp(lambda step, epoch: 1.0),
            "The untrained teacher is trusted from the start. Its share begins at 0.",
        ),
        Variant(
            "per epoch",
            _ramp(lambda step, epoch: min(1.0, step // epoch)),
            "Your alpha jumps after an epoch: `//` drops the fraction. It grows with every step.",
        ),
        Variant(
            "saw-tooth",
            _ramp(lambda step, epoch: step % epoch / epoch),
            "Your alpha falls back to 0 with each epoch. After the first it stays.",
        ),
        Variant(
            "no cap",
            _ramp(lambda step, epoch: step / epoch),
            "Alpha keeps growing after the first epoch, and the labels vanish. Cap the share at 1.",
        ),
        Variant(
            "one step early",
            _ramp(lambda step, epoch: min(1.0, (step + 1) / epoch)),
            "Steps are counted from 0, where alpha is exactly 0.",
        ),
        Variant(
            "towards 1",
            lambda step, epoch, alpha=0.4: min(1.0, step / epoch),
            "Your share is not multiplied by alpha: it ends at 1, where no label is left.",
        ),
        Variant(
            "capped at alpha",
            lambda step, epoch, alpha=0.4: min(alpha, step / epoch),
            "Your slope is 1 an epoch, so alpha is reached too soon. Cap the share at 1, then "
            "multiply by alpha.",
        ),
    ),
    fast_twins=(f"{albef.__name__}.alpha_at",),  # the recipe knows it by that name
)
