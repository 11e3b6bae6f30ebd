"""Exercise 03.4, logit_laplace_nll: how unlikely a pixel is under what the decoder drew."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers

LN2, LN3 = math.log(2.0), math.log(3.0)
"""logit(3/4) is ln 3."""


def _pixel(x: float, mu: float, log_scale: float) -> tuple[Tensor, ...]:
    """One pixel in one colour: three tensors (1, 1, 1, 1)."""
    return tuple(numbers([[[[value]]]]) for value in (x, mu, log_scale))


def _picture() -> tuple[Tensor, ...]:
    """Two pictures of 2 x 2 pixels in three colours."""
    return drawn(1, 2, 3, 2, 2).sigmoid(), drawn(2, 2, 3, 2, 2), drawn(3, 2, 3, 2, 2)


def _integrates_to_one(logit_laplace_nll: Callable) -> str | None:
    step = 1e-3
    # Places that are even in the logit lie close where the density is steep.
    x = torch.arange(-30, 30, step, dtype=torch.float64).sigmoid()[None, None, None, :]
    for scale in (0.5, 1.0, 2.0):
        mu, log_scale = torch.full_like(x, 0.4), torch.full_like(x, math.log(scale))
        density = torch.exp(-logit_laplace_nll(x, mu, log_scale))
        total = (density * x * (1 - x) * step).sum()
        given = f"the density exp(-nll) added up over all pixel values, scale {scale}"
        if reason := differs(given, total, numbers(1.0), 1e-5):
            return reason
    return None


def _gradient_by_hand(logit_laplace_nll: Callable) -> str | None:
    x, mu, log_scale = _pixel(0.75, 0.0, LN2)
    got = logit_laplace_nll(x, mu.requires_grad_(), log_scale)
    (gradient,) = torch.autograd.grad(got.sum(), mu)
    given = "x 3/4, mu 0, scale 2; the gradient for mu, -1/scale"
    return differs(given, gradient, _pixel(-0.5, 0, 0)[0])


def _judging(
    *,
    constant: float = LN2,
    width: Callable[[Tensor], Tensor] = lambda log_scale: log_scale,
    jacobian: float = 1.0,
    distance: Callable = lambda x, mu: (torch.logit(x) - mu).abs(),
    over: Callable[[Tensor], Tensor] = torch.exp,
    finish: Callable[[Tensor], Tensor] = lambda nll: nll,
) -> Callable:
    """logit_laplace_nll with a term changed; `over` gives what the distance is divided by."""

    def logit_laplace_nll(x, mu, log_scale):
        far = distance(x, mu) / over(log_scale)
        return finish(constant + width(log_scale) + jacobian * torch.log(x * (1 - x)) + far)

    return logit_laplace_nll


LOGIT_LAPLACE_NLL = Exercise(
    target="minivl.nn.dvae.logit_laplace_nll",
    number="03.4",
    minutes=15,
    difficulty=3,
    source="Ramesh et al. 2021, appendix A.3",
    hints=(
        "Compare mu with the pixel's logit: `torch.logit(x)`. The scale is `log_scale.exp()`.",
        "A Laplace density's -ln is ln(2 s) + |logit x - μ| / s. The change of variables from x to "
        "logit x adds ln(x (1 - x)).",
        "`math.log(2) + log_scale + torch.log(x * (1 - x)) + (torch.logit(x) - mu).abs() / "
        "log_scale.exp()`: one number a colour value.",
    ),
    checks=(
        Case(
            "one pixel by hand",
            partial(_pixel, 0.75, 0.0, 0.0),
            numbers([[[[math.log(2 * 0.1875 * 3)]]]]),
        ),
        Case(
            "the same at scale 2",
            partial(_pixel, 0.75, 0.0, LN2),
            numbers([[[[math.log(4 * 0.1875) + LN3 / 2]]]]),
        ),
        Case("exactly what was drawn", partial(_pixel, 0.5, 0.0, 0.0), numbers([[[[-LN2]]]])),
        Case("two pictures", _picture, gradient=(1, 2)),
        Property("the gradient by hand", _gradient_by_hand),
        Property("the density adds up to 1", _integrates_to_one),
    ),
    variants=(
        Variant(
            "no Jacobian",
            _judging(jacobian=0.0),
            "The term of the change from x to logit x, ln(x (1 - x)), is missing. The density no "
            "longer adds up to 1.",
        ),
        Variant(
            "Jacobian reversed",
            _judging(jacobian=-1.0),
            "ln(x (1 - x)) has the wrong sign. The slope of the logit is 1/(x (1 - x)), and a loss "
            "is minus the logarithm of it.",
        ),
        Variant(
            "pixel not transformed",
            _judging(distance=lambda x, mu: (x - mu).abs()),
            "You compare mu with the pixel itself. mu lives where logits live: compare it with "
            "`torch.logit(x)`.",
        ),
        Variant(
            "mu transformed",
            _judging(distance=lambda x, mu: (x - mu.sigmoid()).abs()),
            "You took mu back to a pixel. The distance is measured between logits: "
            "`torch.logit(x) - mu`.",
        ),
        Variant(
            "sign",
            _judging(finish=torch.neg),
            "That is the log-likelihood. A loss is its negative.",
        ),
        Variant(
            "squared",
            _judging(distance=lambda x, mu: (torch.logit(x) - mu).square()),
            "You squared the distance. That is a Gaussian's; Laplace's takes the absolute value.",
        ),
        Variant(
            "not absolute",
            _judging(distance=lambda x, mu: torch.logit(x) - mu),
            "Without the absolute value, drawing ever brighter pixels lowers the loss without end.",
        ),
        Variant(
            "times s",
            _judging(over=lambda log_scale: torch.exp(-log_scale)),
            "You multiply the distance by the scale. A larger scale must forgive more: divide.",
        ),
        Variant(
            "no exp",
            _judging(over=lambda log_scale: log_scale),
            "You divide by log_scale itself, which may be 0 or negative. The scale is its exp.",
        ),
        Variant(
            "no ln s",
            _judging(width=torch.zeros_like),
            "ln s is missing. Then a huge scale forgives everything and costs nothing.",
        ),
        Variant(
            "no ln 2",
            _judging(constant=0.0),
            "The constant ln 2 is missing. The density adds up to 2, not to 1.",
        ),
        Variant(
            "averaged",
            _judging(finish=torch.mean),
            "You averaged. Return one number a colour value; the caller takes the mean.",
        ),
    ),
)
