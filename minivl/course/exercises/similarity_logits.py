"""Exercise 05.1, similarity_logits: how well each picture fits each sentence."""

import math
from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers

LN2 = math.log(2.0)
"""As logit_scale it doubles the cosines."""


def _by_hand(*image: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, by default of length 5 and 1; sentences of length 2 and 1; scale 2."""
    return numbers(image or [[3, 4], [1, 0]]), numbers([[2, 0], [0, 1]]), numbers(LN2)


def _other_sizes(logit_scale: float = 0.7) -> tuple[Tensor, Tensor, Tensor]:
    return drawn(1, 4, 5), drawn(2, 3, 5), numbers(logit_scale)


def _lengths_do_not_count(similarity_logits: Callable) -> str | None:
    image, text, logit_scale = _other_sizes()
    right = similarity_logits(image, text, logit_scale)
    longer = similarity_logits(10 * image, text / 4, logit_scale)
    return differs("pictures 10 times, sentences 1/4 as long", longer, right)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _comparing(
    *,
    image_unit: Callable = _unit,
    text_unit: Callable = _unit,
    scale: Callable = Tensor.exp,
) -> Callable:
    """similarity_logits with other vectors or another factor."""

    def similarity_logits(image, text, logit_scale):
        return scale(logit_scale) * image_unit(image) @ text_unit(text).T

    return similarity_logits


def _with_both(unit: Callable) -> Callable:
    return _comparing(image_unit=unit, text_unit=unit)


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _length(x: Tensor) -> Tensor:
    return x.norm(dim=-1, keepdim=True)


BOTH_SIDES = (
    "Only one of your two sides has unit length. Both need it: cosines lie between -1 and 1."
)
ADDED = (
    "You add a small number to every length, which shifts every result a little. Divide by the "
    "larger of the two, as `F.normalize` does: `max(length, eps)`."
)

SIMILARITY_LOGITS = Exercise(
    target="minivl.objectives.contrastive.similarity_logits",
    number="05.1",
    minutes=10,
    difficulty=1,
    source="Radford et al. 2021, figure 3",
    hints=(
        "Bring every vector to length 1, along the width. A dot product is then a cosine.",
        "Rows are pictures, columns are sentences: one matrix product.",
        "`logit_scale` is a logarithm: `logit_scale.exp() * image @ text.T`, after "
        "`F.normalize(x, dim=-1)` of both.",
    ),
    checks=(
        Case("two pairs by hand", _by_hand, numbers([[1.2, 1.6], [2, 0]])),
        Case(
            "a picture of zeros",
            partial(_by_hand, [0, 0], [3, 4]),
            numbers([[0, 0], [1.2, 1.6]]),
        ),
        Case("four pictures and three sentences", _other_sizes, gradient=(0, 1, 2)),
        Case(
            "one pair at a scale below 1", lambda: (drawn(3, 1, 4), drawn(4, 1, 4), numbers(-0.5))
        ),
        Property("the length of a vector does not count", _lengths_do_not_count),
        close_in_bfloat16(_other_sizes),
    ),
    variants=(
        Variant(
            "not normalised",
            _with_both(_as_it_is),
            "A long vector wins everywhere. Divide each by its length, so that only directions "
            "are compared.",
        ),
        Variant(
            "no exp",
            _comparing(scale=_as_it_is),
            "You multiply by the parameter itself, but it is the logarithm of the scale. Without "
            "`exp` it can turn negative and reward wrong pairs.",
        ),
        Variant("only images normalised", _comparing(text_unit=_as_it_is), BOTH_SIDES),
        Variant("only texts normalised", _comparing(image_unit=_as_it_is), BOTH_SIDES),
        Variant(
            "over the batch",
            _with_both(partial(F.normalize, dim=0)),
            "You normalised columns, over the batch. Numbers of different samples must not mix: "
            "use `dim=-1`.",
        ),
        Variant(
            "divided",
            _comparing(scale=lambda s: 1 / s.exp()),
            "You divided by the scale. It is 1/τ, the inverse of the temperature: multiply.",
        ),
        Variant(
            "row by row",
            lambda image, text, logit_scale: (
                logit_scale.exp() * F.cosine_similarity(image, text, dim=-1)
            ),
            "You compared row i with row i only. Every picture meets every sentence: a matrix.",
        ),
        Variant(
            "transposed",
            lambda image, text, logit_scale: _comparing()(image, text, logit_scale).T,
            "Your rows are sentences. Rows should be pictures, columns sentences.",
        ),
        Variant(
            "NaN for zeros",
            _with_both(lambda x: x / _length(x)),
            "A vector of zeros has length 0, and 0/0 is NaN. `F.normalize` never divides by less "
            "than a tiny number.",
        ),
        Variant(
            "squared length",
            _with_both(lambda x: x / x.square().sum(dim=-1, keepdim=True).clamp_min(1e-12)),
            "You divided by the squared length. The length is its square root.",
        ),
        Variant("added 1e-8", _with_both(lambda x: x / (_length(x) + 1e-8)), ADDED),
        Variant("added 1e-6", _with_both(lambda x: x / (_length(x) + 1e-6)), ADDED),
    ),
)
