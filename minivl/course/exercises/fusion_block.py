"""Exercise 09.3, fusion_block: words talk, look at the picture, then think."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told
from minivl.course.exercises.pre_norm_block import CENTRE, LAYER_NORM, SHRINK, toy

SQUARE = toy("x²", lambda x: x * x)
NOTHING = toy("0", torch.zeros_like)
MEAN_WORD = toy("mean of all tokens", lambda x: x.mean(dim=1, keepdim=True).expand_as(x))


def _scaled_by_sum(x: Tensor, y: Tensor) -> Tensor:
    return x * y.sum(dim=1, keepdim=True)


_scaled_by_sum.__name__ = "x · (sum of y's tokens)"


def _nothing_seen(x: Tensor, y: Tensor) -> Tensor:
    return torch.zeros_like(x)


_nothing_seen.__name__ = "0"


def _attending(x: Tensor, y: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, y, y)


_attending.__name__ = "attention of x to y"


def _by_hand() -> tuple:
    """One word [0, 0, 3] and two patches; the sum of the patches is [3, 0, 0]."""
    return (
        numbers([[[0, 0, 3]]]),
        numbers([[[1, 0, 0], [2, 0, 0]]]),
        *(SQUARE, _scaled_by_sum, SQUARE),
        *(CENTRE, CENTRE, CENTRE),
    )


def _three_norms() -> tuple:
    """Another norm in each step: which of them stands where can be seen."""
    text, image, *layers, _, _, _ = _by_hand()
    return text, image, *layers, CENTRE, SHRINK, toy("x + 1", lambda x: x + 1)


def _silent_layers() -> tuple:
    text, image, *_ = _by_hand()
    return text, image, NOTHING, _nothing_seen, NOTHING, CENTRE, SHRINK, SHRINK


def _two_sentences() -> tuple:
    """Two texts of three words, pictures of five patches, four numbers each."""
    return (
        drawn(1, 2, 3, 4),
        drawn(2, 2, 5, 4),
        *(MEAN_WORD, _attending, toy("tanh(x)", torch.tanh)),
        *(LAYER_NORM, LAYER_NORM, LAYER_NORM),
    )


def _picture_goes_through_untouched(block: Callable) -> str | None:
    """The model hands over keys and values of pictures, not pictures: only cross may open them."""
    closed, seen = object(), []

    def cross(x: Tensor, image: object) -> Tensor:
        seen.append(image is closed)
        return NOTHING(x)

    norms = (CENTRE, CENTRE, CENTRE)
    block(numbers([[[0, 0, 3]]]), closed, SQUARE, cross, SQUARE, *norms)
    if seen == [True]:
        return None
    got = "the picture itself" if all(seen) else "something else"
    return told(
        "a picture that only cross_attention can read",
        "cross_attention called once, with the picture as it came",
        f"{len(seen)} calls, with {got}",
    )


def _no_word_sees_the_picture_before(block: Callable) -> str | None:
    read: list[Tensor] = []

    def own(x: Tensor) -> Tensor:
        read.append(x.clone())
        return SQUARE(x)

    text, image, _, cross, mlp, *norms = _by_hand()
    block(text, image, own, cross, mlp, *norms)
    if len(read) != 1:
        return told("the layers by hand", "self_attention called once", f"{len(read)} calls")
    given = "the layers by hand; what self_attention is given"
    return differs(given, read[0], numbers([[[0, 0, 3]]]))


def _block(steps: Callable[..., Tensor]) -> Callable:
    """fusion_block from steps(x, y, self, cross, mlp, norms)."""

    def fusion_block(text, image, self_attention, cross_attention, mlp, norm1, norm2, norm3):
        norms = (norm1, norm2, norm3)
        return steps(text, image, self_attention, cross_attention, mlp, norms)

    return fusion_block


def _cross_first(x, y, own, cross, mlp, norms):
    x = norms[0](x + cross(x, y))
    x = norms[1](x + own(x))
    return norms[2](x + mlp(x))


def _without_self(x, y, own, cross, mlp, norms):
    x = norms[1](x + cross(x, y))
    return norms[2](x + mlp(x))


def _without_cross(x, y, own, cross, mlp, norms):
    x = norms[0](x + own(x))
    return norms[2](x + mlp(x))


def _pre_norm(x, y, own, cross, mlp, norms):
    x = x + own(norms[0](x))
    x = x + cross(norms[1](x), y)
    return x + mlp(norms[2](x))


def _cross_replaces(x, y, own, cross, mlp, norms):
    x = norms[0](x + own(x))
    x = norms[1](cross(x, y))
    return norms[2](x + mlp(x))


def _mlp_replaces(x, y, own, cross, mlp, norms):
    x = norms[0](x + own(x))
    x = norms[1](x + cross(x, y))
    return norms[2](mlp(x))


def _text_as_context(x, y, own, cross, mlp, norms):
    x = norms[0](x + own(x))
    x = norms[1](x + cross(x, x))
    return norms[2](x + mlp(x))


def _roles_swapped(x, y, own, cross, mlp, norms):
    x = norms[0](x + own(x))
    x = norms[1](x + cross(y, x))
    return norms[2](x + mlp(x))


def _no_middle_norm(x, y, own, cross, mlp, norms):
    x = norms[0](x + own(x))
    x = x + cross(x, y)
    return norms[2](x + mlp(x))


def _no_last_norm(x, y, own, cross, mlp, norms):
    x = norms[0](x + own(x))
    x = norms[1](x + cross(x, y))
    return x + mlp(x)


def _one_norm(x, y, own, cross, mlp, norms):
    return _block(_right)(x, y, own, cross, mlp, norms[0], norms[0], norms[0])


def _norms_in_another_order(x, y, own, cross, mlp, norms):
    return _block(_right)(x, y, own, cross, mlp, norms[0], norms[2], norms[1])


def _right(x, y, own, cross, mlp, norms):
    x = norms[0](x + own(x))
    x = norms[1](x + cross(x, y))
    return norms[2](x + mlp(x))


FUSION_BLOCK = Exercise(
    target="minivl.nn.bert.fusion_block",
    number="09.3",
    minutes=10,
    difficulty=2,
    source="Li et al. 2021, section 3.1, and Vaswani et al. 2017, section 3.1",
    hints=(
        "Three steps. Each adds what its layer gives to what came in.",
        "BERT normalises *after* each sum: the result of step 1 is norm1 of a sum, and so on.",
        "Step 1 is `x = norm1(text + self_attention(text))`. Step 2 adds "
        "`cross_attention(x, image)` to x, step 3 `mlp(x)`; each ends with its own norm.",
    ),
    checks=(
        Case("one word and two patches by hand", _by_hand, numbers([[[36, -96, 60]]])),
        Case("three different norms", _three_norms),
        Case("layers that give 0", _silent_layers, numbers([[[-0.25, -0.25, 0.5]]])),
        Case("two sentences, more patches than words", _two_sentences, gradient=(0, 1)),
        Property("words talk once, before they look", _no_word_sees_the_picture_before),
        Property("the picture is for cross_attention", _picture_goes_through_untouched),
    ),
    variants=(
        Variant(
            "cross before self",
            _block(_cross_first),
            "Words talk to each other first, then look at the picture; the official weights expect "
            "that order.",
        ),
        Variant(
            "no self-attention",
            _block(_without_self),
            "The words no longer see each other: the first step is self_attention.",
        ),
        Variant(
            "no cross-attention",
            _block(_without_cross),
            "Nothing of the picture arrives: the second step is cross_attention.",
        ),
        Variant(
            "pre-norm",
            _block(_pre_norm),
            "You normalise before each layer, as ViT does. BERT normalises after adding.",
        ),
        Variant(
            "no residual around cross",
            _block(_cross_replaces),
            "What was seen has replaced the words. Add it to them.",
        ),
        Variant(
            "no residual around the MLP",
            _block(_mlp_replaces),
            "The MLP's output has replaced the words. Add it to them.",
        ),
        Variant(
            "text as context",
            _block(_text_as_context),
            "Your words look at the words. Keys and values of the second step come from the "
            "picture: cross_attention(x, image).",
        ),
        Variant(
            "roles swapped",
            _block(_roles_swapped),
            "Here the picture asks and words answer. Words are the queries, so that t tokens come "
            "out: cross_attention(x, image).",
        ),
        Variant(
            "middle norm missing",
            _block(_no_middle_norm),
            "The second sum goes on without a norm. Each of the three steps ends with its own.",
        ),
        Variant(
            "last norm missing",
            _block(_no_last_norm),
            "The last sum has no norm. Each of the three steps ends with its own.",
        ),
        Variant(
            "one norm",
            _block(_one_norm),
            "You used norm1 in all steps. Each norm has weights of its own.",
        ),
        Variant(
            "norms exchanged",
            _block(_norms_in_another_order),
            "norm2 belongs to the look at the picture, norm3 to the MLP.",
        ),
    ),
    # The name under which the fusion encoder calls it.
    fast_twins=("minivl.nn.fusion.fusion_block",),
)
