"""Exercise 00.3, pre_norm_block: two branches beside a highway that no norm touches."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told


def toy(formula: str, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A layer that one can compute in the head; a verdict shows its formula."""

    def layer(x: Tensor) -> Tensor:
        return function(x)

    layer.__name__ = formula
    return layer


CENTRE = toy("x - mean(x)", lambda x: x - x.mean(dim=-1, keepdim=True))
SHRINK = toy("x / 2", lambda x: x / 2)
DOUBLE = toy("2 x", lambda x: 2 * x)
ADD_ONE = toy("x + 1", lambda x: x + 1)
NOTHING = toy("0", torch.zeros_like)
SWAP_TOKENS = toy("tokens in reverse", lambda x: x.flip(dims=(1,)))
SQUASH = toy("tanh(x)", torch.tanh)
LAYER_NORM = toy("LayerNorm(x)", lambda x: F.layer_norm(x, x.shape[-1:]))


def _norms_stay_off_the_highway(block: Callable) -> str | None:
    seen: dict[str, list[Tensor]] = {"norm1": [], "norm2": []}

    def spy(name: str) -> Callable[[Tensor], Tensor]:
        def norm(x: Tensor) -> Tensor:
            seen[name].append(x.clone())
            return CENTRE(x)

        return norm

    block(numbers([[[1, 3]]]), DOUBLE, ADD_ONE, spy("norm1"), spy("norm2"))
    for name, given in (("norm1", [[[1, 3]]]), ("norm2", [[[-1, 5]]])):
        if len(seen[name]) != 1:
            return told("x = [1, 3]", f"{name} called once", f"{len(seen[name])} calls")
        if reason := differs(f"x = [1, 3]; what {name} is given", seen[name][0], numbers(given)):
            return reason
    return None


def _post_norm(x, attention, mlp, norm1, norm2):
    y = norm1(x + attention(x))
    return norm2(y + mlp(y))


def _normalised_residual(x, attention, mlp, norm1, norm2):
    x = norm1(x)
    y = norm2(x + attention(x))
    return y + mlp(y)


def _no_norm2(x, attention, mlp, norm1, norm2):
    y = x + attention(norm1(x))
    return y + mlp(y)


def _no_norm1(x, attention, mlp, norm1, norm2):
    y = x + attention(x)
    return y + mlp(norm2(y))


def _no_second_residual(x, attention, mlp, norm1, norm2):
    return mlp(norm2(x + attention(norm1(x))))


def _no_first_residual(x, attention, mlp, norm1, norm2):
    y = attention(norm1(x))
    return y + mlp(norm2(y))


def _parallel(x, attention, mlp, norm1, norm2):
    return x + attention(norm1(x)) + mlp(norm2(x))


def _norm_after_branch(x, attention, mlp, norm1, norm2):
    y = x + norm1(attention(x))
    return y + norm2(mlp(y))


def _one_norm_twice(x, attention, mlp, norm1, norm2):
    y = x + attention(norm1(x))
    return y + mlp(norm1(y))


PRE_NORM_BLOCK = Exercise(
    target="minivl.nn.transformer.pre_norm_block",
    number="00.3",
    minutes=5,
    difficulty=1,
    source="Dosovitskiy et al. 2020, equations 2 and 3",
    hints=(
        "There are two steps. Each adds the result of a branch to what came in.",
        "A norm is the first thing inside its branch. It never touches what the branch is added "
        "to.",
        "`y = x + attention(norm1(x))`. The second step does the same to y, with mlp and norm2.",
    ),
    checks=(
        Case(
            "x = [1, 3] through toy layers by hand",
            lambda: (numbers([[[1, 3]]]), DOUBLE, ADD_ONE, CENTRE, CENTRE),
            numbers([[[-3, 9]]]),
        ),
        Case(
            "two different norms by hand",
            lambda: (numbers([[[1, 3]]]), DOUBLE, ADD_ONE, CENTRE, SHRINK),
            numbers([[[-0.5, 8.5]]]),
        ),
        Case(
            "branches that give 0",
            lambda: (numbers([[[1, 3]]]), NOTHING, NOTHING, CENTRE, CENTRE),
            numbers([[[1, 3]]]),
        ),
        Case(
            "two sentences of three tokens",
            lambda: (drawn(1, 2, 3, 4), SWAP_TOKENS, SQUASH, LAYER_NORM, LAYER_NORM),
            gradient=(0,),
        ),
        Property("each norm reads the highway once", _norms_stay_off_the_highway),
    ),
    variants=(
        Variant(
            "post-norm",
            _post_norm,
            "You normalise after adding: that is the original order, and BERT's. ViT keeps the "
            "path of the residuals free of norms.",
        ),
        Variant(
            "normalised residual",
            _normalised_residual,
            "You add the branch to the normalised x. The highway must carry x itself.",
        ),
        Variant(
            "second norm missing",
            _no_norm2,
            "Your second branch saw input that was not normalised: the MLP reads norm2(y).",
        ),
        Variant(
            "first norm missing",
            _no_norm1,
            "Your first branch saw input that was not normalised: attention reads norm1(x).",
        ),
        Variant(
            "second residual missing",
            _no_second_residual,
            "The MLP's output replaced y. Add it to y instead.",
        ),
        Variant(
            "first residual missing",
            _no_first_residual,
            "The output of attention replaced x. Add it to x instead.",
        ),
        Variant(
            "parallel",
            _parallel,
            "Both of your branches read x. The MLP should read the result of the attention step.",
        ),
        Variant(
            "norm after the branch",
            _norm_after_branch,
            "You normalise what comes out of a branch. The norm comes before it: attention reads "
            "norm1(x).",
        ),
        Variant(
            "one norm twice",
            _one_norm_twice,
            "You used norm1 in both steps. Each norm has weights of its own: the second step "
            "takes norm2.",
        ),
    ),
)
