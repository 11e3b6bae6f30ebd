"""ALBEF's encoders (Li et al. 2021, arXiv 2107.07651, section 3.1): of pictures, of texts, of both.

All of it has a momentum twin, a slower copy that no gradient reaches.
"""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.head import PredictionHead
from minivl.nn.precision import wide
from minivl.nn.transformer import linear
from minivl.nn.vit import ViT

Pool = Literal["cls", "mean"]
Read = Tensor | Sequence[Tensor] | None
"""Which states are used, (b, t) bool or several masks of so many rows each: as in `Transformer`."""


class Encoders(nn.Module):
    """Three encoders, two projections into one space, and the head that names words."""

    def __init__(
        self,
        image_encoder: ViT,
        text_encoder: Bert,
        fusion_encoder: FusionEncoder,
        *,
        embed_dim: int,
        image_pool: Pool = "cls",
        text_pool: Pool = "cls",
        eps: float = 1e-12,
    ):
        """`image_pool`, `text_pool`: what of a picture meets what of a sentence; the mean patch and
        the mean word learn far sooner than the paper's class tokens."""
        super().__init__()
        self.embed_dim, self.eps = embed_dim, eps
        self.image_pool, self.text_pool = image_pool, text_pool
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.fusion_encoder = fusion_encoder
        self.image_proj = linear(image_encoder.width, embed_dim)
        self.text_proj = linear(text_encoder.width, embed_dim)
        words = text_encoder.word_embed.num_embeddings
        self.mlm_head = PredictionHead(text_encoder.width, words, tied=True, eps=eps)

    def image_tokens(self, image: Tensor, *, read: Read = None) -> Tensor:
        """image (b, 3, h, w) -> tokens (b, 1+n, width), the class token first, normed.

        `read` (b, 1+n), here and below: the last block is computed for these only.
        """
        return self.image_encoder.norm(self.image_encoder.states(image, read=read))

    def text_states(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, *, read: Read = None
    ) -> Tensor:
        """input_ids, attention_mask (b, t) -> states (b, t, width) of the text encoder, normed."""
        states = self.text_encoder.states(input_ids, attention_mask, read=read)
        return self.text_encoder.norm(states)

    def fuse(
        self,
        image_tokens: Tensor,
        text_states: Tensor,
        attention_mask: Tensor | None = None,
        return_attention: bool = False,
        *,
        image_index: Tensor | None = None,
        read: Read = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Words that have looked at a picture: image_tokens (m, 1+n, w), text_states (b, t, width)
        -> (b, t, width).

        `image_index` (b): whose picture each text looks at; without, its own. With
        return_attention also each block's weights on the picture (b, heads, t, 1+n).
        """
        seen = None if attention_mask is None else attention_mask.to(torch.bool)
        return self.fusion_encoder(
            text_states, image_tokens, seen, return_attention, image_index=image_index, read=read
        )

    def predict(self, fused: Tensor) -> Tensor:
        """States (..., width) -> a score for each word of the vocabulary (..., words)."""
        return self.mlm_head(fused, self.text_encoder.word_embed.weight)

    def pool_image(self, tokens: Tensor) -> Tensor:
        """tokens (b, 1+n, width), the class token first -> the picture's vector (b, width)."""
        return tokens[:, 0] if self.image_pool == "cls" else tokens[:, 1:].mean(dim=1)

    def pool_text(self, states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """States (b, t, width), [CLS] first -> the text's vector (b, width), padding left out."""
        if self.text_pool == "cls":
            return states[:, 0]
        if attention_mask is None:
            return states.mean(dim=1)
        seen = attention_mask.to(states.dtype).unsqueeze(2)
        return (states * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1)

    def image_vector(self, tokens: Tensor) -> Tensor:
        """tokens (b, 1+n, width) -> g_v(v_cls), length 1: (b, embed_dim); section 3.2."""
        return F.normalize(wide(self.image_proj(self.pool_image(tokens))), dim=-1)

    def text_vector(self, states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """States (b, t, width) -> g_w(w_cls), length 1: (b, embed_dim); section 3.2."""
        return F.normalize(wide(self.text_proj(self.pool_text(states, attention_mask))), dim=-1)

    # The three exits.

    def encode_image(
        self, image: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """image (b, 3, h, w) -> (b, embed_dim), not normalised: where pictures meet sentences.

        With return_attention also each block's weights (b, heads, 1+n, 1+n).
        """
        if return_attention:
            tokens, maps = self.image_encoder(image, return_attention=True)
            return self.image_proj(self.pool_image(tokens)), maps
        return self.image_proj(self.pool_image(self.image_tokens(image)))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids, attention_mask (b, t) -> (b, embed_dim), not normalised."""
        states = self.text_states(input_ids, attention_mask)
        return self.text_proj(self.pool_text(states, attention_mask))

    def encode_pair(
        self,
        image: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        return_attention: bool = False,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """image (b, 3, h, w), input_ids, attention_mask (b, t) -> fused states (b, t, width).

        With return_attention also each block's weights on the picture (b, heads, t, 1+n).
        """
        states = self.text_states(input_ids, attention_mask)
        return self.fuse(self.image_tokens(image), states, attention_mask, return_attention)


def twin_of(encoders: Encoders) -> Encoders:
    """A copy that learns nothing by itself: no gradient, evaluation mode."""
    parts = (encoders.image_encoder, encoders.text_encoder, encoders.fusion_encoder)
    twin = Encoders(
        *map(copy.deepcopy, parts),
        embed_dim=encoders.embed_dim,
        image_pool=encoders.image_pool,
        text_pool=encoders.text_pool,
        eps=encoders.eps,
    )
    for name, part in twin.named_children():
        part.load_state_dict(getattr(encoders, name).state_dict())
    return twin.requires_grad_(False).eval()
