"""Masked image modeling (BEiT: Bao et al. 2021, arXiv 2106.08254): name what stands in the holes.

What is to be named is no pixel but the visual token that a frozen tokenizer (`models/dvae`) gives
the hidden patch.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.nn.head import PredictionHead
from minivl.nn.vit import ViT
from minivl.objectives import masked, masking


class Tokenizer(Protocol):
    """What turns pictures into visual tokens: `minivl.models.dvae.DVAE`, once it is trained."""

    vocab_size: int
    stride: int

    def tokenize(self, image: Tensor) -> Tensor:
        """image (b, 3, h, w) in [-1, 1] -> codes (b, h/stride, w/stride) int64, no graph."""


class Mim(nn.Module):
    """A vision transformer, a mask token for what it may not see, and a head that names codes.

    The tokenizer is a part of the model, frozen, so that a checkpoint holds what its answers mean.
    """

    def __init__(
        self,
        image_encoder: ViT,
        tokenizer: nn.Module | None = None,
        *,
        vocab_size: int | None = None,
        eps: float = 1e-12,
    ):
        """Without a tokenizer batches must bring `visual_tokens`, and `vocab_size` their number."""
        super().__init__()
        codes = vocab_size if tokenizer is None else tokenizer.vocab_size
        if codes is None:
            raise ValueError("without a tokenizer the model must know the vocab_size of its codes")
        self.image_encoder = image_encoder
        self.mask_token = nn.Parameter(torch.zeros(image_encoder.width))
        self.head = PredictionHead(image_encoder.width, codes, eps=eps)
        self.tokenizer = tokenizer
        if tokenizer is not None:
            tokenizer.requires_grad_(False).eval()
        self.monitors: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> "Mim":
        """As every module's, but the tokenizer stays as it was trained."""
        super().train(mode)
        if self.tokenizer is not None:
            self.tokenizer.eval()
        return self

    def encode_image(self, image: Tensor, patches_masked: Tensor | None = None) -> Tensor:
        """image (b, 3, h, w), patches_masked (b, gh, gw) bool -> tokens (b, 1+gh*gw, width).

        Hidden patches are replaced after the patch embedding, before class token and positions.
        Their pixels are blanked before: a convolutional stem would carry them to the neighbours.
        """
        if patches_masked is None:
            return self.image_encoder(image)
        hidden = patches_masked.flatten(1)
        return self.image_encoder(
            blanked(image, patches_masked),
            edit=lambda patches: masking.replace_masked(patches, self.mask_token, hidden),
        )

    def visual_tokens(self, batch: dict[str, Tensor]) -> Tensor:
        """The batch's codes (b, gh, gw): its own, or what the tokenizer names its pictures.

        The tokenizer sees a picture at the size that gives one code a patch (section 3.1 of BEiT:
        112 pixels where the transformer sees 224).
        """
        return visual_tokens(self.tokenizer, batch)

    def answers(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores (rows, codes) and codes (rows,) of the hidden patches.

        batch: image (b, 3, h, w), patches_masked (b, gh, gw), perhaps visual_tokens (b, gh, gw).
        """
        hidden, codes = holes_and_codes(batch, self.visual_tokens(batch))
        states = self.encode_image(batch["image"], hidden)[:, 1:]
        rows = masked.selected_rows(hidden)
        return self.head(states.flatten(0, 1)[rows]), codes.flatten()[rows]

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"mim": scalar}: the mean over all hidden patches of the batch; 0 if none is hidden."""
        logits, labels = self.answers(batch)
        right, asked = masked.scored(logits.detach(), labels)
        self.monitors = {"mim_accuracy": right / asked.clamp(min=1)}
        return {"mim": masked.masked_cross_entropy(logits, labels)}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)


def visual_tokens(tokenizer: Tokenizer | None, batch: dict[str, Tensor]) -> Tensor:
    """A batch's codes (b, gh, gw): its own, or what the tokenizer names its pictures.

    ValueError where it has neither.
    """
    if "visual_tokens" in batch:
        return batch["visual_tokens"]
    if tokenizer is None:
        raise ValueError("the batch has no visual_tokens and the model no tokenizer")
    size = [side * tokenizer.stride for side in batch["patches_masked"].shape[1:]]
    return tokenizer.tokenize(resized(batch["image"], size))


def holes_and_codes(batch: dict[str, Tensor], codes: Tensor) -> tuple[Tensor, Tensor]:
    """patches_masked and codes, both (b, gh, gw). ValueError where they differ in shape."""
    hidden = batch["patches_masked"]
    if codes.shape != hidden.shape:
        raise ValueError(
            f"visual_tokens {tuple(codes.shape)} and patches_masked {tuple(hidden.shape)} "
            "differ: one code a patch is due"
        )
    return hidden, codes


def blanked(image: Tensor, patches_masked: Tensor) -> Tensor:
    """The picture with hidden patches grey. image (b, c, h, w), patches_masked (b, gh, gw)."""
    rows, columns = (
        side // cells for side, cells in zip(image.shape[2:], patches_masked.shape[1:], strict=True)
    )
    cells = patches_masked.repeat_interleave(rows, dim=1).repeat_interleave(columns, dim=2)
    if cells.shape[1:] != image.shape[2:]:
        raise ValueError(
            f"patches_masked {tuple(patches_masked.shape[1:])} does not divide a picture of "
            f"{image.shape[2]} x {image.shape[3]} pixels"
        )
    return image.masked_fill(cells.unsqueeze(1), 0.0)


def resized(image: Tensor, size: list[int]) -> Tensor:
    """image (b, 3, h, w) at another size, smoothed where it shrinks; itself at its own size."""
    if list(image.shape[-2:]) == size:
        return image
    smaller = F.interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False)
    return smaller.clamp(-1, 1)
