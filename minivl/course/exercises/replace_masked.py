"""Exercise 04.2, replace_masked: a learned token where a patch is hidden."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import close_in_bfloat16, differs, drawn, numbers


def _by_hand(first: bool = True, second: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """One picture of two patches."""
    return numbers([[[1, 2], [3, 4]]]), numbers([9, 8]), torch.tensor([[first, second]])


def _two_pictures() -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.tensor([[True, False, False, True, False], [False, False, True, True, False]])
    return drawn(1, 2, 5, 3), drawn(2, 3), mask


def _token_learns_from_each_place(replace_masked: Callable) -> str | None:
    x, token, mask = _two_pictures()
    token.requires_grad_()
    result = replace_masked(x, token, mask)
    if not result.requires_grad:
        return "no gradient reaches the mask token: it would never be learned"
    (gradient,) = torch.autograd.grad(result.sum(), token)
    given = "four hidden patches; the gradient of the sum of all results to the token"
    return differs(given, gradient, numbers([4, 4, 4]))


def _putting(
    *,
    mask: Callable = lambda mask: mask,
    mix: Callable = lambda x, token, hidden: torch.where(hidden, token, x),
) -> Callable:
    """replace_masked with another mask, or with something else in the hidden places."""

    def replace_masked(x, mask_token, hidden):
        return mix(x, mask_token, mask(hidden).unsqueeze(-1))

    return replace_masked


def _dropped(x, mask_token, mask):
    return x[~mask].reshape(len(x), -1, x.shape[-1])


ONE_OFF = (
    "Your mask is one place off. Here the patches stand alone: the class token joins them later, "
    "so patch 0 belongs to place 0 of the mask."
)

REPLACE_MASKED = Exercise(
    target="minivl.objectives.masking.replace_masked",
    number="04.2",
    minutes=5,
    difficulty=1,
    source="Bao et al. 2021, section 2.3",
    hints=(
        "The result is as long as the input: each patch keeps its place, hidden or not.",
        "The mask is (b, n), the patches are (b, n, d). Give the mask a last axis of size 1.",
        "`torch.where(mask.unsqueeze(-1), mask_token, x)`.",
    ),
    checks=(
        Case("two patches, the first hidden", _by_hand, numbers([[[9, 8], [3, 4]]])),
        Case("none hidden", partial(_by_hand, False), numbers([[[1, 2], [3, 4]]])),
        Case("all hidden", partial(_by_hand, True, True), numbers([[[9, 8], [9, 8]]])),
        Case("two pictures of five patches", _two_pictures, gradient=(0, 1)),
        Property("the token learns from each hidden place", _token_learns_from_each_place),
        close_in_bfloat16(_two_pictures),
    ),
    variants=(
        Variant(
            "inverted",
            _putting(mask=lambda mask: ~mask),
            "You replaced the patches that are to be seen. True marks what must be hidden.",
        ),
        Variant(
            "zeroed",
            _putting(mix=lambda x, token, hidden: x * ~hidden + 0 * token),
            "You put zeros there. Zero is a value too, and the learned mask token is not used.",
        ),
        Variant(
            "added",
            _putting(mix=lambda x, token, hidden: x + hidden * token),
            "You added the token. The patch is still visible under it: the answer leaks.",
        ),
        Variant(
            "dropped",
            _dropped,
            "You left the hidden patches out. That is MAE; BEiT and FLAVA keep the place and "
            "replace its content.",
        ),
        Variant("one place late", _putting(mask=lambda m: F.pad(m[:, :-1], (1, 0))), ONE_OFF),
        Variant("one place early", _putting(mask=lambda m: F.pad(m[:, 1:], (0, 1))), ONE_OFF),
        Variant(
            "without gradient",
            _putting(mix=lambda x, token, hidden: torch.where(hidden, token.detach(), x)),
            "The mask token is a parameter: without a gradient it stays what it was at the start.",
        ),
    ),
)
