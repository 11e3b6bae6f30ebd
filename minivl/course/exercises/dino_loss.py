"""Exercise 02.2, dino_loss: every crop must predict every other global view."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told
from minivl.course.judging import LEAKING_GRAPH

LN3, LN43, LN4 = math.log(3.0), math.log(4 / 3), math.log(4.0)
"""-ln(3/4) and -ln(1/4) are what the softmax of [ln 3, 0] costs."""


def _by_hand(batch: int = 1, temperature: float = 1.0) -> tuple[Tensor, Tensor, float]:
    """Three crops and two global views of `batch` equal pictures, two outputs."""
    student = numbers([[[LN3, 0]], [[0, 0]], [[0, LN3]]])
    teacher = numbers([[[0.75, 0.25]], [[0.5, 0.5]]])
    return student.repeat(1, batch, 1), teacher.repeat(1, batch, 1), temperature


# Teacher 0 of crops 1 and 2, teacher 1 of crops 0 and 2.
FOUR_PAIRS = (math.log(2) + (0.75 * LN4 + 0.25 * LN43) + (LN43 + LN4) / 2 + (LN43 + LN4) / 2) / 4
SHARPENED = (
    math.log(2) + (0.75 * math.log(10) + 0.25 * math.log(10 / 9))
    + 2 * (math.log(10) + math.log(10 / 9)) / 2
) / 4  # fmt: skip
"""At temperature 1/2, [ln 3, 0] has the softmax [9/10, 1/10]."""

TWO_CROPS = (math.log(2) + (LN43 + LN4) / 2) / 2


def _five_crops() -> tuple[Tensor, Tensor]:
    """Two global and three local crops of three pictures; the default temperature."""
    return drawn(1, 5, 3, 4) / 10, drawn(2, 2, 3, 4).softmax(dim=-1)


def _order_of_locals(dino_loss: Callable) -> str | None:
    student, teacher = _five_crops()
    shuffled = dino_loss(student[[0, 1, 4, 2, 3]], teacher)
    swapped = dino_loss(student[[1, 0, 2, 3, 4]], teacher.flip(0))
    right = dino_loss(student, teacher)
    return differs("local crops in another order", shuffled, right) or differs(
        "both global crops and both targets exchanged", swapped, right
    )


def _own_view_does_not_count(dino_loss: Callable) -> str | None:
    """A view of the teacher that says nothing leaves its own crop's twin without a gradient."""
    student, teacher = _five_crops()
    teacher = torch.stack([teacher[0], torch.zeros_like(teacher[1])])
    (gradient,) = torch.autograd.grad(dino_loss(student.requires_grad_(), teacher), student)
    if gradient[0].abs().max() < 1e-9 * gradient.abs().max():
        return None
    return told(
        "the teacher's view 1 all zeros; the gradient of crop 0", "0", f"{gradient[0].tolist()}"
    )


def _a_constant(dino_loss: Callable) -> str | None:
    student, teacher = _five_crops()
    got = dino_loss(student, teacher.requires_grad_())
    # Wrong numbers are the other checks' business: their reason must not depend on the graph.
    expected = _loss(lambda i, j: i != j)(*_five_crops())
    if differs("", got, expected) or not got.requires_grad:
        return None
    asked = "teacher's probabilities that require a gradient, a student that does not"
    return f"{told(asked, 'a constant', 'a loss that requires one')}\n{LEAKING_GRAPH}"


def _small_probabilities(dino_loss: Callable) -> str | None:
    student = torch.tensor([[[0.0, 100.0]], [[0.0, 100.0]]])
    teacher = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    got = dino_loss(student, teacher, 0.5)
    reason = differs("logits of 100 in float32, τ 0.5", got, torch.tensor(200.0), 1e-5)
    if reason is None:
        return None
    return f"{reason}\nThe softmax becomes 0 and its logarithm infinite: `log_softmax` does both."


def _loss(
    counts: Callable[[int, int], bool],
    *,
    swapped: bool = False,
    log: Callable[[Tensor], Tensor] = lambda scores: scores.log_softmax(dim=-1),
    over: Callable[[Tensor], Tensor] = lambda terms: terms.sum(dim=-1).mean(),
    divide: Callable[[int, int], float] | None = None,
    tempered: bool = True,
    sign: float = -1.0,
) -> Callable:
    """dino_loss with other pairs, another cross-entropy, or another mean."""

    def dino_loss(student, teacher, temperature=0.1):
        scores = student / temperature if tempered else student
        teacher = teacher.detach()
        total, pairs = 0.0, 0
        for i in range(len(teacher)):
            for j in range(len(student)):
                if counts(i, j):
                    one, other = teacher[i], log(scores[j])
                    if swapped:
                        one, other = scores[j].softmax(dim=-1), teacher[i].log()
                    total, pairs = total + sign * over(one * other), pairs + 1
        return total / (divide(pairs, len(student)) if divide else pairs)

    return dino_loss


def _others(i: int, j: int) -> bool:
    return i != j


DINO_LOSS = Exercise(
    target="minivl.objectives.dino.dino_loss",
    number="02.2",
    minutes=15,
    difficulty=3,
    source="Caron et al. 2021, equation 3",
    hints=(
        "Two loops: over the teacher's views i and the student's crops j. Skip the pair where both "
        "saw the same crop, j = i.",
        "A pair costs a cross-entropy with soft targets: -Σ_k P_teacher log P_student, the mean "
        "over the batch.",
        "`log_p = (student / temperature).log_softmax(dim=-1)`; add up "
        "`-(teacher[i] * log_p[j]).sum(dim=-1).mean()` and divide by the number of pairs, "
        "2·crops - 2. Detach the teacher.",
    ),
    checks=(
        Case("three crops by hand", _by_hand, numbers(FOUR_PAIRS)),
        Case("the same picture twice", lambda: _by_hand(batch=2), numbers(FOUR_PAIRS)),
        Case("temperature 1/2 by hand", lambda: _by_hand(temperature=0.5), numbers(SHARPENED)),
        Case(
            "global crops only, by hand",
            lambda: (_by_hand()[0][:2], *_by_hand()[1:]),
            numbers(TWO_CROPS),
        ),
        Case(
            "all outputs alike: ln k",
            lambda: (0 * drawn(1, 4, 2, 3), (0 * drawn(1, 2, 2, 3)).softmax(dim=-1)),
            numbers(LN3),
        ),
        Case("five crops of three pictures", _five_crops, gradient=(0,)),
        Property("the order of crops does not count", _order_of_locals),
        Property("a crop learns nothing from its own view", _own_view_does_not_count),
        Property("no gradient reaches the teacher", _a_constant),
        Property("large logits", _small_probabilities),
    ),
    variants=(
        Variant(
            "same view kept",
            _loss(lambda i, j: True),
            "Student and teacher saw the same crop in one of your pairs: an easy copy task. Skip "
            "j = i.",
        ),
        Variant(
            "global crops only",
            _loss(lambda i, j: i != j and j < 2),
            "Local crops are not used. “Local-to-global” means small crops must predict the large "
            "ones.",
        ),
        Variant(
            "local crops only",
            _loss(lambda i, j: j >= 2, divide=lambda pairs, crops: max(pairs, 1)),
            "Your global crops predict nothing. Each must predict the other: skip only j = i.",
        ),
        Variant(
            "sum over pairs",
            _loss(_others, divide=lambda pairs, crops: 1),
            "Divide by the number of pairs, or the loss grows with every crop you add.",
        ),
        Variant(
            "divided by all pairs",
            _loss(_others, divide=lambda pairs, crops: 2 * crops),
            "You skip pairs but still divide by all of them. Count the ones you keep: 2·crops - 2.",
        ),
        Variant(
            "roles swapped",
            _loss(_others, swapped=True),
            "The roles are swapped: the teacher weights, the student's log is taken.",
        ),
        Variant(
            "batch sum",
            _loss(_others, over=torch.sum),
            "Average over the batch, or the loss grows with it.",
        ),
        Variant(
            "mean over outputs",
            _loss(_others, over=torch.mean),
            "You averaged over the k outputs too. A cross-entropy adds them up; the mean is over "
            "the batch.",
        ),
        Variant(
            "no student temperature",
            _loss(_others, tempered=False),
            "The student's temperature has no effect. Divide the logits by it before the softmax.",
        ),
        Variant(
            "no logarithm",
            _loss(_others, log=lambda scores: scores.softmax(dim=-1)),
            "The student's logarithm is missing: a cross-entropy is -Σ P_teacher log P_student.",
        ),
        Variant(
            "no softmax",
            _loss(_others, log=lambda scores: scores),
            "You weight the student's logits. They become log-probabilities by `log_softmax`.",
        ),
        Variant(
            "no minus",
            _loss(_others, sign=1.0),
            "Your loss falls when the two disagree more. It is minus the mean log-probability.",
        ),
    ),
)
