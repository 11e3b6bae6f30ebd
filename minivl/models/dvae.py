"""The image tokenizer of DALL-E (Ramesh et al. 2021, arXiv 2102.12092): pictures as a few words."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.nn import dvae
from minivl.nn.precision import wide

SMALLEST_LOG_SCALE = -7.0
"""Flat regions would drive the likelihood's scale to 0 and the loss to minus infinity."""


class DVAE(nn.Module):
    """An encoder that names a code for each cell of a picture, a decoder that draws from names.

    Pictures are as in every batch: (b, 3, h, w) in [-1, 1].
    """

    def __init__(
        self, encoder: dvae.Encoder, decoder: dvae.Decoder, *, straight_through: bool = False
    ):
        """`straight_through` decodes one-hot draws in training too; the paper decodes soft ones.

        ValueError where encoder and decoder speak of different numbers of codes.
        """
        super().__init__()
        if encoder.vocab_size != decoder.vocab_size:
            raise ValueError(
                f"the encoder names {encoder.vocab_size} codes, "
                f"the decoder knows {decoder.vocab_size}"
            )
        self.encoder = encoder
        self.decoder = decoder
        self.straight_through = straight_through
        self.temperature = 1.0
        """Of the Gumbel-softmax; a schedule lowers it, until draws are nearly one-hot."""
        self.beta = 0.0
        """Weight of the KL divergence per cell, in units of the mean loss per colour value."""
        self.step = 0
        """Optimiser steps taken, as the engine counts them."""
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def vocab_size(self) -> int:
        """The number of codes."""
        return self.encoder.vocab_size

    @property
    def stride(self) -> int:
        """Side of a cell in pixels."""
        return self.encoder.stride

    def encode(self, image: Tensor) -> Tensor:
        """image (b, 3, h, w) -> logits of the codes (b, k, h/stride, w/stride).

        ValueError where the stride leaves a rest.
        """
        return self.encoder(dvae.map_pixels((image + 1) / 2))

    def draw(self, codes: Tensor) -> Tensor:
        """codes (b, k, gh, gw), shares or one-hot -> picture (b, 3, gh*stride, gw*stride)."""
        mu = wide(self.decoder(codes))[:, :3]
        return 2 * dvae.unmap_pixels(torch.sigmoid(mu)) - 1

    def tokenize(self, image: Tensor) -> Tensor:
        """image (b, 3, h, w) -> the codes' numbers (b, h/stride, w/stride) int64, no graph kept.

        ValueError where the stride leaves a rest.
        """
        with torch.inference_mode():
            tokens = dvae.visual_tokens(self.encode(image))
        return tokens.clone()  # a tensor of inference mode could not become a label of a loss

    def decode(self, tokens: Tensor) -> Tensor:
        """tokens (b, gh, gw) int64 -> the picture that they draw (b, 3, gh*stride, gw*stride)."""
        return self.draw(self.one_hot(tokens))

    def one_hot(self, tokens: Tensor) -> Tensor:
        """tokens (b, gh, gw) -> (b, k, gh, gw) in the weights' number format."""
        hot = F.one_hot(tokens, self.vocab_size).movedim(-1, 1)
        return hot.to(self.decoder.codebook.weight.dtype)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"reconstruction": nats a colour value, "kl": beta times nats a cell} for batch["image"].

        The Gumbel noise comes from torch's current generator.
        """
        image = batch["image"]
        logits = self.encode(image)
        u = torch.rand_like(logits)
        codes = dvae.gumbel_softmax(logits, u, self.temperature, self.straight_through)
        reconstruction = self.reconstruction(codes, image)
        self._seen = (image, logits.detach(), reconstruction.detach())
        return {"reconstruction": reconstruction, "kl": self.beta * dvae.kl_to_uniform(logits)}

    def reconstruction(self, codes: Tensor, image: Tensor) -> Tensor:
        """Mean negative log-likelihood of a picture's colour values, given codes (b, k, gh, gw)."""
        mu, log_scale = wide(self.decoder(codes)).chunk(2, dim=1)
        target = dvae.map_pixels((image + 1) / 2)
        # Logits and logarithms in float32 or better: bf16 knows 0.9 to two digits.
        with torch.autocast(image.device.type, enabled=False):
            log_scale = log_scale.clamp(min=SMALLEST_LOG_SCALE)
            return dvae.logit_laplace_nll(target, mu, log_scale).mean()

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)

    def before_step(self, step: int) -> None:
        """Remember how far training is; the engine calls this in each step."""
        self.step = step + 1

    @property
    def monitors(self) -> dict[str, Tensor]:
        """What the last batch says, computed when asked for: the engine asks when it logs.

        perplexity and codes_used of the hard codes, kl_per_cell in nats (0 to ln k), and
        soft_hard_gap: how much worse pictures drawn from hard codes are than from soft draws.
        """
        if self._seen is None:
            return {}
        image, logits, soft = self._seen
        with torch.no_grad():
            tokens = dvae.visual_tokens(logits)
            shares = dvae.code_shares(tokens, self.vocab_size)
            hard = self.reconstruction(self.one_hot(tokens), image)
            return {
                "perplexity": dvae.perplexity(shares),
                "codes_used": (shares > 0).sum(),
                "kl_per_cell": dvae.kl_to_uniform(logits),
                "soft_hard_gap": hard - soft,
            }
