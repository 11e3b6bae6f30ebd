"""Exercise 08.7, answer_loss: every answer is a yes or no of its own."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers

ANSWERS = 3129
"""In VQA v2, as the paper counts them."""


def _by_hand() -> tuple:
    """Probabilities of a half everywhere, but for one of three quarters."""
    return numbers([[0, 0, math.log(3)], [0, 0, 0]]), numbers([[1, 0, 0.3], [0, 0.6, 0]])


def _one_question() -> tuple:
    return drawn(1, 1, 5), drawn(2, 1, 5).sigmoid()


def _nobody_knows() -> tuple:
    """Three questions to which no listed answer is right."""
    return drawn(3, 3, 4), numbers([[0] * 4] * 3)


BY_HAND = (5 * math.log(2) - 0.3 * math.log(3 / 4) - 0.7 * math.log(1 / 4)) / 2
"""Five fair coins, and one bet of three quarters on what is right to three tenths; two rows."""


def _all_answers(answer_loss: Callable) -> str | None:
    zero = drawn(0, 2, ANSWERS) * 0
    got = answer_loss(zero, zero.clone())
    return differs(f"{ANSWERS} logits of 0", got, numbers(ANSWERS * math.log(2)))


def _very_sure(answer_loss: Callable) -> str | None:
    """From probabilities, ln 0 would be infinite."""
    got = answer_loss(numbers([[200.0, -200.0]]), numbers([[0.0, 1.0]]))
    return differs("logits of 200 and -200, both wrong", got, numbers(400.0))


def _summed(function: Callable) -> Callable:
    """answer_loss from function(logits, soft_targets) (b, a), added up and averaged."""

    def answer_loss(logits, soft_targets):
        return function(logits, soft_targets).sum(dim=1).mean()

    return answer_loss


def _each(logits, soft_targets):
    return F.binary_cross_entropy_with_logits(logits, soft_targets, reduction="none")


def _mean(logits, soft_targets):
    return F.binary_cross_entropy_with_logits(logits, soft_targets)


def _total(logits, soft_targets):
    return F.binary_cross_entropy_with_logits(logits, soft_targets, reduction="sum")


def _softmax(logits, soft_targets):
    return F.cross_entropy(logits, soft_targets)


def _heaviest(logits, soft_targets):
    best = F.one_hot(soft_targets.argmax(dim=1), soft_targets.shape[1]).to(logits.dtype)
    return _each(logits, best)


def _from_probabilities(logits, soft_targets):
    p = logits.sigmoid()
    return -(soft_targets * p.log() + (1 - soft_targets) * (1 - p).log())


ANSWER_LOSS = Exercise(
    target="minivl.objectives.detection.answer_loss",
    number="08.7",
    minutes=5,
    difficulty=1,
    source="Hu and Singh 2021, section 3.4, and its code",
    hints=(
        "Each answer is its own yes or no: a sigmoid, no softmax.",
        "`F.binary_cross_entropy_with_logits` takes the logits as they are.",
        "Its mean runs over all b · a numbers: multiply it by a, and answers are added, examples "
        "averaged.",
    ),
    checks=(
        Case("two questions, three answers, by hand", _by_hand, numbers(BY_HAND), gradient=(0,)),
        Case("one question", _one_question, gradient=(0,)),
        Case("no answer is right", _nobody_knows, gradient=(0,)),
        Property("as many answers as VQA v2 has", _all_answers),
        Property("very sure, and wrong", _very_sure),
    ),
    variants=(
        Variant(
            "mean over answers",
            _mean,
            "3,129 mostly empty answers drown the one that counts: add over answers.",
        ),
        Variant("softmax", _softmax, "Answers do not exclude each other: a sigmoid for each."),
        Variant(
            "heaviest answer",
            _summed(_heaviest),
            "Annotators disagree; keep the soft score.",
        ),
        Variant(
            "any share is a yes",
            _summed(lambda logits, soft: _each(logits, (soft > 0).to(logits.dtype))),
            "A share of 0.3 is no yes: keep the soft score.",
        ),
        Variant(
            "yes alone",
            _summed(lambda logits, soft: -soft * F.logsigmoid(logits)),
            "A no counts too: without its term, yes to everything would cost nothing.",
        ),
        Variant("batch sum", _total, "Average over the batch."),
        Variant(
            "sigmoid twice",
            _summed(lambda logits, soft: _each(torch.sigmoid(logits), soft)),
            "The function takes logits: it has a sigmoid inside.",
        ),
        Variant(
            "logarithm of a probability",
            _summed(_from_probabilities),
            "Where the sigmoid rounds to 0 its logarithm is infinite: leave both to the function "
            "with logits.",
        ),
    ),
)
