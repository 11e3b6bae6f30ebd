"""Codes of a frozen tokenizer, kept: naming a picture costs more than reading it.

Exact where the same crops come back, as with a fixed number of seeded crops a picture. Where
every crop is new, tokenize directly.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from minivl.models.dvae import DVAE


class CodeCache:
    """The visual tokens of each (picture, crop), computed when first asked for."""

    def __init__(self, tokenizer: "DVAE"):
        """ValueError for a tokenizer that still learns: kept codes would soon be wrong."""
        if any(parameter.requires_grad for parameter in tokenizer.parameters()):
            raise ValueError("codes are kept of a frozen tokenizer: call requires_grad_(False)")
        self.tokenizer = tokenizer
        self._codes: dict[tuple[Hashable, int], Tensor] = {}

    def __len__(self) -> int:
        """How many crops are known."""
        return len(self._codes)

    def tokens(
        self, pictures: Sequence[Hashable], crops: Sequence[int], image: "Tensor"
    ) -> "Tensor":
        """image (b, 3, h, w), crop `crops[i]` of `pictures[i]` -> its codes (b, gh, gw) int64.

        The crops that are not yet known go through the tokenizer in one batch, each once. All
        crops must have one size. ValueError where the three differ in length.
        """
        import torch

        if not len(pictures) == len(crops) == len(image):
            raise ValueError(
                f"{len(pictures)} pictures, {len(crops)} crops, but {len(image)} images"
            )
        keys = list(zip(pictures, crops, strict=True))
        new = {key: row for row, key in enumerate(keys) if key not in self._codes}
        if new:
            rows = torch.tensor(list(new.values()), device=image.device)
            # Narrow numbers in the computer's own memory: millions of crops fit.
            codes = self.tokenizer.tokenize(image[rows]).to("cpu", torch.int32)
            self._codes.update(zip(new, codes.unbind(), strict=True))
        return torch.stack([self._codes[key] for key in keys]).to(image.device, torch.int64)
