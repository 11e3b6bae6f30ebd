"""Exercise 10.3, distilled_mlm: a hidden word, as the caption has it and as the twin believes."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers, told
from minivl.objectives.masked import masked_cross_entropy

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""

LIKELY, UNLIKELY = math.log(4 / 3), math.log(4)
"""-ln(3/4) and -ln(1/4)."""

LABEL = (LIKELY + UNLIKELY) / 2
"""What the words cost that stood there."""

BELIEF = ((LIKELY + UNLIKELY) / 2 + (3 * UNLIKELY + LIKELY) / 4) / 2
"""What the teacher's shares cost: 1/2 and 1/2 at the first place, 3/4 and 1/4 at the third."""

Logits = tuple[Tensor, Tensor, Tensor, float]


def _one_sentence(alpha: float, *labels: int) -> Logits:
    """Three places, the first and the third hidden; k = 2."""
    student = numbers([[[LN3, 0], [0, 0], [0, LN3]]])
    teacher = numbers([[[0, 0], [5, 0], [LN3, 0]]])
    return student, teacher, torch.tensor([labels or (0, -100, 0)]), alpha


def _three_sentences() -> Logits:
    labels = torch.tensor([[-100, 4, -100, 0], [2, -100, -100, -100], [-100, -100, 1, 3]])
    return drawn(1, 3, 4, 5), drawn(2, 3, 4, 5), labels, 0.3


def _nothing_moves(distilled_mlm: Callable) -> str | None:
    student, teacher = drawn(3, 2, 3, 4).requires_grad_(), drawn(4, 2, 3, 4)
    loss = distilled_mlm(student, teacher, torch.full((2, 3), -100), 0.4)
    given = "no place is hidden"
    reason = differs(given, loss, numbers(0))
    if reason or not loss.requires_grad:
        return reason or told(given, "a zero with a graph", "a plain zero")
    (gradient,) = torch.autograd.grad(loss, student)
    return differs(f"{given}; the gradient", gradient, torch.zeros_like(gradient))


def _seen_words_do_not_count(distilled_mlm: Callable) -> str | None:
    student, teacher, labels, alpha = _three_sentences()
    seen = (labels == -100).unsqueeze(-1)
    others = (torch.where(seen, 50 * drawn(5, 3, 4, 5), one) for one in (student, teacher))
    given = "other logits where the label is -100"
    right = distilled_mlm(student, teacher, labels, alpha)
    return differs(given, distilled_mlm(*others, labels, alpha), right)


def _labels_alone(distilled_mlm: Callable) -> str | None:
    student, teacher, labels, _ = _three_sentences()
    got, expected = distilled_mlm(student, teacher, labels, 0.0), masked_cross_entropy
    return differs("three sentences, alpha 0", got, expected(student, labels))


def _own_belief(distilled_mlm: Callable) -> str | None:
    """A teacher that believes what the student does: no slope is left at alpha 1."""
    student, _, labels, _ = _three_sentences()
    loss = distilled_mlm(student.requires_grad_(), student.detach().clone(), labels, 1.0)
    (slope,) = torch.autograd.grad(loss, student)
    given = "a teacher that equals the student, alpha 1; the gradient"
    small = (slope.abs() < 1e-12).all()
    return None if small else differs(given, slope, torch.zeros_like(slope))


def _softened(  # noqa: PLR0913  (one way to go wrong each)
    *,
    of_teacher: Callable = lambda alpha: alpha,
    of_label: Callable = lambda alpha: 1 - alpha,
    log_p: Callable[[Tensor], Tensor] = lambda student: student.log_softmax(dim=-1),
    belief: Callable[[Tensor], Tensor] = lambda teacher: teacher.detach().softmax(dim=-1),
    cost: Callable[[Tensor, Tensor], Tensor] = lambda log_p, q: -(q * log_p).sum(dim=-1),
    followed: Callable[[Tensor], Tensor] = lambda scored: scored,
    mean: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Callable:
    """distilled_mlm where teacher or label have other shares, beliefs, places or averages.

    mean(losses (b, n), of the places (b, n)) -> scalar.
    """
    averaged = mean or (lambda losses, places: (losses * places).sum() / places.sum().clamp(min=1))

    def distilled_mlm(student, teacher, labels, alpha):
        scored = labels != -100
        hard = F.cross_entropy(student.transpose(1, 2), labels, reduction="none")
        soft = cost(log_p(student), belief(teacher))
        return of_label(alpha) * averaged(hard, scored) + of_teacher(alpha) * averaged(
            soft, followed(scored)
        )

    return distilled_mlm


def _roles_swapped(student, teacher, labels, alpha):
    label = masked_cross_entropy(student, labels)
    scored = labels != -100
    soft = -(student.softmax(dim=-1) * teacher.detach().log_softmax(dim=-1)).sum(dim=-1)
    return (1 - alpha) * label + alpha * (soft * scored).sum() / scored.sum().clamp(min=1)


def _first_word(teacher: Tensor) -> Tensor:
    return F.one_hot(teacher.argmax(dim=-1), teacher.shape[-1]).to(teacher.dtype)


def _divergence(log_p: Tensor, q: Tensor) -> Tensor:
    return (q * (q.log() - log_p)).sum(dim=-1)


def _per_sentence(losses: Tensor, places: Tensor) -> Tensor:
    return ((losses * places).sum(dim=1) / places.sum(dim=1).clamp(min=1)).mean()


def _plain_zero(student, teacher, labels, alpha):
    if not (labels != -100).any():
        return student.new_zeros(())
    return _softened()(student, teacher, labels, alpha)


DISTILLED_MLM = Exercise(
    target="minivl.objectives.momentum.distilled_mlm",
    number="10.3",
    minutes=15,
    difficulty=2,
    source="Li et al. 2021, section 3.3, equation 7",
    hints=(
        "Only hidden places count, for label and teacher alike: select their rows first, as in "
        "exercise 04.4.",
        "Two costs a row: the cross-entropy to the word that stood there, and that to "
        "`teacher.detach().softmax(dim=-1)`. Mix them with 1 - alpha and alpha.",
        "Add the mixed costs of all hidden places and divide by their number, at least 1, so that "
        "a batch without holes costs 0.",
    ),
    checks=(
        Case(
            "one sentence by hand",
            lambda: _one_sentence(0.4),
            numbers(0.6 * LABEL + 0.4 * BELIEF),
            gradient=(0,),
            constant=(1,),
        ),
        Case("alpha 0", lambda: _one_sentence(0.0), numbers(LABEL), gradient=(0,)),
        Case("alpha 1", lambda: _one_sentence(1.0), numbers(BELIEF), gradient=(0,)),
        Case("nothing is hidden", lambda: _one_sentence(0.4, -100, -100, -100), numbers(0)),
        Case("three sentences", _three_sentences, gradient=(0,), constant=(1,)),
        Property("a batch without holes moves nothing", _nothing_moves),
        Property("what is seen does not count", _seen_words_do_not_count),
        Property("at alpha 0 it is the masked cross-entropy", _labels_alone),
        Property("a teacher that agrees teaches nothing", _own_belief),
        close_in_bfloat16(_three_sentences),
    ),
    variants=(
        Variant(
            "everywhere",
            _softened(followed=torch.ones_like),
            "The teacher is followed at visible words too, where it only copies.",
        ),
        Variant(
            "alpha swapped",
            _softened(of_teacher=lambda alpha: 1 - alpha, of_label=lambda alpha: alpha),
            "Alpha is the teacher's share; with alpha 0 only the words that stood there count.",
        ),
        Variant(
            "roles swapped",
            _roles_swapped,
            "The student plays the teacher: its logarithm belongs under the teacher's shares.",
        ),
        Variant(
            "added, not mixed",
            _softened(of_label=lambda alpha: 1),
            "You add the teacher's part to the whole label. The label's share is 1 - alpha.",
        ),
        Variant(
            "over positions",
            _softened(log_p=lambda student: student.log_softmax(dim=1)),
            "Your softmax runs over the words of the sentence (dim 1), not over the vocabulary. "
            "ALBEF's first release had just this line.",
        ),
        Variant(
            "teacher over positions",
            _softened(belief=lambda teacher: teacher.detach().softmax(dim=1)),
            "The teacher's softmax runs over the words of the sentence, not over the vocabulary.",
        ),
        Variant(
            "KL",
            _softened(cost=_divergence),
            "Off by the teacher's entropy, with the same gradient: see exercise 10.2.",
        ),
        Variant(
            "first word only",
            _softened(belief=_first_word),
            "You kept only the teacher's first word; that others fit as well is what it teaches.",
        ),
        Variant(
            "teacher ignored",
            _softened(of_teacher=lambda alpha: 0, of_label=lambda alpha: 1),
            "The teacher has no effect: this is exercise 04.4 again.",
        ),
        Variant(
            "divided by n",
            _softened(mean=lambda losses, places: (losses * places).sum() / places.numel()),
            "You divide by all places. Divide by the hidden ones, so that the loss does not depend "
            "on how many there are.",
        ),
        Variant(
            "per-sentence mean",
            _softened(mean=_per_sentence),
            "You average each sentence first. Average over all hidden words of the batch, so that "
            "each word counts the same.",
        ),
        Variant(
            "sum",
            _softened(mean=lambda losses, places: (losses * places).sum()),
            "You added the losses. Average them over the hidden places.",
        ),
        Variant(
            "NaN when none",
            _softened(mean=lambda losses, places: (losses * places).sum() / places.sum()),
            "A batch without holes gives 0/0, which is NaN and ends the run. Return 0.",
        ),
        Variant(
            "a plain zero",
            _plain_zero,
            "Your zero has no graph, so `backward()` fails on a batch without holes. Make it from "
            "the logits.",
        ),
        Variant(
            "with gradient",
            _softened(belief=lambda teacher: teacher.softmax(dim=-1)),
            "Gradient flows into the teacher, who would be taught by its student. Detach it.",
        ),
    ),
)
