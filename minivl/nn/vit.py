"""The vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929): a picture as a sentence.

A picture is cut into patches, each patch becomes a token, a class token is put in front, and a
transformer reads them all.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minivl.nn.transformer import Activation, Layer, Transformer, init_transformer


def patch_grid(image: Tensor, patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches in image (b, c, h, w). ValueError if they leave a rest."""
    height, width = image.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"picture of {height} x {width} pixels does not divide into patches of "
            f"{patch_size}: resize it to a multiple"
        )
    return height // patch_size, width // patch_size


def patchify(image: Tensor, patch_size: int) -> Tensor:
    """Cut pictures into square patches, row by row, each a vector of channel, row, column.

    image (b, c, gh*p, gw*p) -> (b, gh*gw, c*p*p). Section 3.1. ValueError if p leaves a rest.
    """
    gh, gw = patch_grid(image, patch_size)
    return rearrange(image, "b c (gh p) (gw q) -> b (gh gw) (c p q)", gh=gh, gw=gw)


def interpolate_positions(positions: Tensor, grid: tuple[int, int], offset: float = 0.0) -> Tensor:
    """Positions of a square grid stretched to another grid; the class token's stays.

    positions (1, 1+g*g, width) -> (1, 1+gh*gw, width), bicubic (section 3.2). DINO's published
    weights expect offset=0.1, which its code added to the size before taking the ratio.
    """
    side = round((positions.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return positions
    cls_position, cells = positions[:, :1], positions[:, 1:]
    cells = rearrange(cells, "1 (g1 g2) w -> 1 w g1 g2", g1=side)
    if offset:
        scale = [(g + offset) / side for g in grid]
        cells = F.interpolate(cells, scale_factor=scale, mode="bicubic")
    else:
        cells = F.interpolate(cells, size=grid, mode="bicubic")
    return torch.cat([cls_position, rearrange(cells, "1 w gh gw -> 1 (gh gw) w")], dim=1)


def sincos_positions(
    grid: tuple[int, int], width: int, magnitude: float = 0.5, base: float = 10_000.0
) -> Tensor:
    """Positions as sines and cosines of row and column, for a start that tells places apart.

    -> (1, 1+gh*gw, width); the class token's is zero. Half of the width encodes the row, half the
    column, at frequencies from 1 down to 1/base (Vaswani et al. 2017, section 3.5, in two
    dimensions). A base far above the grid's side leaves most of the width nearly constant.
    """
    quarter = width // 4
    frequencies = base ** -(torch.arange(quarter) / quarter)
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in (rows, columns)]
    table = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
    table = F.pad(table, (0, width - 4 * quarter))
    return magnitude * torch.cat([torch.zeros(1, width), table]).unsqueeze(0)


class PatchEmbed(nn.Module):
    """Patches projected to tokens: the paper's stem."""

    def __init__(self, patch_size: int, width: int, *, bias: bool = True):
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(3 * patch_size**2, width, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        """image (b, 3, gh*p, gw*p) -> tokens (b, gh*gw, width)."""
        return self.projection(patchify(image, self.patch_size))


class ConvStem(nn.Module):
    """A few convolutions in place of the projection (Xiao et al. 2021, arXiv 2106.14881).

    Each halving of the picture is one 3x3 convolution of stride 2 followed by one of stride 1, but
    for the first; channels double up to the width. Batch norm and ReLU as in the paper:
    with several processes on CPUs, or micro-batches, each norm sees its own part of the batch only.
    """

    def __init__(self, patch_size: int, width: int):
        super().__init__()
        halvings = patch_size.bit_length() - 1
        if 2**halvings != patch_size or not halvings:
            raise ValueError(f"a convolutional stem halves the picture: patch_size {patch_size} "
                             "is not a power of two above one")  # fmt: skip
        layers: list[nn.Module] = []
        before = 3
        for level in range(1, halvings + 1):
            after = max(8, width >> (halvings - level))
            for stride in (2, 1) if level > 1 else (2,):
                layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(after), nn.ReLU()]
                before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, width, 1))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """image (b, 3, gh*p, gw*p) -> tokens (b, gh*gw, width)."""
        image = image.contiguous(memory_format=torch.channels_last)
        return rearrange(self.layers(image), "b w gh gw -> b (gh gw) w")


class ViT(nn.Module):
    """Pre-norm vision transformer with a class token and learned positions."""

    def __init__(  # noqa: PLR0913  (a model is made of its numbers)
        self,
        *,
        image_size: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        stem: Literal["patch", "conv"] = "patch",
        positions: Literal["normal", "sincos"] = "normal",
        clip: bool = False,
        eps: float = 1e-6,
        activation: Activation = "gelu",
        position_offset: float = 0.0,
    ):
        """`clip=True` is CLIP's variant: no bias in the patch projection, a norm before block 1."""
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch {patch_size}")
        self.patch_size = patch_size
        self.width = width
        self.position_offset = position_offset
        side = image_size // patch_size
        self.patch_embed = (
            ConvStem(patch_size, width)
            if stem == "conv"
            else PatchEmbed(patch_size, width, bias=not clip)
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, width))
        self.norm_pre = nn.LayerNorm(width, eps=eps) if clip else nn.Identity()
        self.transformer = Transformer(width, depth, heads, eps=eps, activation=activation)
        self.norm = nn.LayerNorm(width, eps=eps)
        init_transformer(self, width)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        if positions == "sincos":
            self.pos_embed.data.copy_(sincos_positions((side, side), width, 1.0, base=10.0))
        else:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def tokens(self, image: Tensor, edit: Layer | None = None) -> Tensor:
        """image (b, 3, h, w) -> class token and patches with their positions (b, 1+n, width).

        `edit` may change the patches (b, n, width), or make more rows of them, before the class
        token and positions join them: masked modeling puts its mask token there.
        """
        grid = patch_grid(image, self.patch_size)
        patches = self.patch_embed(image)
        patches = patches if edit is None else edit(patches)
        cls_token = self.cls_token.expand(len(patches), -1, -1)
        positions = interpolate_positions(self.pos_embed, grid, self.position_offset)
        return self.norm_pre(torch.cat([cls_token.to(patches.dtype), patches], dim=1) + positions)

    def states(
        self,
        image: Tensor,
        return_attention: bool = False,
        *,
        edit: Layer | None = None,
        read: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """What the last block gives, before the last norm: (b, 1+gh*gw, width).

        FLAVA's multimodal encoder reads this; all else reads `forward`. `read` (b, 1+gh*gw): as in
        `Transformer`.
        """
        return self.transformer(self.tokens(image, edit), None, return_attention, read=read)

    def forward(
        self, image: Tensor, return_attention: bool = False, *, edit: Layer | None = None
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """image (b, 3, h, w) -> tokens (b, 1+gh*gw, width), the class token first, normed.

        With return_attention also each block's weights (b, heads, 1+n, 1+n); `edit` as in `tokens`.
        """
        x = self.states(image, return_attention, edit=edit)
        if return_attention:
            return self.norm(x[0]), x[1]
        return self.norm(x)
