"""The transformer block in its two orders, and a stack of them.

Post-norm, LayerNorm(x + f(x)), is the original (Vaswani et al. 2017; BERT); pre-norm,
x + f(LayerNorm(x)), trains without warm-up tricks (Xiong et al. 2020, arXiv 2002.04745; ViT).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.nn.attention import Attention

Norm = Literal["pre", "post"]
Activation = Literal["gelu", "quick_gelu", "relu"]
Layer = Callable[[Tensor], Tensor]
"""(b, t, width) -> (b, t, width)."""


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x): the approximation of GELU in OpenAI's CLIP weights."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
}


class MLP(nn.Module):
    """Two linear layers on each token alone: width -> hidden -> width."""

    def __init__(
        self, width: int, hidden: int, activation: Activation = "gelu", dropout: float = 0.0
    ):
        """`dropout`: between the layers, as in DETR; BERT and ViT have none there."""
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, t, width) -> (b, t, width)."""
        return self.fc2(self.dropout(self.activation(self.fc1(x))))


def pre_norm_block(x: Tensor, attention: Layer, mlp: Layer, norm1: Layer, norm2: Layer) -> Tensor:
    """y = x + attention(norm1(x)), then y + mlp(norm2(y)): the norms stay off the highway.

    x (b, t, width) -> (b, t, width). Dosovitskiy et al. 2020, equations 2 and 3.
    """
    y = x + attention(norm1(x))
    return y + mlp(norm2(y))


def post_norm_block(x: Tensor, attention: Layer, mlp: Layer, norm1: Layer, norm2: Layer) -> Tensor:
    """y = norm1(x + attention(x)), then norm2(y + mlp(y)): the original order, and BERT's.

    x (b, t, width) -> (b, t, width). Vaswani et al. 2017, section 3.1.
    """
    y = norm1(x + attention(x))
    return norm2(y + mlp(y))


class Block(nn.Module):
    """Attention, then an MLP, each with a residual connection and a norm before or after."""

    def __init__(  # noqa: PLR0913  (a model is made of its numbers)
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        norm: Norm = "pre",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        mlp_dropout: float = 0.0,
        eps: float = 1e-6,
    ):
        """Dropped in training: `dropout` of what each step adds, `attention_dropout` of attention's
        weights (BERT and DETR: as much), `mlp_dropout` within the MLP (DETR: as much)."""
        super().__init__()
        self.norm = norm
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = Attention(width, heads, dropout=attention_dropout)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, round(mlp_ratio * width), activation, mlp_dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        visible: Tensor | None = None,
        return_attention: bool = False,
        places: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x (b, t, width) -> (b, t, width); with return_attention also the weights (b, h, t, t).

        `places` (t, width) or (b, t, width) are added to queries and keys, as in DETR's encoder.
        """
        weights = None

        def look(tokens: Tensor) -> Tensor:
            nonlocal weights
            keys_values = self.attention.keys_values(tokens, places)
            asked = tokens if places is None else tokens + places
            seen = self.attention.attend(asked, keys_values, visible, return_attention)
            if return_attention:
                seen, weights = seen
            return self.dropout(seen)

        def think(tokens: Tensor) -> Tensor:
            return self.dropout(self.mlp(tokens))

        x = self.order(x, look, think, self.norm1, self.norm2)
        return (x, weights) if return_attention else x

    @property
    def order(self) -> Callable[..., Tensor]:
        """Norms before or after."""
        return pre_norm_block if self.norm == "pre" else post_norm_block

    def only(self, x: Tensor, read: Tensor, visible: Tensor | None = None) -> Tensor:
        """`forward` for the tokens that are read; what stands elsewhere is of no use.

        x (b, t, width), read (b, t) bool, visible (b, t) -> (b, t, width). Exact, and cheaper: what
        is read looks at all tokens; for the others keys and values are computed, and nothing else.
        """
        places = places_of(read)
        if places.shape == read.shape:
            return self(x, visible)
        places = places.unsqueeze(2).expand(-1, -1, x.shape[2])
        tokens = self.norm1(x) if self.norm == "pre" else x
        new = self.order(
            x.gather(1, places),
            lambda asked: self.dropout(self.attention(asked, tokens, visible)),
            lambda asked: self.dropout(self.mlp(asked)),
            self.norm1,
            self.norm2,
        )
        return x.to(new.dtype).scatter(1, places, new)


def places_of(read: Tensor) -> Tensor:
    """Where each row's True stand, from left to right, then some of its other places: as many as
    the longest row has True, at least one. read (b, t) bool -> (b, r) int64."""
    order = read.int().argsort(dim=1, descending=True, stable=True)
    longest = torch.nonzero(read.gather(1, order).any(dim=0))
    return order[:, : max(1, len(longest))]


def first_only(rows: int, tokens: int, device: torch.device) -> Tensor:
    """What is read where only the class token is: (rows, tokens) bool, True in the first column."""
    return (torch.arange(tokens, device=device) == 0).expand(rows, -1)


class Transformer(nn.Module):
    """A stack of blocks."""

    def __init__(self, width: int, depth: int, heads: int, **block):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, **block) for _ in range(depth))

    def forward(
        self,
        x: Tensor,
        visible: Tensor | None = None,
        return_attention: bool = False,
        *,
        places: Tensor | None = None,
        read: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """x (b, t, width) -> (b, t, width); with return_attention also each block's weights.

        `places`: as in `Block`, for all blocks alike; not together with `read`.

        `read` (b, t) bool: the tokens whose output is used. The last block is computed for them
        only; what stands elsewhere is of no use. Several masks (b1, t), (b2, t), ... speak for so
        many rows each: those of which little is read are not held up by the others.
        """
        if read is not None and not return_attention:
            *blocks, last = self.blocks
            for block in blocks:
                x = block(x, visible)
            masks = (read,) if isinstance(read, Tensor) else read
            sizes = [len(mask) for mask in masks]
            seen = [None] * len(sizes) if visible is None else visible.split(sizes)
            parts = zip(x.split(sizes), masks, seen, strict=True)
            return torch.cat([last.only(*part) for part in parts])
        maps = []
        for block in self.blocks:
            x = block(x, visible, return_attention, places)
            if return_attention:
                x, weights = x
                maps.append(weights)
        return (x, maps) if return_attention else x


def init_transformer(module: nn.Module, width: int) -> None:
    """Linear and embedding weights from a normal cut at two deviations, biases zero, in place.

    The deviation is BERT's and ViT's 0.02 at their width of 768 and grows as 1/sqrt(width), so
    that narrow models start with signals of the same size. Draws from torch's current generator.
    """
    std = 0.02 * (768 / width) ** 0.5
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer (..., inputs) -> (..., outputs) that starts like those of the transformers."""
    layer = nn.Linear(inputs, outputs)
    init_transformer(layer, inputs)
    return layer
