"""Exercise 02.3, update_center: the running mean of what the teacher says of everything."""

from collections.abc import Callable

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told
from minivl.course.judging import LEAKING_GRAPH


def _by_hand():
    return numbers([1, 1]), numbers([[2, 0], [4, 2]]), 0.9


def _settles(update_center: Callable) -> str | None:
    center, logits = numbers([0, 0]), numbers([[2, 0], [4, 2]])
    for _ in range(20):
        center = update_center(center, logits, 0.5)
    return differs("centre 0, twenty times the same logits, m 0.5", center, numbers([3, 1]), 1e-5)


def _a_constant(update_center: Callable) -> str | None:
    center, logits, momentum = _by_hand()
    got = update_center(center, logits.requires_grad_(), momentum)
    # Wrong numbers are the other checks' business: their reason must not depend on the graph.
    if differs("", got, numbers([1.2, 1.0])) or not got.requires_grad:
        return None
    asked = "logits that require a gradient"
    return (
        f"{told(asked, 'a constant', 'a centre that requires one too')}\n{LEAKING_GRAPH} A centre "
        "with a history would keep every earlier step in memory."
    )


def _center(change: Callable) -> Callable:
    """update_center by another formula."""

    def update_center(center, logits, momentum=0.9):
        return change(center, logits.detach(), momentum)

    return update_center


UPDATE_CENTER = Exercise(
    target="minivl.objectives.dino.update_center",
    number="02.3",
    minutes=5,
    difficulty=1,
    source="Caron et al. 2021, equation 4",
    hints=(
        "What is the mean of the logits over the batch? The centre moves a little towards it.",
        "Mostly the old centre: m of it, and 1 - m of the mean.",
        "`momentum * center + (1 - momentum) * logits.mean(dim=0)`: raw logits, no softmax, inside "
        "`with torch.no_grad():`.",
    ),
    checks=(
        Case("two pictures by hand", _by_hand, numbers([1.2, 1.0])),
        Case(
            "one picture by hand",
            lambda: (numbers([1, 1]), numbers([[3, 1]]), 0.5),
            numbers([2, 1]),
        ),
        Case("six pictures", lambda: (drawn(1, 4), drawn(2, 6, 4))),
        Property("it settles at the mean", _settles),
        Property("no gradient passes", _a_constant),
    ),
    variants=(
        Variant(
            "weights swapped",
            _center(lambda c, g, m: (1 - m) * c + m * g.mean(0)),
            "m is how much of the *old* centre stays.",
        ),
        Variant(
            "sum",
            _center(lambda c, g, m: m * c + (1 - m) * g.sum(0)),
            "Average over the batch: the centre must not depend on batch size.",
        ),
        Variant(
            "mean over features",
            _center(lambda c, g, m: m * c + (1 - m) * g.mean(1)),
            "You averaged each sample over k. The centre has one number per output.",
        ),
        Variant(
            "of probabilities",
            _center(lambda c, g, m: m * c + (1 - m) * g.softmax(-1).mean(0)),
            "The centre lives in logit space; take the mean before the softmax.",
        ),
        Variant(
            "one number for all",
            _center(lambda c, g, m: m * c + (1 - m) * g.mean()),
            "Subtracting one constant from all logits changes nothing in a softmax. Keep one "
            "number per output: `mean(dim=0)`.",
        ),
        Variant(
            "not averaged",
            _center(lambda c, g, m: m * c + g.mean(0)),
            "The weights must add to 1, or the centre grows to ten times the mean.",
        ),
        Variant(
            "no memory",
            _center(lambda c, g, m: g.mean(0)),
            "You keep nothing of the old centre. One batch is a noisy sample: let the centre move "
            "by 1 - m only.",
        ),
    ),
)
