"""Zero-shot naming: a picture gets the class whose description is nearest (Radford et al. 2021)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from minivl.errors import DivergedError, UserError
from minivl.evaluation.metric import Metric, proportion


class ClassCount(NamedTuple):
    """How often one class was named rightly; a tie for first place counts by its share."""

    name: str
    right: float
    n: int


def class_embeddings(
    encode: Callable[[list[str]], torch.Tensor], prompts: Sequence[Sequence[str]]
) -> torch.Tensor:
    """One direction a class, from all the sentences about it.

    `encode` maps sentences to (sentences, width); prompts[c] are the sentences about class c,
    which may be more for one class than for another. Returns (classes, width).
    """
    if not prompts or not all(prompts):
        raise UserError("a class has no prompt", "write at least one sentence for every class")
    flat = encode([text for texts in prompts for text in texts])
    parts = flat.split([len(texts) for texts in prompts])
    return torch.cat([prompt_ensemble(part[None]) for part in parts])


def prompt_ensemble(text: torch.Tensor) -> torch.Tensor:
    """(classes, templates, width) -> (classes, width): the normalised mean of unit vectors.

    Each prompt has one vote, however long its vector is.
    """
    return F.normalize(F.normalize(text, dim=-1).mean(dim=1), dim=-1)


def accuracy(similarity: torch.Tensor, labels: torch.Tensor) -> Metric:
    """Share of pictures (n, classes) whose own class scores best; labels: (n,) int64."""
    right = _right(similarity, labels)
    return proportion(right.sum().item(), len(right), 1 / similarity.shape[1])


def per_class(
    similarity: torch.Tensor, labels: torch.Tensor, names: Sequence[str]
) -> list[ClassCount]:
    """Right answers and pictures of every class, in the order of names."""
    right, labels = _right(similarity, labels), labels.cpu()
    return [
        ClassCount(name, right[labels == c].sum().item(), int((labels == c).sum()))
        for c, name in enumerate(names)
    ]


def _right(similarity: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """For each picture 1, 0, or its share of a tie for first place: (n,) float64."""
    if similarity.ndim != 2 or labels.shape != similarity.shape[:1] or 0 in similarity.shape:
        raise UserError(
            f"similarity {tuple(similarity.shape)} and labels {tuple(labels.shape)} do not fit",
            "pass (pictures, classes) and (pictures,)",
        )
    if similarity.isnan().any():
        raise DivergedError("a similarity is not a number", "the model's weights hold NaN or inf")
    similarity, labels = similarity.detach().cpu(), labels.cpu()
    first = similarity == similarity.amax(dim=1, keepdim=True)
    own = first.gather(1, labels[:, None]).squeeze(1)
    return own.double() / first.sum(dim=1)
