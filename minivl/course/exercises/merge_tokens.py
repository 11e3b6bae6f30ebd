"""Exercise 06.3, merge_tokens: a picture and a text become one sequence."""

from collections.abc import Callable

import torch
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told


def _by_hand() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two pairs of two patches and two words, one number a token; the last word is padding."""
    image = numbers([[[1], [2]], [[3], [4]]])
    text = numbers([[[5], [6]], [[7], [8]]])
    return numbers([[[9]]]), image, text, torch.tensor([[True, True], [True, False]])


BY_HAND = (
    numbers([[[9], [1], [2], [5], [6]], [[9], [3], [4], [7], [8]]]),
    torch.tensor([[True] * 5, [True] * 4 + [False]]),
)


def _three_pairs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four patches, three words, two numbers a token."""
    words = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    return drawn(1, 1, 1, 2), drawn(2, 3, 4, 2), drawn(3, 3, 3, 2), words


def _mask_is_boolean(merge_tokens: Callable) -> str | None:
    for form in (torch.bool, torch.int64):
        *states, words = _by_hand()
        _, mask = merge_tokens(*states, words.to(form))
        if not (torch.is_tensor(mask) and mask.dtype == torch.bool):
            got = str(getattr(mask, "dtype", type(mask))).removeprefix("torch.")
            return told(f"an attention_mask in {str(form)[6:]}", "a mask in bool", got)
    return None


def _no_words(merge_tokens: Callable) -> str | None:
    cls_token, image, text, words = _by_hand()
    tokens, mask = merge_tokens(cls_token, image, text[:, :0], words[:, :0])
    reason = differs("two patches, no word; the tokens", tokens, BY_HAND[0][:, :3])
    if reason or (mask.shape == (2, 3) and bool(mask.all())):
        return reason
    return told("two patches, no word; the mask", "three times True", f"{mask.tolist()}")


def _joined(order: str, mask: Callable[[Tensor, Tensor], Tensor] | None = None) -> Callable:
    """merge_tokens with the parts c, i and t in another order, or with another mask.

    mask(seen, words): seen (b, 1+n) all True, words (b, t).
    """

    def merge_tokens(cls_token, image, text, attention_mask):
        batch, patches = image.shape[:2]
        words = attention_mask.bool()
        parts = {"c": cls_token.expand(batch, -1, -1), "i": image, "t": text}
        seen = {
            "c": words.new_ones(batch, 1), "i": words.new_ones(batch, patches), "t": words,
        }  # fmt: skip
        tokens = torch.cat([parts[name] for name in order], dim=1)
        if mask is not None:
            return tokens, mask(torch.cat([seen["c"], seen["i"]], dim=1), words)
        return tokens, torch.cat([seen[name] for name in order], dim=1)

    return merge_tokens


def _cls_hidden(seen: Tensor, words: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(seen[:, :1]), seen[:, 1:], words], dim=1)


MERGE_TOKENS = Exercise(
    target="minivl.models.flava.merge_tokens",
    number="06.3",
    minutes=10,
    difficulty=1,
    source="Singh et al. 2022 (FLAVA), section 3.1, multimodal encoder",
    hints=(
        "There is one class token, and b pairs: each needs it at its front. Then patches, then "
        "words, along the dimension of tokens.",
        "`cls_token.expand(b, -1, -1)` costs no memory. The mask needs True for the class token "
        "and for each patch, before that of the words.",
        "`torch.cat([cls_token.expand(len(image), -1, -1), image, text], dim=1)`, and "
        "`torch.cat([attention_mask.new_ones(b, 1 + n), attention_mask], dim=1).bool()`.",
    ),
    checks=(
        Case("two pairs by hand", _by_hand, BY_HAND, gradient=(0, 1, 2)),
        Case("three pairs of other sizes", _three_pairs, gradient=(0, 1, 2)),
        Property("the mask is boolean", _mask_is_boolean),
        Property("a picture without any word", _no_words),
    ),
    variants=(
        Variant(
            "text first",
            _joined("cti"),
            "The order is class token, picture, text: whoever reads patches and words afterwards "
            "slices by position.",
        ),
        Variant(
            "class token last",
            _joined("itc"),
            "The matching head reads token 0: the class token stands first.",
        ),
        Variant(
            "no class token",
            _joined("it"),
            "The token that sums up the pair is missing: 1 + n + t tokens.",
        ),
        Variant(
            "class token hidden",
            _joined("cit", _cls_hidden),
            "Nobody may look at the class token, which sums up the pair. Its mask is True.",
        ),
        Variant(
            "padding visible",
            _joined("cit", lambda seen, words: torch.cat([seen, torch.ones_like(words)], dim=1)),
            "Padding takes part in attention. The words' part of the mask is `attention_mask`.",
        ),
        Variant(
            "mask in another order",
            _joined("cit", lambda seen, words: torch.cat([seen[:, :1], words, seen[:, 1:]], 1)),
            "Mask and tokens are joined in different orders: some patches are hidden as padding.",
        ),
        Variant(
            "picture hidden",
            _joined("cit", lambda seen, words: torch.cat([~seen, words], dim=1)),
            "Your mask hides the class token and all patches. They are real: True.",
        ),
        Variant(
            "mask of numbers",
            _joined("cit", lambda seen, words: torch.cat([seen, words], dim=1).long()),
            "The mask must be boolean: `~` of the number 1 is -2, and attention would hide nothing "
            "or fail. Make it `torch.bool`.",
        ),
    ),
)
