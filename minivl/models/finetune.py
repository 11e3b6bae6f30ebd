"""Fine-tuning: a pretrained encoder and a small head learn a labelled task, all weights together.

FLAVA, appendix B.2: two layers on the class token of what both sides become.
"""

from collections.abc import Iterable
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from minivl.models.flava import Flava
from minivl.nn.precision import wide
from minivl.nn.transformer import init_transformer

Batch = dict[str, Tensor]


class Exit(Protocol):
    """What a model must offer to be fine-tuned: one vector an example. It is a module."""

    width: int

    def __call__(self, batch: Batch) -> Tensor:
        """A batch of a task (see `data/tasks.py`) -> (b, width)."""


class PairExit(nn.Module):
    """FLAVA's [CLS_M]: a picture and a sentence through all three encoders."""

    UNREAD = ("image_proj", "text_proj", "logit_scale", "mask_token")
    UNREAD += ("image_encoder.norm", "text_encoder.norm")
    """What the way to this exit passes by; the multimodal encoder reads states before the norms."""

    def __init__(self, flava: Flava):
        super().__init__()
        self.flava = flava
        self.width = flava.multimodal_encoder.width
        freeze(flava, self.UNREAD)

    def forward(self, batch: Batch) -> Tensor:
        """image (b, 3, h, w), input_ids and attention_mask (b, t) -> (b, width)."""
        states = self.flava.encode_pair(batch["image"], batch["input_ids"], batch["attention_mask"])
        return states[:, 0]


class TextExit(nn.Module):
    """FLAVA's [CLS_T]: one sentence, or two, through the text encoder alone."""

    def __init__(self, flava: Flava):
        super().__init__()
        self.flava = flava
        self.width = flava.text_encoder.width
        names = (name for name, _ in flava.named_parameters())
        freeze(flava, [name for name in names if not name.startswith("text_encoder.")])

    def forward(self, batch: Batch) -> Tensor:
        """input_ids, attention_mask and token_type_ids (b, t) -> (b, width)."""
        states = self.flava.text_encoder(
            batch["input_ids"],
            batch["attention_mask"],
            token_type_ids=batch["token_type_ids"],
        )
        return states[:, 0]


class Finetuned(nn.Module):
    """An encoder's exit and a head of two layers that scores the answers."""

    def __init__(self, exit: Exit, answers: int, *, hidden: int = 1536, dropout: float = 0.0):
        """`hidden`: width between the head's layers; `dropout` there, in training."""
        super().__init__()
        self.exit = exit
        self.head = nn.Sequential(
            nn.Linear(exit.width, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, answers),
        )
        init_transformer(self.head, exit.width)
        self.monitors: dict[str, Tensor] = {}

    def scores(self, batch: Batch) -> Tensor:
        """A batch of a task -> the score of each answer (b, answers)."""
        return wide(self.head(self.exit(batch)))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """{"classification": scalar}: cross-entropy of the scores with labels (b)."""
        scores, labels = self.scores(batch), batch["labels"]
        self.monitors["accuracy"] = (scores.detach().argmax(dim=1) == labels).float().mean()
        return {"classification": F.cross_entropy(scores, labels)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)


def freeze(model: nn.Module, names: Iterable[str]) -> None:
    """Leave out of training the parameters of these names, or inside modules of these names.

    Several processes that train together wait for the gradient of everything that is to learn.
    """
    inside = tuple(f"{name}." for name in names)
    for name, parameter in model.named_parameters():
        if f"{name}.".startswith(inside):
            parameter.requires_grad_(False)
