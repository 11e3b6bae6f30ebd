"""Exercise 06.1, hard_negative_weights: wrong partners are drawn where they look right."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import drawn, numbers, told

LN2 = math.log(2.0)
"""e to the power of 3, 1 and 0 of these is 8, 2 and 1."""


def _three_pairs(*names: int) -> tuple[Tensor, Tensor]:
    """Rows whose exponentials are 8, 2, 1; 1, 1, 2; 1, 1, 1. Equal names belong together."""
    same = torch.tensor(names)
    return LN2 * numbers([[3, 1, 0], [0, 0, 1], [0, 0, 0]]), same[:, None] == same


def _one_pair() -> tuple[Tensor, Tensor]:
    return numbers([[5]]), torch.tensor([[True]])


def _sure_model() -> tuple[Tensor, Tensor]:
    """e^-1000 is 0, in float64 too."""
    return 1000 * numbers([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), torch.eye(3, dtype=torch.bool)


def _more_candidates() -> tuple[Tensor, Tensor]:
    """Four questions, six candidates; several may be true, and of the last row all are."""
    same = torch.zeros(4, 6, dtype=torch.bool)
    same[range(3), [2, 0, 5]] = True
    same[1, 4] = same[3] = True
    return 3 * drawn(1, 4, 6), same


def _other_numbers_do_not_count(hard_negative_weights: Callable) -> str | None:
    similarity, same = _more_candidates()
    before = hard_negative_weights(similarity, same)
    after = hard_negative_weights(similarity.masked_fill(same, 77.0), same)
    if torch.allclose(before, after, rtol=1e-9, atol=1e-12):
        return None
    given = "the similarity of true partners changes"
    return told(given, "the same weights as before", "other weights")


def _weights_are_constants(hard_negative_weights: Callable) -> str | None:
    similarity, same = _three_pairs(0, 1, 2)
    if not hard_negative_weights(similarity.requires_grad_(), same).requires_grad:
        return None
    given = "three pairs, their similarity learns"
    return told(given, "weights that are constants", "weights with a gradient: requires_grad")


def _weighing(
    change: Callable[[Tensor, Tensor], Tensor], *, constant: bool = True
) -> Callable[[Tensor, Tensor], Tensor]:
    """hard_negative_weights that makes other weights of (similarity, same)."""

    def hard_negative_weights(similarity, same):
        weights = change(similarity, same)
        return weights.detach() if constant else weights

    return hard_negative_weights


def _over(scores: Tensor, same: Tensor, dim: int = 1) -> Tensor:
    """Softmax of the scores along a dimension, true partners left out before."""
    return scores.masked_fill(same, -torch.inf).softmax(dim=dim).masked_fill(same, 0.0)


def _renormalised(similarity: Tensor, same: Tensor) -> Tensor:
    weights = similarity.softmax(dim=1).masked_fill(same, 0.0)
    return weights / weights.sum(dim=1, keepdim=True)


def _hardest(similarity: Tensor, same: Tensor) -> Tensor:
    wrong = similarity.masked_fill(same, -torch.inf)
    chosen = torch.zeros_like(similarity).scatter(1, wrong.argmax(dim=1, keepdim=True), 1.0)
    return chosen.masked_fill(same, 0.0)


def _diagonal(similarity: Tensor) -> Tensor:
    return torch.eye(*similarity.shape, dtype=torch.bool)


HARD_NEGATIVE_WEIGHTS = Exercise(
    target="minivl.objectives.matching.hard_negative_weights",
    number="06.1",
    minutes=15,
    difficulty=2,
    source="Li et al. 2021 (ALBEF), section 3.2, contrastive hard negative mining",
    hints=(
        "The harder a wrong partner is to tell from a right one, the more similar it is, and the "
        "likelier it should be drawn: one softmax a row.",
        "True partners must not be drawn, and the rest must still add to 1. So leave them out "
        "*before* the softmax: which score gets the weight 0?",
        "`similarity.masked_fill(same, -torch.inf)`, then the softmax along the row. A row where "
        "all are true is NaN then: fill true partners with 0 once more. Who draws does not learn: "
        "`detach`.",
    ),
    checks=(
        Case(
            "three pairs by hand",
            lambda: _three_pairs(0, 1, 2),
            numbers([[0, 2 / 3, 1 / 3], [1 / 3, 0, 2 / 3], [1 / 2, 1 / 2, 0]]),
        ),
        Case(
            "three pairs, the first two say the same",
            lambda: _three_pairs(0, 0, 1),
            numbers([[0, 0, 1], [0, 0, 1], [1 / 2, 1 / 2, 0]]),
        ),
        Case("one pair, which has no wrong partner", _one_pair, numbers([[0]])),
        Case(
            "a sure model",
            _sure_model,
            numbers([[0, 1 / 2, 1 / 2], [1 / 2, 0, 1 / 2], [1 / 2, 1 / 2, 0]]),
        ),
        Case("four questions, six candidates", _more_candidates),
        Property("how near a true partner is does not count", _other_numbers_do_not_count),
        Property("the weights are constants", _weights_are_constants),
    ),
    variants=(
        Variant(
            "true partner kept",
            _weighing(lambda similarity, same: similarity.softmax(dim=1)),
            "The true partner can be drawn as its own wrong one. Leave it out.",
        ),
        Variant(
            "zeroed, not renormalised",
            _weighing(lambda similarity, same: similarity.softmax(dim=1).masked_fill(same, 0.0)),
            "You set weights to 0 after the softmax, so a row no longer adds to 1. Of a sure model "
            "nothing is left: that is the crash “invalid multinomial distribution”.",
        ),
        Variant(
            "renormalised too late",
            _weighing(_renormalised),
            "You divide by what is left after the softmax. Nothing is left where all are true, or "
            "where a model is sure, and 0/0 is NaN. Leave true partners out before the softmax.",
        ),
        Variant(
            "NaN where none is wrong",
            _weighing(
                lambda similarity, same: similarity.masked_fill(same, -torch.inf).softmax(dim=1)
            ),
            "A row without any wrong partner became NaN: nothing was left to share, as in a "
            "softmax of −∞ only. Make it 0.",
        ),
        Variant(
            "a true partner where none is wrong",
            _weighing(lambda similarity, same: similarity.masked_fill(same, -1e9).softmax(dim=1)),
            "A row without any wrong partner shares itself out among true ones. Its weights must "
            "all be 0: nothing can be drawn.",
        ),
        Variant(
            "uniform",
            _weighing(lambda similarity, same: _over(torch.zeros_like(similarity), same)),
            "All wrong partners are equally likely. Hard ones should come more often.",
        ),
        Variant(
            "easy first",
            _weighing(lambda similarity, same: _over(-similarity, same)),
            "You prefer the least similar. Those are easy to tell apart.",
        ),
        Variant(
            "hardest only",
            _weighing(_hardest),
            "The single hardest gets all the weight. Where captions repeat in other words, that is "
            "often a true match. Give weights to draw by, not the maximum.",
        ),
        Variant(
            "over columns",
            _weighing(lambda similarity, same: _over(similarity, same, dim=0)),
            "Your columns add to 1. Each row is a question, and must add to 1.",
        ),
        Variant(
            "diagonal only",
            _weighing(lambda similarity, same: _over(similarity, _diagonal(similarity))),
            "You left out the diagonal only. Pairs that say the same are no wrong partners of "
            "each other: leave out all that `same` marks.",
        ),
        Variant(
            "true partners only",
            _weighing(lambda similarity, same: _over(similarity, ~same)),
            "`same` is inverted: it is True at true partners, and those must not be drawn.",
        ),
        Variant(
            "not exponentials",
            _weighing(
                lambda similarity, same: (
                    similarity.masked_fill(same, 0.0)
                    / similarity.masked_fill(same, 0.0).sum(dim=1, keepdim=True)
                )
            ),
            "You share out the similarities themselves. They may be negative, or all 0, and 0/0 "
            "is NaN. Take the softmax.",
        ),
        Variant(
            "with gradient",
            _weighing(_over, constant=False),
            "The weights only say who is drawn: they are constants. Detach them, or compute under "
            "`torch.no_grad()`.",
        ),
    ),
)
