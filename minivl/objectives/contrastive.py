"""Contrastive learning of pictures and sentences (CLIP: Radford et al. 2021, arXiv 2103.00020).

Each picture must find its sentence among all sentences of the batch, and each sentence its
picture. Letters: n pictures, m sentences, d width of the shared space; b pairs, Q old features.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.objectives.momentum import soft_cross_entropy

LOGIT_SCALE_START = math.log(1 / 0.07)
"""ln(1 / temperature) at the start of training; section 2.5."""

LOGIT_SCALE_RANGE = (0.0, math.log(100.0))
"""The scale exp(logit_scale) stays between 1 and 100; section 2.5 for the upper bound."""


def similarity_logits(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """Cosines of pictures and sentences times exp(logit_scale), the inverse temperature; figure 3.

    image (n, d), text (m, d), logit_scale () -> (n, m): a row for each picture.
    """
    cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    return logit_scale.exp() * cosines


def info_nce(logits: Tensor) -> Tensor:
    """Mean cross-entropy of picture -> sentence and sentence -> picture; figure 3.

    logits (n, n): row i and column i belong together. -> scalar.
    """
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def global_info_nce(
    image: Tensor,
    text: Tensor,
    all_image: Tensor,
    all_text: Tensor,
    rank: int,
    logit_scale: Tensor,
) -> Tensor:
    """Own rows against the rows of all processes: FLAVA's *global* loss (section 3.1).

    image, text (n, d) of this process; all_image, all_text (world*n, d) in order of rank, so that
    own row i is row rank*n + i of all. -> scalar; its mean over the processes is the `info_nce` of
    the joint batch.
    """
    target = torch.arange(len(image), device=image.device) + rank * len(image)
    image_to_text = similarity_logits(image, all_text, logit_scale)
    text_to_image = similarity_logits(text, all_image, logit_scale)
    return (F.cross_entropy(image_to_text, target) + F.cross_entropy(text_to_image, target)) / 2


def paired_info_nce(
    image: Tensor,
    text: Tensor,
    all_image: Tensor,
    all_text: Tensor,
    rank: int,
    logit_scale: Tensor,
    is_pair: Tensor,
) -> Tensor:
    """`global_info_nce` where some rows hold a picture and a foreign sentence: is_pair (n) bool.

    Those look for nothing, but stay among what the others must not find: more negatives. The mean
    over the true pairs of this process, 0 if there is none. FLAVA's code; the paper leaves it open.
    """
    target = torch.arange(len(image), device=image.device) + rank * len(image)
    target = target.masked_fill(~is_pair, -1)
    both = (similarity_logits(image, all_text, logit_scale),
            similarity_logits(text, all_image, logit_scale))  # fmt: skip
    found = [F.cross_entropy(one, target, ignore_index=-1, reduction="sum") for one in both]
    return sum(found) / 2 / is_pair.sum().clamp(min=1)


def itc_with_queue(
    image: Tensor,
    text: Tensor,
    image_m: Tensor,
    text_m: Tensor,
    image_queue: Tensor,
    text_queue: Tensor,
    temperature: float | Tensor,
    targets: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """ITC of ALBEF (Li et al. 2021, sections 3.2, 3.3): find the teacher's features, old ones too.

    image, text (b, d) of the student, image_m, text_m (b, d) of its momentum twin, queues (d, Q) of
    the twin's earlier features, all of length 1; the temperature divides -> scalar, the mean of
    both directions. The row's own partner is in column i, the queue behind the batch. `targets`:
    what each picture, and each text, is to find, (b, b + Q) each, in place of that column.
    """
    keys = [
        torch.cat([batch.detach().T, queue.detach()], dim=1)
        for batch, queue in ((text_m, text_queue), (image_m, image_queue))
    ]
    logits = [image @ keys[0] / temperature, text @ keys[1] / temperature]
    if targets is not None:
        return sum(map(soft_cross_entropy, logits, targets)) / 2
    target = torch.arange(len(image), device=image.device)
    return sum(F.cross_entropy(one, target) for one in logits) / 2


def clamp_logit_scale(logit_scale: Tensor) -> None:
    """Keep the scale between 1 and 100, in place: called after the optimiser's step."""
    with torch.no_grad():
        logit_scale.clamp_(*LOGIT_SCALE_RANGE)
