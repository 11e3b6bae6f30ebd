"""Exercise 01.1, patchify: a picture becomes a row of tokens."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told


def _counted(height: int, width: int, *channels: float) -> tuple[Tensor, int]:
    """One picture whose pixels count from 1, times a factor for each channel; patches of 2."""
    pixels = torch.arange(1.0, 1.0 + height * width, dtype=torch.float64).reshape(height, width)
    return torch.stack([factor * pixels for factor in channels])[None], 2


def _as_convolution(patchify: Callable) -> str | None:
    for height, width, size in ((4, 6, 2), (6, 3, 3)):
        image, weight = drawn(1, 2, 3, height, width), drawn(2, 5, 3, size, size)
        expected = F.conv2d(image, weight, stride=size).flatten(2).transpose(1, 2)
        patches = patchify(image, size)
        if not torch.is_tensor(patches) or patches.ndim != 3 or patches.shape[2] != 3 * size**2:
            return told(f"3 channels, patch_size {size}", f"{3 * size**2} a patch", f"{patches}")
        got = patches @ weight.flatten(1).T
        if reason := differs(f"{height} x {width}, patches times weights", got, expected):
            return reason
    return None


def _refuses_a_rest(patchify: Callable) -> str | None:
    try:
        got = patchify(drawn(1, 1, 3, 5, 6), 4)
    except Exception:
        return None
    shape = f"the shape {tuple(got.shape)}" if torch.is_tensor(got) else f"{got}"
    return (
        told("a picture of 5 x 6 pixels, patch_size 4", "an error", shape)
        + "\nPixels that fill no patch would be lost without a word."
    )


def _in_order(order: str) -> Callable[[Tensor, int], Tensor]:
    """patchify with its output in another order."""

    def patchify(image, patch_size):
        pattern = f"b c (gh p) (gw q) -> {order}"
        return rearrange(image, pattern, p=patch_size, q=patch_size)

    return patchify


def _plain_reshape(image, patch_size):
    return image.reshape(len(image), -1, image.shape[1] * patch_size**2)


PATCHIFY = Exercise(
    target="minivl.nn.vit.patchify",
    number="01.1",
    minutes=10,
    difficulty=2,
    source="Dosovitskiy et al. 2020, section 3.1",
    hints=(
        "Split the height into (rows of patches, pixels of a patch), and the width likewise.",
        "In the result the place of a patch comes first, row by row; then its pixels, one channel "
        "after the other.",
        '`"b c (gh p) (gw q) -> b (gh gw) (c p q)"`, with p and q of `patch_size`.',
    ),
    checks=(
        Case(
            "4 x 4 pixels by hand",
            partial(_counted, 4, 4, 1),
            numbers([[[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]]),
        ),
        Case(
            "2 x 4 pixels by hand",
            partial(_counted, 2, 4, 1),
            numbers([[[1, 2, 5, 6], [3, 4, 7, 8]]]),
        ),
        Case(
            "three channels by hand",
            partial(_counted, 2, 4, 1, 10, 100),
            numbers(
                [
                    [
                        [1, 2, 5, 6, 10, 20, 50, 60, 100, 200, 500, 600],
                        [3, 4, 7, 8, 30, 40, 70, 80, 300, 400, 700, 800],
                    ]
                ]
            ),
        ),
        Case("two pictures of 6 x 9 pixels", lambda: (drawn(1, 2, 3, 6, 9), 3), gradient=(0,)),
        Case("a patch as large as the picture", lambda: (drawn(2, 2, 3, 4, 4), 4)),
        Case("patches of one pixel", lambda: (drawn(3, 1, 2, 2, 3), 1)),
        Property("the same as a convolution with that stride", _as_convolution),
        Property("a size that does not divide is an error", _refuses_a_rest),
    ),
    variants=(
        Variant(
            "plain reshape",
            _plain_reshape,
            "Your first patch is the first row of pixels. A patch is a square: pixels 1 and 2 of "
            "row 1, then those of row 2.",
        ),
        Variant(
            "channels last",
            _in_order("b (gh gw) (p q c)"),
            "The right pixels in another order. Weights of convolutions are stored channel first, "
            "so pretrained patch weights would be scrambled.",
        ),
        Variant(
            "column-major grid",
            _in_order("b (gw gh) (c p q)"),
            "Your patches run down instead of along. Position 1 must be the right-hand neighbour "
            "of position 0.",
        ),
        Variant(
            "transposed patch",
            _in_order("b (gh gw) (c q p)"),
            "You swapped rows and columns inside each patch.",
        ),
        Variant(
            "pixels by patches",
            _in_order("b (c p q) (gh gw)"),
            "You have numbers x patches. A row is one patch: exchange the last two dimensions.",
        ),
        Variant(
            "every gh-th pixel",
            lambda image, p: rearrange(image, "b c (p gh) (q gw) -> b (gh gw) (c p q)", p=p, q=p),
            "Your patch takes every gh-th row and every gw-th column of the picture. Neighbours "
            "belong together: split into (gh p), the grid first.",
        ),
        Variant(
            "a token for each channel",
            _in_order("b (c gh gw) (p q)"),
            "You made a token of every channel. One token holds all channels of its patch.",
        ),
    ),
)
