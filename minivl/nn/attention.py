"""Attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2): every token looks at the others.

Letters: b batch, h heads, t queries, s keys, d width of a head. Masks: True = visible.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def attention(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, equation 1, without ever holding the weights in memory.

    q (b, h, t, d), k and v (b, h, s, d) -> (b, h, t, d). `visible` (broadcastable to b, h, t, s)
    is True where a query may look; a query that may look nowhere gets zeros.
    """
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)


def attention_map(q: Tensor, k: Tensor, visible: Tensor | None = None) -> Tensor:
    """The weights of `attention`: softmax(q k^T / sqrt(d)), (b, h, t, s); each row sums to one.

    q (b, h, t, d), k (b, h, s, d), `visible` as in `attention`; zeros where nothing is visible.
    """
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if visible is None:
        return scores.softmax(dim=-1)
    # The lowest number, not -inf: a row that sees nothing would become NaN, its gradient too.
    scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~visible, 0.0)


def key_mask(visible: Tensor | None) -> Tensor | None:
    """A padding mask (b, s) as (b, 1, 1, s), the same for all heads and queries; others as is."""
    if visible is not None and visible.ndim == 2:
        return rearrange(visible, "b s -> b 1 1 s")
    return visible


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, or to another one (cross-attention)."""

    def __init__(self, width: int, heads: int, *, context_width: int | None = None):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
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
        context = x if context is None else context
        q, k, v = (
            rearrange(projected, "b t (h d) -> b h t d", h=self.heads)
            for projected in (self.q_proj(x), self.k_proj(context), self.v_proj(context))
        )
        mask = key_mask(visible)
        if return_attention:
            weights = attention_map(q, k, mask)
            return self.out_proj(rearrange(weights @ v, "b h t d -> b t (h d)")), weights
        return self.out_proj(rearrange(_attend(q, k, v, mask), "b h t d -> b t (h d)"))


def _attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
    """`attention`, in float32 where the CPU would compute it in bfloat16.

    Torch 2.15's CPU kernel walks back through bfloat16 nine times slower: 83 against 9 ms for 37
    tokens of 128 pictures.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return attention(q, k, v, visible)
    with torch.autocast("cpu", enabled=False):
        return attention(q.float(), k.float(), v.float(), visible).to(q.dtype)
