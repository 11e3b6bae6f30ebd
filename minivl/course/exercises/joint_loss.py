"""Exercise 07.1, joint_loss: several losses as one number, whichever of them a batch has."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, drawn, numbers, told

Losses = Mapping[str, Tensor]
Weights = Mapping[str, float]


def _called(function: Callable, names: tuple, values: Tensor, weights: Weights) -> Tensor:
    """joint_loss of losses that come as names and as one tensor, which gradients can reach."""
    return function(dict(zip(names, values.unbind(), strict=True)), weights)


def _pairs_by_hand() -> tuple:
    return ("mlm", "itm", "mim"), numbers([2, 4, 1]), {"itm": 0.5, "mim": 2.0}


def _texts_alone() -> tuple:
    return ("mlm",), numbers([2]), {"itm": 0.5}


def _all_six() -> tuple:
    names = ("contrastive", "itm", "mmm_image", "mmm_text", "mim", "mlm")
    return names, drawn(1, 6).abs(), {"mlm": 0.25, "itm": 3.0, "mmm_image": 0.0, "ocr": 9.0}


def _nothing_is_refused(joint_loss: Callable) -> str | None:
    try:
        got = joint_loss({}, {"mlm": 1.0})
    except (ValueError, RuntimeError, AssertionError):
        return None
    return told("no loss at all", "a ValueError that says so", f"{got}")


def _half_precision(joint_loss: Callable) -> str | None:
    return close_in_bfloat16(_all_six).holds(partial(_called, joint_loss))


def _adding(factor: Callable[[str, Weights], float], refuse: bool = True) -> Callable:
    """joint_loss with other factors."""

    def joint_loss(losses, weights):
        if refuse and not losses:
            raise ValueError("no loss")
        return sum(factor(name, weights) * loss for name, loss in losses.items())

    return joint_loss


def _own(name: str, weights: Weights) -> float:
    return weights.get(name, 1.0)


def _mean(losses: Losses, weights: Weights) -> Tensor:
    return _adding(_own)(losses, weights) / len(losses)


def _averaged_plainly(losses: Losses, weights: Weights) -> Tensor:
    return _adding(lambda name, weights: 1.0)(losses, weights) / len(losses)


def _over_weights(losses: Losses, weights: Weights) -> Tensor:
    if not losses:
        raise ValueError("no loss")
    return sum(factor * losses[name] for name, factor in weights.items())


def _normalised(losses: Losses, weights: Weights) -> Tensor:
    total = _adding(_own)(losses, weights)
    return total / sum(_own(name, weights) for name in losses)


JOINT_LOSS = Exercise(
    target="minivl.objectives.joint.joint_loss",
    number="07.1",
    minutes=5,
    difficulty=1,
    source="Singh et al. 2022, section 3.2",
    hints=(
        "Walk over the losses that are there, not over the weights: a weight may name a loss that "
        "this batch does not have.",
        "A loss without a weight counts once: `weights.get(name, 1.0)`.",
        "Add `weights.get(name, 1.0) * loss` over `losses.items()`; do not divide. Before that, "
        "raise ValueError if `losses` is empty.",
    ),
    checks=(
        Case("three losses by hand", _pairs_by_hand, numbers(6), gradient=(1,)),
        Case("texts alone, and a weight without its loss", _texts_alone, numbers(2)),
        Case("all six losses", _all_six, gradient=(1,)),
        Property("a batch without any loss is refused", _nothing_is_refused),
        Property("bfloat16", _half_precision),
    ),
    variants=(
        Variant(
            "unweighted",
            _adding(lambda name, weights: 1.0),
            "The weights have no effect. Multiply each loss by its own.",
        ),
        Variant(
            "plain mean",
            _averaged_plainly,
            "An average makes each loss weaker whenever another is present, and the weights have "
            "no effect. Add weighted losses.",
        ),
        Variant(
            "mean",
            _mean,
            "An average makes each loss weaker whenever another is present. Add, do not divide.",
        ),
        Variant(
            "a missing weight is 0",
            _adding(lambda name, weights: weights.get(name, 0.0)),
            "A loss without a weight is dropped in silence. It should count once.",
        ),
        Variant(
            "over the weights",
            _over_weights,
            "You walk over the weights. One may name a loss this batch does not have, and a loss "
            "may have none: walk over the losses.",
        ),
        Variant(
            "normalised by the weights",
            _normalised,
            "You divide by the sum of the weights. Doubling all weights should double the loss.",
        ),
        Variant(
            "nothing refused",
            _adding(_own, refuse=False),
            "Without any loss your sum is a plain 0: a stream that feeds none would train nothing "
            "and nobody would notice. Raise ValueError.",
        ),
    ),
    call=_called,
)
