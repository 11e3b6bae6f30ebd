"""Masked image modeling that paints instead of naming: the pixels of the hidden patches (SimMIM:
Xie et al. 2021, arXiv 2111.09886; MAE: He et al. 2021, arXiv 2111.06377, section 3).

The twin of `models/mim`: the same transformer, holes and head, another question.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.models.mim import Mim
from minivl.nn.vit import ViT, patchify
from minivl.objectives import masked

EPS = 1e-6
"""Added to a patch's variance, as in MAE's code: an even patch has none."""


class MimPixels(Mim):
    """A vision transformer, a mask token, and a head that paints the patches it may not see."""

    def __init__(self, image_encoder: ViT, *, normalised: bool = False, eps: float = 1e-12):
        """`normalised`: each patch's own mean and contrast are taken away first, as in MAE."""
        super().__init__(image_encoder, vocab_size=3 * image_encoder.patch_size**2, eps=eps)
        self.normalised = normalised

    def targets(self, image: Tensor) -> Tensor:
        """image (b, 3, gh*p, gw*p) -> what is to be painted, (b, gh*gw, 3*p*p)."""
        patches = patchify(image, self.image_encoder.patch_size)
        if not self.normalised:
            return patches
        mean = patches.mean(dim=-1, keepdim=True)
        return (patches - mean) * torch.rsqrt(patches.var(dim=-1, keepdim=True) + EPS)

    def answers(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What is painted and what should be, each (rows, 3*p*p), for the hidden patches.

        batch: image (b, 3, h, w), patches_masked (b, gh, gw).
        """
        hidden = batch["patches_masked"]
        states = self.encode_image(batch["image"], hidden)[:, 1:]
        rows = masked.selected_rows(hidden)
        painted = self.head(states.flatten(0, 1)[rows])
        return painted, self.targets(batch["image"]).flatten(0, 1)[rows]

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"mim_pixels": scalar}: the mean squared error of all hidden values; 0 if none is."""
        painted, due = self.answers(batch)
        painted = painted.to(due.dtype)
        # The mean of nothing would not be a number.
        loss = F.mse_loss(painted, due, reduction="sum") / max(due.numel(), 1)
        return {"mim_pixels": loss}
