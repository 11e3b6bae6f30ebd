"""ALBEF's fusion encoder (Li et al. 2021, arXiv 2107.07651, section 3.1): words look at pictures.

Blocks of three steps: words look at each other, then at the picture (cross-attention), then each
thinks alone. The decoder of Vaswani et al. 2017 is the same with a causal mask. Letters: b texts,
t word pieces, m pictures, n tokens of a picture, d their width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from minivl.nn.attention import Attention
from minivl.nn.bert import fusion_block
from minivl.nn.transformer import MLP, Activation, Layer, Norm, init_transformer, places_of

Seen = tuple[Tensor, Tensor]
"""Keys and values of pictures (b, heads, n, width / heads) each."""


def pre_norm_fusion_block(
    text: Tensor,
    image: Seen | Tensor,
    self_attention: Layer,
    cross_attention: Callable[[Tensor, Seen | Tensor], Tensor],
    mlp: Layer,
    norm1: Layer,
    norm2: Layer,
    norm3: Layer,
) -> Tensor:
    """`fusion_block` with its norms before each step, off the highway: easier to train in minutes.

    text (b, t, width), image what cross_attention(words, image) takes -> (b, t, width).
    """
    x = text + self_attention(norm1(text))
    x = x + cross_attention(norm2(x), image)
    return x + mlp(norm3(x))


class FusionBlock(nn.Module):
    """Self-attention, cross-attention to a picture, MLP: each with a residual and a norm."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context_width: int | None = None,
        mlp_ratio: float = 4.0,
        norm: Norm = "post",
        dropout: float = 0.0,
        eps: float = 1e-12,
        activation: Activation = "gelu",
    ):
        """`context_width` is the pictures', as wide as the text unless told."""
        super().__init__()
        self.norm = norm
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.self_attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.cross_attention = Attention(width, heads, context_width=context_width)
        self.norm3 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, round(mlp_ratio * width), activation)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        text: Tensor,
        image: Tensor | Seen,
        visible: Tensor | None = None,
        return_attention: bool = False,
        *,
        image_visible: Tensor | None = None,
        heard: Tensor | None = None,
        used: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """text (b, t, width), image (b, n, d) or what `keys_values` made of it -> (b, t, width).

        `visible` (b, t) or broadcastable to (b, heads, t, t), `image_visible` (b, n), `heard`: what
        `hear` gives, if that is known. `used`: numbers of the b * t tokens that are of use; the
        others need not think. With return_attention also the weights of words on the picture
        (b, heads, t, n).
        """
        return self.ask(text, text, image, visible, image_visible, return_attention, heard, used)

    def hear(self, text: Tensor, visible: Tensor | None = None) -> Tensor:
        """What words tell each other, the first of the three steps: (b, t, width) -> the same.

        It knows of no picture: a text that looks at several needs it once.
        """
        words = self.norm1(text) if self.norm == "pre" else text
        return self.dropout(self.self_attention(words, None, visible))

    def keys_values(self, image: Tensor, image_index: Tensor | None = None) -> Seen:
        """What there is to see: projected once a picture, however many texts look at it.

        image (m, n, d), image_index (b) which picture each text looks at -> (b, h, n, width / h)
        twice.
        """
        seen = self.cross_attention.keys_values(image)
        if image_index is None:
            return seen
        # Tokens first, as they lie in memory: the gradient of a gather is slow in any other order.
        return tuple(
            part.transpose(1, 2).index_select(0, image_index).transpose(1, 2) for part in seen
        )

    def only(
        self,
        text: Tensor,
        image: Tensor | Seen,
        read: Tensor,
        visible: Tensor | None = None,
        *,
        image_visible: Tensor | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """`forward` for the tokens that are read; what stands elsewhere is of no use.

        read (b, t) bool -> (b, t, width). What is read looks at all words, as in `Block.only`.
        """
        places = places_of(read)
        used = numbers_of(read.gather(1, places))
        places = places.unsqueeze(2).expand(-1, -1, text.shape[2])
        heard = None if heard is None else heard.gather(1, places)
        asked = text.gather(1, places)
        new = self.ask(asked, text, image, visible, image_visible, heard=heard, used=used)
        return text.to(new.dtype).scatter(1, places, new)

    def ask(  # noqa: PLR0913  (who asks, who is asked, and what of it is known or of use)
        self,
        asked: Tensor,
        text: Tensor,
        image: Tensor | Seen,
        visible: Tensor | None,
        image_visible: Tensor | None,
        return_attention: bool = False,
        heard: Tensor | None = None,
        used: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """New states of some of a text's words: asked (b, r, width) of (b, t, width).

        `heard` (b, r, width) and `used`, of b * r, as in `forward`.
        """
        whole, weights = asked is text, None
        words = text if whole or self.norm == "post" else self.norm1(text)

        def listen(tokens: Tensor) -> Tensor:
            if heard is not None:
                return heard
            return self.dropout(self.self_attention(tokens, None if whole else words, visible))

        def look(tokens: Tensor, seen: Seen) -> Tensor:
            nonlocal weights
            found = self.cross_attention.attend(tokens, seen, image_visible, return_attention)
            if return_attention:
                found, weights = found
            return self.dropout(found)

        def think(tokens: Tensor) -> Tensor:
            return self.dropout(where_used(self.mlp, tokens, used))

        seen = self.cross_attention.keys_values(image) if isinstance(image, Tensor) else image
        order = pre_norm_fusion_block if self.norm == "pre" else fusion_block
        x = order(asked, seen, listen, look, think, self.norm1, self.norm2, self.norm3)
        return (x, weights) if return_attention else x


def where_used(layer: Layer, tokens: Tensor, used: Tensor | None) -> Tensor:
    """What a layer makes of each token alone, (b, t, width); zero where it is not used.

    used: numbers of the b * t tokens, or None for all.
    """
    if used is None:
        return layer(tokens)
    flat = tokens.flatten(0, 1)
    new = layer(flat.index_select(0, used))
    return new.new_zeros(flat.shape).index_copy(0, used, new).view_as(tokens)


def numbers_of(mask: Tensor) -> Tensor:
    """Which of the tokens are True, mask (b, t), counted through the batch: (rows)."""
    return torch.nonzero(mask.flatten()).squeeze(1)


class FusionEncoder(nn.Module):
    """A stack of fusion blocks, and a last norm where they are pre-norm."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        *,
        norm: Norm = "post",
        eps: float = 1e-12,
        **block,
    ):
        """`block`: context_width, mlp_ratio, dropout, activation as in `FusionBlock`."""
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(
            FusionBlock(width, heads, norm=norm, eps=eps, **block) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=eps) if norm == "pre" else nn.Identity()
        init_transformer(self, width)

    def forward(  # noqa: PLR0913  (who looks at what, what may be seen, and what is asked for)
        self,
        text: Tensor,
        image: Tensor,
        attention_mask: Tensor | None = None,
        return_attention: bool = False,
        *,
        text_index: Tensor | None = None,
        image_index: Tensor | None = None,
        image_mask: Tensor | None = None,
        read: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """text (b, t, width), image (m, n, d) -> fused states (b, t, width).

        attention_mask (b, t), or without `read` any (b or 1, 1, t, t), image_mask (m, n): True =
        visible. image_index (b): the picture of each text; without it text i looks at picture i.
        With return_attention also each block's weights of words on pictures (b, heads, t, n).

        text_index (r): texts that look at pictures, image_index (r), with an attention_mask (b, t);
        then states and weights are those of so many rows. A text tells itself once what it says,
        before it looks at any.

        `read` (b or r, t), or masks of so many rows each: the tokens that are used; the last block
        is computed for them only, and what stands elsewhere is of no use.
        """
        visible = None if attention_mask is None else attention_mask.to(torch.bool)
        heard, used, last, blocks = None, None, None, self.blocks
        if text_index is not None:
            heard = blocks[0].hear(text, visible).index_select(0, text_index)
            text = text.index_select(0, text_index)
            visible = None if visible is None else visible.index_select(0, text_index)
        if image_index is None and len(image) != len(text):
            raise ValueError(
                f"{len(image)} pictures for {len(text)} texts: image_index says who looks at which"
            )
        image_visible = None if image_mask is None else image_mask.to(torch.bool)
        if image_visible is not None and image_index is not None:
            image_visible = image_visible[image_index]
        if read is not None and not return_attention:
            *blocks, last = blocks
            masks = (read,) if isinstance(read, Tensor) else read
            # Padding that nobody reads need not think: no word looks at it.
            used = None if visible is None else numbers_of(visible | torch.cat(list(masks)))
        maps = []
        for block in blocks:
            seen = block.keys_values(image, image_index)
            text = block(
                text, seen, visible, return_attention,
                image_visible=image_visible, heard=heard, used=used,
            )  # fmt: skip
            heard = None
            if return_attention:
                text, weights = text
                maps.append(weights)
        if last is not None:
            seen = last.keys_values(image, image_index)
            text = read_only(last, text, seen, masks, visible, image_visible, heard)
        text = self.norm(text)
        return (text, maps) if return_attention else text


def read_only(
    block: FusionBlock,
    text: Tensor,
    seen: Seen,
    masks: Sequence[Tensor],
    visible: Tensor | None,
    image_visible: Tensor | None,
    heard: Tensor | None,
) -> Tensor:
    """`FusionBlock.only` for each mask's own rows: few read there are not held up by the others."""
    sizes = [len(mask) for mask in masks]

    def parts(x: Tensor | None) -> Sequence[Tensor | None]:
        return [None] * len(sizes) if x is None else x.split(sizes)

    given = (text, *seen, visible, image_visible, heard)
    return torch.cat(
        [
            block.only(some, (keys, values), asked, words, image_visible=tokens, heard=told)
            for asked, some, keys, values, words, tokens, told in zip(
                masks, *map(parts, given), strict=True
            )
        ]
    )
