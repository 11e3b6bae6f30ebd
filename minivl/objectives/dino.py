"""DINO (Caron et al. 2021, arXiv 2104.14294): say of a part what a teacher says of the whole.

Nobody names the k outputs. The student spreads its belief over them for every crop of a picture,
and is to agree with what the teacher, a slower copy of it, believes of another, large crop.
Letters: v crops (views), the g large ("global") ones first, b batch, k outputs.
"""

import math

import torch
from torch import Tensor


def teacher_probabilities(logits: Tensor, center: Tensor, temperature: float | Tensor) -> Tensor:
    """softmax((logits - center) / temperature), a constant: what the student is to predict.

    logits (v, b, k), center (k) -> (v, b, k). Section 3.1: centring keeps one output from winning
    for every picture, a low temperature (sharpening) keeps all outputs from becoming alike.
    """
    with torch.no_grad():
        # 3000 / 0.04 does not fit into float16.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return ((logits - center) / temperature).softmax(dim=-1)


def dino_loss(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of every crop to the teacher's view of every *other* global crop; equation 3.

    student (v, b, k) logits, global crops first; teacher (g, b, k) probabilities, a constant.
    -> scalar, the mean over the g (v - 1) pairs and the batch; 0 where there is no pair.
    """
    teacher = teacher.detach()
    log_p = (student / temperature).log_softmax(dim=-1)
    # Two products in place of one a pair: all pairs at once, less those of a crop with itself.
    every = -(teacher.sum(dim=0) * log_p.sum(dim=0)).sum(dim=-1)
    same = -(teacher * log_p[: len(teacher)]).sum(dim=(0, 2))
    pairs = len(teacher) * (len(student) - 1)
    return (every - same).mean() / max(pairs, 1)


def update_center(center: Tensor, logits: Tensor, momentum: float = 0.9) -> Tensor:
    """momentum * center + (1 - momentum) * mean of the teacher's raw logits; equation 4.

    center (k), logits (n, k) -> (k), without gradient.
    """
    with torch.no_grad():
        return momentum * center + (1 - momentum) * logits.mean(dim=0)


def entropy(probabilities: Tensor) -> Tensor:
    """-sum_k p ln p, in nats: 0 for one sure answer, ln k for none. (..., k) -> (...)."""
    return torch.special.entr(probabilities).sum(dim=-1)


def collapse_monitors(teacher: Tensor, loss: Tensor) -> dict[str, Tensor]:
    """What tells a healthy training from a collapsed one, scalars in nats; section 5.3, figure 7.

    teacher (g, b, k) probabilities, loss () of the same batch. `mutual_information` is near 0 in
    both collapses: all outputs alike (entropy ln k), or one for every picture (both entropies 0).
    `kl_to_uniform` is that of the mean answer: 0 in the first collapse, ln k in the second.
    """
    teacher, loss = teacher.detach(), loss.detach()
    own = entropy(teacher).mean()
    of_mean = entropy(teacher.mean(dim=(0, 1)))
    return {
        "teacher_entropy": own,
        "entropy_of_mean": of_mean,
        "mutual_information": of_mean - own,
        "kl_to_uniform": math.log(teacher.shape[-1]) - of_mean,
        # Cross-entropy is entropy plus divergence, so also their means.
        "kl_to_student": loss - own,
    }


def feature_spread(features: Tensor) -> Tensor:
    """How far unit vectors differ: a coordinate's deviation times sqrt(width). (n, width) -> ().

    About 1 where they point everywhere, 0 where all are the same.
    """
    unit = torch.nn.functional.normalize(features.detach(), dim=-1)
    return unit.std(dim=0, correction=0).mean() * features.shape[-1] ** 0.5
