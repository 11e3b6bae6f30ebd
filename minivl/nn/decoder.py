"""DETR's decoder (Carion et al. 2020, arXiv 2005.12872, appendix A.3): queries ask what is there.

Each query is a learned place to ask from. It looks at the other queries, so that two do not say the
same, then at what the encoders made of picture and text, then thinks alone. Letters: b batch,
q queries, n tokens to look at.
"""

import torch
from torch import Tensor, nn

from minivl.nn.attention import Attention
from minivl.nn.bert import fusion_block
from minivl.nn.fusion import pre_norm_fusion_block
from minivl.nn.transformer import MLP, Activation, Norm


class DecoderBlock(nn.Module):
    """ALBEF's fusion block, but that queries and places guide each look."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        norm: Norm = "post",
        activation: Activation = "relu",
        dropout: float = 0.0,
        eps: float = 1e-5,
    ):
        """`dropout`: of what each step adds, of attention's weights and within the MLP."""
        super().__init__()
        self.norm = norm
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.self_attention = Attention(width, heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.cross_attention = Attention(width, heads, dropout=dropout)
        self.norm3 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, round(mlp_ratio * width), activation, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        queries: Tensor,
        memory: Tensor,
        places: Tensor,
        visible: Tensor | None = None,
        return_attention: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """What the queries know, x (b, q, width) -> (b, q, width).

        queries (b, q, width), memory and its places (b, n, width), visible (b, n) True = may be
        looked at. With return_attention also the weights on the memory (b, heads, q, n).
        """
        weights = None

        def listen(tokens: Tensor) -> Tensor:
            heard = self.self_attention.keys_values(tokens, queries)
            return self.dropout(self.self_attention.attend(tokens + queries, heard))

        def look(tokens: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
            nonlocal weights
            found = self.cross_attention.attend(tokens + queries, seen, visible, return_attention)
            if return_attention:
                found, weights = found
            return self.dropout(found)

        def think(tokens: Tensor) -> Tensor:
            return self.dropout(self.mlp(tokens))

        seen = self.cross_attention.keys_values(memory, places)
        order = pre_norm_fusion_block if self.norm == "pre" else fusion_block
        x = order(x, seen, listen, look, think, self.norm1, self.norm2, self.norm3)
        return (x, weights) if return_attention else x


class Decoder(nn.Module):
    """A stack of such blocks; what each of them knows is told, after one norm for all."""

    def __init__(self, width: int, depth: int, heads: int, *, eps: float = 1e-5, **block):
        """`block`: mlp_ratio, norm, activation, dropout as in `DecoderBlock`."""
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(
            DecoderBlock(width, heads, eps=eps, **block) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(
        self,
        queries: Tensor,
        memory: Tensor,
        places: Tensor,
        visible: Tensor | None = None,
        return_attention: bool = False,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """queries (b, q, width), memory and places (b, n, width), visible (b, n) -> what the
        queries know after each block (depth, b, q, width).

        They begin with zeros: at first a query is only the place that it asks from. With
        return_attention also each block's weights on the memory (b, heads, q, n).
        """
        x, states, maps = torch.zeros_like(queries), [], []
        for block in self.blocks:
            x = block(x, queries, memory, places, visible, return_attention)
            if return_attention:
                x, weights = x
                maps.append(weights)
            states.append(self.norm(x))
        states = torch.stack(states)
        return (states, maps) if return_attention else states
