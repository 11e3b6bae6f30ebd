"""Contrastive learning of pictures and sentences (CLIP: Radford et al. 2021, arXiv 2103.00020).

Each picture must find its sentence among all sentences of the batch, and each sentence its
picture. Letters: n pictures, m sentences, d width of the shared space.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LOGIT_SCALE_START = math.log(1 / 0.07)
"""ln(1 / temperature) at the start of training; section 2.5."""

LOGIT_SCALE_RANGE = (0.0, math.log(100.0))
"""The scale exp(logit_scale) stays between 1 and 100; section 2.5 for the upper bound."""


def similarity(a: Tensor, b: Tensor, logit_scale: Tensor) -> Tensor:
    """Cosines times exp(logit_scale), the inverse temperature; figure 3.

    a (n, d), b (m, d), logit_scale () -> (n, m).
    """
    return logit_scale.exp() * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


def no_gather(x: Tensor) -> Tensor:
    """One process: its batch is the whole batch."""
    return x


def info_nce(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor,
    *,
    gather: Callable[[Tensor], Tensor] = no_gather,
    offset: int = 0,
) -> Tensor:
    """Mean cross-entropy of picture -> sentence and sentence -> picture; figure 3.

    image, text (n, d): row i of both belong together. Across processes `gather` joins the rows of
    all, (world*n, d), with gradient, and own row i is row offset + i of the joint batch: the
    *global* loss. Without it each process contrasts its own rows only: the *local* loss.
    """
    target = torch.arange(len(image), device=image.device) + offset
    image_to_text = similarity(image, gather(text), logit_scale)
    text_to_image = similarity(text, gather(image), logit_scale)
    return (F.cross_entropy(image_to_text, target) + F.cross_entropy(text_to_image, target)) / 2


def clamp_logit_scale(logit_scale: Tensor) -> None:
    """Keep the scale between 1 and 100, in place: called after the optimiser's step."""
    with torch.no_grad():
        logit_scale.clamp_(*LOGIT_SCALE_RANGE)
