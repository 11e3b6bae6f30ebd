"""The loss of masked modeling: a cross-entropy over what was hidden, and over nothing else."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.objectives.masking import IGNORE


def masked_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over all places of the batch whose label is not -100; 0 if there is none.

    logits (b, n, k), labels (b, n) -> scalar. Devlin et al. 2018, section 3.1; Bao et al. 2021,
    equation 2. The zero has a graph and no gradient, so that a batch without a mask is harmless.
    """
    total = F.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return total / (labels != IGNORE).sum().clamp(min=1)


def scored(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How many labels other than -100 the largest logit names, and how many there are.

    logits (..., k), labels (...) -> two whole numbers as tensors ().
    """
    asked = labels != IGNORE
    right = (logits.argmax(dim=-1) == labels) & asked
    return right.sum(), asked.sum()


def selected_rows(mask: Tensor) -> Tensor:
    """Places of True in a mask (b, n), counted through the batch: (rows,) int64."""
    return torch.nonzero(mask.flatten()).squeeze(1)
