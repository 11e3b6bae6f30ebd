"""Co-attention (ViLBERT: Lu et al. 2019, arXiv 1908.02265, section 2.2): two streams that exchange.

Words look at the picture while the picture looks at the words; each keeps a stream and weights of
its own. Letters: b pairs, t word pieces, n tokens of a picture.
"""

import torch
from torch import Tensor, nn

from minivl.nn.attention import Attention
from minivl.nn.transformer import MLP, init_transformer


class CoAttentionBlock(nn.Module):
    """Each side asks the other, then thinks alone; pre-norm, with residuals."""

    def __init__(self, width: int, heads: int, *, mlp_ratio: float = 4.0, eps: float = 1e-6):
        super().__init__()
        hidden = round(mlp_ratio * width)
        self.text_norm1 = nn.LayerNorm(width, eps=eps)
        self.image_norm1 = nn.LayerNorm(width, eps=eps)
        self.text_attention = Attention(width, heads)
        self.image_attention = Attention(width, heads)
        self.text_norm2 = nn.LayerNorm(width, eps=eps)
        self.image_norm2 = nn.LayerNorm(width, eps=eps)
        self.text_mlp = MLP(width, hidden)
        self.image_mlp = MLP(width, hidden)

    def forward(
        self, text: Tensor, image: Tensor, words: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """text (b, t, width), image (b, n, width), words (b, t) True = visible -> the same two.

        Both look at what the other was before the block.
        """
        said, shown = self.text_norm1(text), self.image_norm1(image)
        text = text + self.text_attention(said, shown)
        image = image + self.image_attention(shown, said, words)
        text = text + self.text_mlp(self.text_norm2(text))
        return text, image + self.image_mlp(self.image_norm2(image))


class CoAttentionEncoder(nn.Module):
    """A stack of such blocks, and a last norm of each side.

    ViLBERT also puts a block of self-attention after each one. Here encoders came before.
    """

    def __init__(self, width: int, depth: int, heads: int, *, eps: float = 1e-6, **block):
        """`block`: mlp_ratio as in `CoAttentionBlock`."""
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(
            CoAttentionBlock(width, heads, eps=eps, **block) for _ in range(depth)
        )
        self.text_norm = nn.LayerNorm(width, eps=eps)
        self.image_norm = nn.LayerNorm(width, eps=eps)
        init_transformer(self, width)

    def forward(
        self, text: Tensor, image: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """text (b, t, width), image (b, n, width), attention_mask (b, t) -> both sides, fused."""
        words = None if attention_mask is None else attention_mask.to(torch.bool)
        for block in self.blocks:
            text, image = block(text, image, words)
        return self.text_norm(text), self.image_norm(image)
