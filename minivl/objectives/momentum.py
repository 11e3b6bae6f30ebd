"""A teacher that is the running mean of its student, and what it is asked for.

The mean: DINO, section 3.1, and MoCo, arXiv 1911.05722; the queue of its features: MoCo, section
3.1; learning from its doubt, *momentum distillation*: ALBEF (Li et al. 2021, arXiv 2107.07651,
section 3.3). Letters: b batch, n places, k classes, d width, Q length of the queue.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.objectives.masking import IGNORE


def ema_update(teacher: Iterable[Tensor], student: Iterable[Tensor], momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, in place, for each pair of tensors.

    At 0.996 a weight is half forgotten after 173 steps. ValueError for another number of tensors.
    """
    teacher, student = list(teacher), list(student)
    if len(teacher) != len(student):
        raise ValueError(f"{len(teacher)} tensors of a teacher, {len(student)} of a student")
    with torch.no_grad():
        if teacher:  # one call for all pairs: a loop would start hundreds of kernels a step
            torch._foreach_lerp_(teacher, student, 1 - momentum)


def enqueue(queue: Tensor, keys: Tensor, pointer: int | Tensor) -> tuple[Tensor, int | Tensor]:
    """Write the newest features over the oldest: a ring that `pointer` walks round.

    queue (d, Q), keys (b, d), pointer a number or a whole tensor () -> a new queue (d, Q), without
    gradient, and the pointer behind what was written, of the kind that came in. MoCo, section 3.1;
    b need not divide Q. ValueError for more keys than the queue holds.
    """
    rows, length = len(keys), queue.shape[1]
    if rows > length:
        raise ValueError(
            f"{rows} keys, but the queue holds {length}: make it longer or the batch smaller"
        )
    places = (pointer + torch.arange(rows, device=queue.device)) % length
    with torch.no_grad():
        queue = queue.index_copy(1, places, keys.T.to(queue.dtype))
    return queue, (pointer + rows) % length


def soft_targets(similarity_m: Tensor, hard: Tensor, alpha: float | Tensor) -> Tensor:
    """alpha * softmax(similarity_m) + (1 - alpha) * hard: the label, and what the teacher doubts.

    similarity_m (b, c) the teacher's logits, hard (b, c) with rows that add to 1 -> (b, c), a
    constant; its rows add to 1. ALBEF, section 3.3, equation 6, mixed before the cross-entropy
    as in its code.
    """
    with torch.no_grad():
        return alpha * similarity_m.softmax(dim=-1) + (1 - alpha) * hard


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the rows of -sum_k target ln softmax(logits): the labels are shares.

    logits (b, k), targets (b, k) -> scalar. ALBEF's paper writes the KL divergence: that is
    smaller by the targets' entropy, with the same gradient.
    """
    return -(targets * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def distilled_mlm(
    student: Tensor, teacher: Tensor, labels: Tensor, alpha: float | Tensor
) -> Tensor:
    """Hidden words: (1 - alpha) * CE to the word, alpha * CE to the teacher's belief.

    student, teacher (b, n, k) logits, labels (b, n), -100 where nothing is hidden -> scalar, the
    mean over what is hidden, 0 if nothing is. ALBEF, section 3.3, equation 7. The teacher is a
    constant and has no temperature. Where the vocabulary is large, give only the hidden rows.
    """
    scored = labels != IGNORE
    log_p = student.log_softmax(dim=-1)
    belief = teacher.detach().softmax(dim=-1)
    # nll_loss wants the classes second.
    hard = F.nll_loss(log_p.movedim(-1, 1), labels, ignore_index=IGNORE, reduction="none")
    soft = -(belief * log_p).sum(dim=-1)
    mixed = (1 - alpha) * hard + alpha * soft
    return mixed.masked_fill(~scored, 0.0).sum() / scored.sum().clamp(min=1)
