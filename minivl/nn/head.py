"""What stands on an encoder where something hidden is to be named: BERT's prediction head."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.nn.precision import wide
from minivl.nn.transformer import init_transformer


class PredictionHead(nn.Module):
    """Dense, GELU, norm, and a score for each class: Devlin et al. 2018's code; also FLAVA's heads.

    The last layer's vectors, one a class, may be the encoder's word embeddings (`tied`); they are
    then given with each call.
    """

    def __init__(self, width: int, classes: int, *, tied: bool = False, eps: float = 1e-12):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(classes))
        # No nn.Linear: like an embedding it holds a vector a class, and is not a hidden matrix.
        self.decoder = None if tied else nn.Parameter(torch.empty(classes, width))
        init_transformer(self, width)
        if self.decoder is not None:
            std = 0.02 * (768 / width) ** 0.5
            nn.init.trunc_normal_(self.decoder, std=std, a=-2 * std, b=2 * std)

    def forward(self, x: Tensor, decoder: Tensor | None = None) -> Tensor:
        """x (..., width) -> logits (..., classes); `decoder` (classes, width) if tied."""
        vectors = self.decoder if decoder is None else decoder
        logits = F.linear(self.norm(F.gelu(self.dense(x))), vectors, self.bias)
        # A softmax over thousands of classes needs more digits than bfloat16 has.
        return wide(logits)
