"""Attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2): every token looks at the others.

Letters: b batch, h heads, t queries, s keys, d width of a head. Masks: True = visible.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, equation 1: each query mixes the values it finds similar.

    query (b, h, t, d), key (b, h, s, d), value (b, h, s, e) -> (b, h, t, e). `mask`
    (broadcastable to b, h, t, s) is True where a query may look; one that may look nowhere gets
    zeros.
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if mask is None:
        return scores.softmax(dim=-1) @ value
    # The lowest number, not -inf: a row that sees nothing would become NaN, its gradient too.
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0) @ value


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """The same as `attention` in one kernel that never holds the weights: what training calls.

    `dropout` is the share of the weights that are dropped.

    On CPUs in float32 even under bfloat16 autocast: Torch 2.15's kernel walks back through
    bfloat16 nine times slower there (83 against 9 ms for 37 tokens of 128 pictures).
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    with torch.autocast("cpu", enabled=False):
        wide = F.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), attn_mask=mask, dropout_p=dropout
        )
        return wide.to(query.dtype)


def attention_map(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """The weights of `attention`, (b, h, t, s): each query's add up to one, or are all zero.

    query (b, h, t, d), key (b, h, s, d), `mask` as in `attention`. The weights are what comes out
    when every key's value is a one at the key's own place.
    """
    keys = key.shape[-2]
    own_place = torch.eye(keys, dtype=query.dtype, device=query.device)
    return attention(query, key, own_place.expand(*key.shape[:-2], keys, keys), mask)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Give every head its own slice of the width: (b, t, h*d) -> (b, h, t, d). Section 3.2.2."""
    return rearrange(x, "b t (h d) -> b h t d", h=heads)


def merge_heads(x: Tensor) -> Tensor:
    """The heads' slices side by side again: (b, h, t, d) -> (b, t, h*d)."""
    return rearrange(x, "b h t d -> b t (h d)")


def key_mask(visible: Tensor | None) -> Tensor | None:
    """A padding mask (b, s) as (b, 1, 1, s), the same for all heads and queries; others as is."""
    if visible is not None and visible.ndim == 2:
        return rearrange(visible, "b s -> b 1 1 s")
    return visible


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, or to another one (cross-attention)."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context_width: int | None = None,
        dropout: float = 0.0,
    ):
        """`context_width`: what it looks at is so wide, as wide as itself unless told; `dropout`:
        share of the weights that are dropped in training, but where they are asked for."""
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(context_width or width, width)
        self.v_proj = nn.Linear(context_width or width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        visible: Tensor | None = None,
        return_attention: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x (b, t, width), context (b, s, context_width) or None for itself -> (b, t, width).

        `visible` (b, s) or broadcastable to (b, h, t, s). With return_attention also the weights
        (b, h, t, s); the output beside them is the same.
        """
        keys_values = self.keys_values(x if context is None else context)
        return self.attend(x, keys_values, visible, return_attention)

    def keys_values(self, context: Tensor, places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What there is to look at: context (b, s, context_width) -> keys, values (b, h, s, d).

        `places`, as wide, are added where the look is guided, and not to what is found there: DETR
        (Carion et al. 2020, arXiv 2005.12872, figure 10).
        """
        known = context if places is None else context + places
        key, value = self.k_proj(known), self.v_proj(context)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def attend(
        self,
        x: Tensor,
        keys_values: tuple[Tensor, Tensor],
        visible: Tensor | None = None,
        return_attention: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """`forward` where keys and values are there already: several texts may look at a picture.

        x (b, t, width), keys_values (b, h, s, d) each -> (b, t, width).
        """
        query, mask = split_heads(self.q_proj(x), self.heads), key_mask(visible)
        if return_attention:
            weights = attention_map(query, keys_values[0], mask)
            return self.out_proj(merge_heads(weights @ keys_values[1])), weights
        # Said only where it drops: whoever puts another attention here need not know of it.
        dropped = {"dropout": self.dropout} if self.training and self.dropout else {}
        return self.out_proj(merge_heads(fused_attention(query, *keys_values, mask, **dropped)))
