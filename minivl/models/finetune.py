"""Fine-tuning: a pretrained model and a small head learn a labelled task, all weights together.

FLAVA, appendix B.2, and ALBEF (Li et al. 2021, arXiv 2107.07651), section 4: two layers on the
class token of what both sides become. What answers in words is in `answering`, what sees two
pictures in `nlvr`; both are trained here. Letters: b examples, r rows that are scored, k classes.
"""

import copy
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from minivl.models.albef_encoders import Encoders
from minivl.models.flava import Flava
from minivl.models.twin import follow
from minivl.nn.precision import wide
from minivl.nn.transformer import init_transformer
from minivl.objectives.momentum import soft_targets

Batch = dict[str, Tensor]


class Exit(Protocol):
    """What a model must offer to be fine-tuned. It is a module."""

    width: int

    def __call__(self, batch: Batch) -> Tensor:
        """A batch of a task (see `data/tasks.py`) -> a vector an example (b, width), or one a word
        (b, t, width), as the head reads it."""


class Head(Protocol):
    """What makes answers of it. It is a module."""

    loss: str
    """Name of its loss."""

    def __call__(self, read: Tensor, batch: Batch) -> Tensor:
        """What the exit gives -> logits (r, k) of all that is scored."""

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is right, shares (r, k) that add to 1, and what each row weighs in the loss (r)."""

    def scores(self, read: Tensor, batch: Batch) -> Tensor:
        """What the exit gives -> the score of each answer (b, answers)."""


# Exits.


class PairExit(nn.Module):
    """FLAVA's [CLS_M], or ALBEF's [CLS]: a picture and a sentence through all encoders."""

    def __init__(self, model: Flava | Encoders):
        super().__init__()
        self.model = model
        mixing = model.multimodal_encoder if isinstance(model, Flava) else model.fusion_encoder
        self.width = mixing.width
        freeze(model, FLAVA_UNREAD if isinstance(model, Flava) else ALBEF_UNREAD)

    def states(self, batch: Batch) -> Tensor:
        """image (b, 3, h, w), input_ids and attention_mask (b, t) -> all states (b, n, width)."""
        return self.model.encode_pair(batch["image"], batch["input_ids"], batch["attention_mask"])

    def forward(self, batch: Batch) -> Tensor:
        """The first of the states: (b, width)."""
        return self.states(batch)[:, 0]


class WordsExit(PairExit):
    """ALBEF's words that have looked at the picture, [CLS] first."""

    def __init__(self, model: Encoders):
        super().__init__(model)

    def forward(self, batch: Batch) -> Tensor:
        """All states: (b, t, width)."""
        return self.states(batch)


class TextExit(nn.Module):
    """The text encoder's [CLS]: one sentence, or two, without a picture."""

    def __init__(self, model: Flava | Encoders):
        super().__init__()
        self.model = model
        self.width = model.text_encoder.width
        names = (name for name, _ in model.named_parameters())
        freeze(model, [name for name in names if not name.startswith("text_encoder.")])

    def forward(self, batch: Batch) -> Tensor:
        """input_ids, attention_mask and token_type_ids (b, t) -> (b, width)."""
        states = self.model.text_encoder(
            batch["input_ids"],
            batch["attention_mask"],
            token_type_ids=batch["token_type_ids"],
        )
        return states[:, 0]


FLAVA_UNREAD = ("image_proj", "text_proj", "logit_scale", "mask_token")
FLAVA_UNREAD += ("image_encoder.norm", "text_encoder.norm")
"""What the way to the exit passes by; the multimodal encoder reads states before the norms."""

ALBEF_UNREAD = ("image_proj", "text_proj", "mlm_head")
"""The same."""


def freeze(model: nn.Module, names: Iterable[str]) -> None:
    """Leave out of training the parameters of these names, or inside modules of these names.

    Several processes that train together wait for the gradient of everything that is to learn.
    """
    inside = tuple(f"{name}." for name in names)
    for name, parameter in model.named_parameters():
        if f"{name}.".startswith(inside):
            parameter.requires_grad_(False)


# Heads.


class Choice(nn.Module):
    """Two layers that score the answers of a list: MLP 768-1536-k in FLAVA, 768-768-k in ALBEF."""

    loss = "classification"

    def __init__(self, width: int, answers: int, *, hidden: int = 1536, dropout: float = 0.0):
        """`hidden`: width between the layers; `dropout` there, in training."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, answers),
        )
        init_transformer(self, width)

    def forward(self, read: Tensor, batch: Batch) -> Tensor:
        """read (b, width) -> (b, answers)."""
        return wide(self.layers(read))

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """answer_shares (b, answers), and that all examples weigh alike."""
        shares = batch["answer_shares"]
        return shares, shares.new_full((len(shares),), 1 / len(shares))

    def scores(self, read: Tensor, batch: Batch) -> Tensor:
        """read (b, width) -> (b, answers)."""
        return self(read, batch)


# Both.


class Finetuned(nn.Module):
    """An exit and a head; with `distill` also a twin of both, their running mean, to learn from.

    Momentum distillation as ALBEF's code fine-tunes: of what is to be found, the twin's share is
    `alpha`, and each training forward moves it by 1 - `momentum`. Both are set by schedules.
    """

    def __init__(
        self,
        exit: Exit,
        head: Head,
        *,
        distill: bool = False,
        alpha: float = 0.4,
        momentum: float = 0.995,
        momentum_dropout: bool = False,
    ):
        """`momentum_dropout`: the twin's dropout is on in training, as the paper's code has it."""
        super().__init__()
        self.exit, self.head = exit, head
        self.momentum, self.momentum_dropout = momentum, momentum_dropout
        # A tensor: a compiled forward pass would be compiled anew for every other float.
        self.register_buffer("_alpha", torch.tensor(alpha), persistent=False)
        self.twin = Finetuned(*copy.deepcopy((exit, head))) if distill else None
        if self.twin is not None:
            self.twin.requires_grad_(False).eval()
        self.monitors: dict[str, Tensor] = {}

    @property
    def alpha(self) -> float:
        """The twin's share of what is to be found."""
        return self._alpha.item()

    @alpha.setter
    def alpha(self, value: float) -> None:
        self._alpha.fill_(value)

    def train(self, mode: bool = True) -> "Finetuned":
        """As for any module, but the twin stays in evaluation mode, its dropout as chosen."""
        super().train(mode)
        if self.twin is not None:
            self.twin.eval()
            for module in self.twin.modules():
                if isinstance(module, nn.Dropout):
                    module.train(mode and self.momentum_dropout)
        return self

    def scores(self, batch: Batch) -> Tensor:
        """A batch of a task -> the score of each answer (b, answers)."""
        return self.head.scores(self.exit(batch), batch)

    def logits(self, batch: Batch) -> Tensor:
        """A batch of a task -> logits (r, k) of all that is scored."""
        return self.head(self.exit(batch), batch)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """{the head's loss: scalar}, sum_r weight_r CE(logits_r, targets_r); 0 of no rows."""
        targets, weights = self.head.targets(batch)
        found = targets.argmax(dim=1)
        if self.twin is not None:
            if self.training and torch.is_grad_enabled():
                follow(self.twin, self, self.momentum)
            with torch.no_grad():
                targets = soft_targets(self.twin.logits(batch), targets, self._alpha)
        logits = self.logits(batch)
        right = (logits.detach().argmax(dim=1) == found).float().sum()
        # Where no right answer is in a decoder's list there are no rows, and no mean over them.
        self.monitors["accuracy"] = right / max(len(logits), 1)
        loss = -(weights.unsqueeze(1) * targets * logits.log_softmax(dim=-1)).sum()
        return {self.head.loss: loss}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)
