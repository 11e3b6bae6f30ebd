"""Pictures as published models meet them, and as ours do: their scales, folded into a projection.

Ours read colours in [-1, 1]. Published ones read them normalised: from colours in [0, 1], a mean is
taken off each channel, which is then divided by a standard deviation. Where patches are projected
by one linear layer, the change of scale is part of it, exactly:

    (x / 2 + 0.5 - mean) / std = x / (2 std) + (0.5 - mean) / std

So a model that was imported reads our pictures, and gives what the published one gives for theirs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from minivl.errors import UserError
from minivl.weights.names import Tensors

PROJECTION = "patch_embed.projection.weight"
"""What patches are read with, at the end of our names: (width, 3*p*p), channel by channel."""


@dataclass(frozen=True)
class Pixels:
    """A scale of colours: red, green, blue."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def factor_and_shift(self) -> tuple[Tensor, Tensor]:
        """Two of (3,) float64: x in [-1, 1] is factor * x + shift on this scale."""
        mean, std = (torch.tensor(x, dtype=torch.float64) for x in (self.mean, self.std))
        return 1 / (2 * std), (0.5 - mean) / std


CLIP = Pixels((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Radford et al. 2021's, which ALBEF's code took over for all its tasks."""

IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""DeiT's: of the pictures of ImageNet."""


def fold(tensors: Tensors, pixels: Pixels | None) -> Tensors:
    """Weights, under our names, that read pictures of a published scale -> the same for [-1, 1].

    W' = W / (2 std) and b' = b + sum of W (0.5 - mean) / std over a patch, in float64. All image
    encoders in there, the momentum twin's too. None: as they are.
    """
    changed: Tensors = {}
    for weight, bias in _projections(tensors, pixels):
        factor, shift = pixels.factor_and_shift()
        kernel = tensors[weight].double().unflatten(1, (3, -1))
        moved = tensors[bias].double() + torch.einsum("wcp,c->w", kernel, shift)
        changed[weight] = (kernel * factor[:, None]).flatten(1).to(tensors[weight])
        changed[bias] = moved.to(tensors[bias])
    return tensors | changed


def unfold(tensors: Tensors, pixels: Pixels | None) -> Tensors:
    """The way back, exact but for rounding."""
    changed: Tensors = {}
    for weight, bias in _projections(tensors, pixels):
        factor, shift = pixels.factor_and_shift()
        kernel = tensors[weight].double().unflatten(1, (3, -1)) / factor[:, None]
        moved = tensors[bias].double() - torch.einsum("wcp,c->w", kernel, shift)
        changed[weight] = kernel.flatten(1).to(tensors[weight])
        changed[bias] = moved.to(tensors[bias])
    return tensors | changed


def _projections(tensors: Tensors, pixels: Pixels | None) -> list[tuple[str, str]]:
    """Names of the weight and the bias of every projection of patches."""
    names = [] if pixels is None else [name for name in tensors if name.endswith(PROJECTION)]
    found = [(name, f"{name.removesuffix('weight')}bias") for name in names]
    for weight, bias in found:
        if bias not in tensors:
            raise UserError(
                f"{weight} has no bias, which the scale of colours goes into",
                "use weights of a model whose patches are projected with a bias",
            )
    return found
