"""Exercise 04.4, masked_cross_entropy: only what was hidden is scored."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""

LIKELY, UNLIKELY = math.log(4 / 3), math.log(4)
"""-ln(3/4) and -ln(1/4)."""


def _one_sentence(*labels: int) -> tuple[Tensor, Tensor]:
    return numbers([[[LN3, 0], [0, 0], [0, LN3]]]), torch.tensor([labels or (0, -100, 0)])


def _two_sentences() -> tuple[Tensor, Tensor]:
    row = [[LN3, 0], [0, 0], [0, LN3]]
    return numbers([row, row]), torch.tensor([[0, -100, 0], [1, -100, -100]])


def _other_sizes() -> tuple[Tensor, Tensor]:
    labels = torch.tensor([[-100, 4, -100, 0], [2, -100, -100, -100], [-100, -100, 1, 3]])
    return drawn(1, 3, 4, 5), labels


def _nothing_moves(masked_cross_entropy: Callable) -> str | None:
    logits = drawn(2, 2, 3, 4).requires_grad_()
    loss = masked_cross_entropy(logits, torch.full((2, 3), -100))
    given = "no place is scored"
    reason = differs(given, loss, numbers(0))
    if reason or not loss.requires_grad:
        return reason or f"input     {given}\nexpected  a zero with a graph\ngot       a plain zero"
    (gradient,) = torch.autograd.grad(loss, logits)
    return differs(f"{given}; the gradient", gradient, torch.zeros_like(gradient))


def _unscored_rows_do_not_count(masked_cross_entropy: Callable) -> str | None:
    logits, labels = _other_sizes()
    changed = torch.where((labels == -100).unsqueeze(-1), 100 * drawn(3, 3, 4, 5), logits)
    given = "other logits where the label is -100"
    return differs(
        given, masked_cross_entropy(changed, labels), masked_cross_entropy(logits, labels)
    )


def _all_positions(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten().clamp_min(0))


def _summed(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


def _divided_by_all(logits, labels):
    return _summed(logits, labels) / labels.numel()


def _divided_by_sentences(logits, labels):
    return _summed(logits, labels) / len(labels)


def _per_sentence(logits, labels):
    count = (labels != -100).sum(dim=1).clamp_min(1)
    losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return (losses.sum(dim=1) / count).mean()


def _without_care(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def _plain_zero(logits, labels):
    if not (labels != -100).any():
        return logits.new_zeros(())
    return _without_care(logits, labels)


def _of_probabilities(logits, labels):
    scored = (labels != -100).sum().clamp_min(1)
    return _summed(logits.softmax(dim=-1), labels) / scored


MASKED_CROSS_ENTROPY = Exercise(
    target="minivl.objectives.masked.masked_cross_entropy",
    number="04.4",
    minutes=10,
    difficulty=2,
    source="Devlin et al. 2018, section 3.1; Bao et al. 2021, equation 2",
    hints=(
        "Select first: only places whose label is not -100. Then average over them.",
        "One average over the whole batch, not one a sentence. `F.cross_entropy` leaves out -100.",
        'Guard the empty case: add the losses up (`reduction="sum"`) and divide by '
        "`(labels != -100).sum().clamp(min=1)`.",
    ),
    checks=(
        Case("one sentence by hand", _one_sentence, numbers((LIKELY + UNLIKELY) / 2)),
        Case("two sentences by hand", _two_sentences, numbers((LIKELY + 2 * UNLIKELY) / 3)),
        Case("nothing to score", lambda: _one_sentence(-100, -100, -100), numbers(0)),
        Case("three sentences", _other_sizes, gradient=(0,)),
        Property("a batch without masks moves nothing", _nothing_moves),
        Property("what is not scored does not count", _unscored_rows_do_not_count),
        close_in_bfloat16(_other_sizes),
    ),
    variants=(
        Variant(
            "all positions",
            _all_positions,
            "You score words that the model can see as well. Copying them is easy and hides "
            "whether it learns.",
        ),
        Variant(
            "divided by n",
            _divided_by_all,
            "You divide by all places. The loss then depends on how many are masked: divide by "
            "the scored ones.",
        ),
        Variant(
            "per-sentence mean",
            _per_sentence,
            "You average each sentence first. Average over all masked words of the batch, so that "
            "each word counts the same.",
        ),
        Variant("sum", _summed, "You added the losses. Average them over the scored places."),
        Variant(
            "divided by the sentences",
            _divided_by_sentences,
            "You divide by the number of sentences. Divide by the number of scored words.",
        ),
        Variant(
            "NaN when none",
            _without_care,
            "Short sentences often draw no mask (of six words: 38 %). 0/0 is NaN and ends the run: "
            "return 0.",
        ),
        Variant(
            "a plain zero",
            _plain_zero,
            "Your zero has no graph, so `backward()` fails on a batch without masks. Make it from "
            "the logits.",
        ),
        Variant(
            "softmax twice",
            _of_probabilities,
            "You gave probabilities to `cross_entropy`, which already takes the softmax. Give it "
            "the logits.",
        ),
    ),
)
