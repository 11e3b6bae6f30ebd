"""What UniT's heads make of the decoder's states: boxes with classes and attributes, or an answer.

Hu and Singh 2021, arXiv 2102.10772, section 3.3. Letters: l decoder blocks, b batch, q queries,
t boxes of a picture at most, width the decoder's.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from minivl.nn.head import PredictionHead
from minivl.nn.precision import wide


class BoxHead(nn.Module):
    """A class, or that there is nothing, and a box: the same two heads read every block's states.

    DETR (Carion et al. 2020, arXiv 2005.12872, section 3.2).
    """

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.class_embed = nn.Linear(width, classes + 1)
        self.bbox_embed = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, 4),
        )  # fmt: skip

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """states (..., q, width) -> logits (..., q, classes + 1), the last is "nothing", and boxes
        (..., q, 4) as centre, width and height, fractions of the picture's sides."""
        return wide(self.class_embed(states)), wide(self.bbox_embed(states)).sigmoid()


class AttributeHead(nn.Module):
    """Which attributes has a box, given its class? UniT's code, section 4.1 of the paper."""

    def __init__(
        self,
        width: int,
        classes: int,
        attributes: int,
        *,
        class_width: int = 256,
        hidden: int = 512,
        relu: Literal["between", "last"] = "between",
    ):
        """`relu`: between the layers; or after the last one, as in the published code, whose
        logits are never below zero."""
        super().__init__()
        self.class_embed = nn.Embedding(classes + 1, class_width)
        steps = {
            "between": [nn.ReLU(), nn.Linear(hidden, attributes)],
            "last": [nn.Linear(hidden, attributes), nn.ReLU()],
        }
        self.layers = nn.Sequential(nn.Linear(width + class_width, hidden), *steps[relu])

    def forward(self, states: Tensor, classes: Tensor) -> Tensor:
        """states (..., width), classes (...) int64 -> logits (..., attributes)."""
        known = self.class_embed(classes).to(states.dtype)
        return wide(self.layers(torch.cat([states, known], dim=-1)))


class AnswerHead(nn.Module):
    """The first query's state becomes one of some answers: dropout and BERT's prediction head."""

    def __init__(self, width: int, classes: int, *, dropout: float = 0.1):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = PredictionHead(width, classes)

    def forward(self, states: Tensor) -> Tensor:
        """states (..., q, width) -> logits (..., classes)."""
        return self.classifier(self.dropout(states[..., 0, :]))
