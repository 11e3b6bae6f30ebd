"""BERT's encoder (Devlin et al. 2018, arXiv 1810.04805): word pieces that read both ways."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minivl.nn.transformer import Activation, Layer, Norm, Transformer, init_transformer


def fusion_block(
    text: Tensor,
    image: Any,
    self_attention: Layer,
    cross_attention: Callable[[Tensor, Any], Tensor],
    mlp: Layer,
    norm1: Layer,
    norm2: Layer,
    norm3: Layer,
) -> Tensor:
    """BERT's block with a look at the picture between its two steps; each ends with a norm.

    text (b, t, width), image (b, n, d), or whatever cross_attention(words, image) takes for it
    -> (b, t, width). ALBEF (Li et al. 2021, arXiv 2107.07651), section 3.1; Vaswani et al. 2017's
    decoder, section 3.1.
    """
    x = norm1(text + self_attention(text))
    x = norm2(x + cross_attention(x, image))
    return norm3(x + mlp(x))


class Bert(nn.Module):
    """Word, position and segment embeddings, a norm, and a stack of blocks.

    BERT is post-norm; `norm="pre"` is easier to train in minutes and ends with a norm.
    """

    def __init__(  # noqa: PLR0913  (a model is made of its numbers)
        self,
        *,
        vocab_size: int,
        width: int,
        depth: int,
        heads: int,
        max_length: int = 512,
        token_types: int = 2,
        norm: Norm = "post",
        dropout: float = 0.0,
        eps: float = 1e-12,
        activation: Activation = "gelu",
    ):
        super().__init__()
        self.width = width
        self.word_embed = nn.Embedding(vocab_size, width)
        self.pos_embed = nn.Embedding(max_length, width)
        self.token_type_embed = nn.Embedding(token_types, width)
        self.embed_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(
            width, depth, heads, norm=norm, dropout=dropout, eps=eps, activation=activation
        )
        self.norm = nn.LayerNorm(width, eps=eps) if norm == "pre" else nn.Identity()
        init_transformer(self, width)

    def embed(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """input_ids (b, t) -> embeddings (b, t, width), normed. Segment 0 unless told."""
        length = input_ids.shape[1]
        if length > self.pos_embed.num_embeddings:
            raise ValueError(
                f"{length} word pieces, but this model has {self.pos_embed.num_embeddings} "
                "positions: truncate the text or raise max_length"
            )
        positions = self.pos_embed.weight[:length]
        types = (
            self.token_type_embed.weight[0]
            if token_type_ids is None
            else self.token_type_embed(token_type_ids)
        )
        return self.dropout(self.embed_norm(self.word_embed(input_ids) + positions + types))

    def states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        return_attention: bool = False,
        *,
        token_type_ids: Tensor | None = None,
        read: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """What the last block gives, before the last norm if there is one: (b, t, width).

        FLAVA's multimodal encoder reads this; all else reads `forward`. `read` (b, t): as in
        `Transformer`.
        """
        visible = None if attention_mask is None else attention_mask.to(torch.bool)
        embedded = self.embed(input_ids, token_type_ids)
        return self.transformer(embedded, visible, return_attention, read=read)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        return_attention: bool = False,
        *,
        token_type_ids: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """input_ids (b, t), attention_mask (b, t) True = visible -> states (b, t, width).

        With return_attention also each block's weights (b, heads, t, t).
        """
        x = self.states(input_ids, attention_mask, return_attention, token_type_ids=token_type_ids)
        if return_attention:
            return self.norm(x[0]), x[1]
        return self.norm(x)
