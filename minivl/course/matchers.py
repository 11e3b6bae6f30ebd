"""Three ways of fusing behind one interface, with the head that says no or yes.

They read states of encoders that came before. Letters: b pairs, n tokens of a picture, t word
pieces.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from minivl.course.frozen import States
from minivl.models.flava import MultimodalEncoder
from minivl.nn.co_attention import CoAttentionEncoder
from minivl.nn.fusion import FusionEncoder
from minivl.nn.transformer import init_transformer

MERGED, CO, CROSS = "merged attention", "co-attention", "cross-attention"

FUSIONS: Mapping[str, Callable[[int, int, int], nn.Module]] = {
    MERGED: lambda width, depth, heads: MultimodalEncoder(width, depth, heads),
    CO: lambda width, depth, heads: CoAttentionEncoder(width, depth, heads),
    CROSS: lambda width, depth, heads: FusionEncoder(width, depth, heads, norm="pre"),
}
"""What to call it -> encoder(width, depth, heads)."""

BLOCKS = {MERGED: 12, CO: 24, CROSS: 16}
"""Parameters of a block's linear layers, by width²."""


class Fusion(nn.Module):
    """One of the three, all called alike."""

    def __init__(self, kind: str, width: int, depth: int, heads: int = 2):
        """Raises ValueError for a kind that is not in `FUSIONS`."""
        super().__init__()
        if kind not in FUSIONS:
            raise ValueError(f"{kind!r}: choose among {', '.join(FUSIONS)}")
        self.kind = kind
        self.encoder = FUSIONS[kind](width, depth, heads)

    def forward(self, image: Tensor, text: Tensor, seen: Tensor | None = None) -> Tensor:
        """image (b, n, width), text (b, t, width), seen (b, t) -> all tokens (b, n + t, width).

        Merged attention has a class token of its own before them. A picture that the fusion leaves
        as it was comes out as it went in.
        """
        if seen is None:
            seen = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
        if self.kind == MERGED:
            return self.encoder(image, text, seen)
        if self.kind == CO:
            words, patches = self.encoder(text, image, seen)
            return torch.cat([patches, words], dim=1)
        return torch.cat([image, self.encoder(text, image, seen)], dim=1)

    def summary(self, image: Tensor, text: Tensor, seen: Tensor | None = None) -> Tensor:
        """The vector (b, width) that sums up a pair: [CLS_M] (FLAVA), the product of both class
        tokens (ViLBERT), or that of the words (ALBEF)."""
        tokens, n = self(image, text, seen), image.shape[1]
        if self.kind == MERGED:
            return tokens[:, 0]
        return tokens[:, 0] * tokens[:, n] if self.kind == CO else tokens[:, n]


class Matcher(nn.Module):
    """Each side through a norm and a linear layer, a fusion, two scores: no, yes."""

    def __init__(self, kind: str, widths: tuple[int, int], width: int, depth: int, heads: int = 2):
        """`widths` of a picture's and a text's states, `width` of the fusion's."""
        super().__init__()
        self.sides = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(given), nn.Linear(given, width)) for given in widths
        )
        self.fusion = Fusion(kind, width, depth, heads)
        self.head = nn.Linear(width, 2)
        init_transformer(self.head, width)

    def forward(self, image: Tensor, text: Tensor, seen: Tensor) -> Tensor:
        """image (b, n, d), text (b, t, e), seen (b, t) -> (b, 2)."""
        return self.head(self.fusion.summary(self.sides[0](image), self.sides[1](text), seen))


@torch.no_grad()
def belief(matcher: nn.Module, asked: States, pictures: Tensor, texts: Tensor) -> Tensor:
    """How much more yes than no: picture pictures[i] with sentence texts[i], (k,)."""
    found = []
    for i, t in zip(pictures.split(1024), texts.split(1024), strict=True):
        no, yes = matcher(asked.image[i], asked.text[t], asked.seen[t]).unbind(1)
        found.append(yes - no)
    return torch.cat(found)


def both_beliefs(matcher: nn.Module, asked: States, wrong: Tensor) -> tuple[Tensor, Tensor]:
    """`belief` of the first k pictures in their own sentences, and in sentences wrong (k,)."""
    own = torch.arange(len(wrong), device=wrong.device)
    return belief(matcher, asked, own, own), belief(matcher, asked, own, wrong)


def yes_or_no(matcher: nn.Module, asked: States, wrong: Tensor) -> float:
    """Share of right answers: yes to a picture's own sentence, no to sentence wrong[i]."""
    right, foreign = both_beliefs(matcher, asked, wrong)
    return float(torch.cat([right > 0, foreign <= 0]).double().mean())


def all_beliefs(matcher: nn.Module, asked: States) -> Tensor:
    """`belief` of each picture in each sentence, (n, n)."""
    n = len(asked)
    pairs = torch.arange(n * n, device=asked.image.device)
    return belief(matcher, asked, pairs // n, pairs % n).view(n, n)
