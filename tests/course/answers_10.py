"""Answers to the exercises of lesson 10 as learners may write them: right, or wrong late."""

import torch
import torch.nn.functional as F

# --- right


def soft_targets_detached(similarity_m, hard, alpha):
    believed = F.softmax(similarity_m.detach(), dim=1)
    return hard.detach() + alpha * (believed - hard.detach())


def soft_targets_by_lerp(similarity_m, hard, alpha):
    return torch.lerp(hard, torch.softmax(similarity_m, 1), alpha).detach()


def soft_targets_by_exponentials(similarity_m, hard, alpha):
    with torch.no_grad():
        shares = (similarity_m - similarity_m.amax(1, keepdim=True)).exp()
        shares /= shares.sum(1, keepdim=True)
        return shares.mul(alpha).add(hard.mul(1 - alpha))


def soft_cross_entropy_by_torch(logits, targets):
    return F.cross_entropy(logits, targets)


def soft_cross_entropy_in_a_loop(logits, targets):
    total = 0
    for row, shares in zip(logits, targets, strict=True):
        total = total + (shares * (torch.logsumexp(row, 0) - row)).sum()
    return total / len(logits)


def soft_cross_entropy_as_einsum(logits, targets):
    log_p = F.log_softmax(logits, dim=1)
    return -torch.einsum("bk,bk->", targets, log_p) / logits.shape[0]


def distilled_mlm_of_mixed_targets(student, teacher, labels, alpha):
    hidden = labels != -100
    if not hidden.any():
        return 0 * student.sum()
    p = teacher[hidden].softmax(-1).detach()
    hard = F.one_hot(labels[hidden], p.shape[-1]).to(p.dtype)
    return F.cross_entropy(student[hidden], alpha * p + (1 - alpha) * hard)


def distilled_mlm_as_two_losses(student, teacher, labels, alpha):
    count = (labels >= 0).sum().clamp_min(1)
    k = student.shape[-1]
    word = F.cross_entropy(student.reshape(-1, k), labels.reshape(-1), reduction="sum") / count
    with torch.no_grad():
        q = F.softmax(teacher, dim=2)
    doubt = -torch.sum(F.log_softmax(student, dim=2) * q, dim=2)
    return (1 - alpha) * word + alpha * doubt[labels >= 0].sum() / count


def distilled_mlm_in_a_loop(student, teacher, labels, alpha):
    costs = [0 * student.sum()]
    for i, j in (labels != -100).nonzero().tolist():
        log_p = student[i, j].log_softmax(0)
        q = teacher[i, j].detach().softmax(0)
        costs.append(-(1 - alpha) * log_p[labels[i, j]] - alpha * (q @ log_p))
    return torch.stack(costs).sum() / max(1, len(costs) - 1)


def alpha_at_with_a_branch(step, steps_per_epoch, alpha=0.4):
    if step >= steps_per_epoch:
        return alpha
    return alpha * step / steps_per_epoch


def alpha_at_from_below(step, steps_per_epoch, alpha=0.4):
    return min(step, steps_per_epoch) * alpha / steps_per_epoch


RIGHT = {
    "soft_targets": (soft_targets_detached, soft_targets_by_lerp, soft_targets_by_exponentials),
    "soft_cross_entropy": (
        soft_cross_entropy_by_torch,
        soft_cross_entropy_in_a_loop,
        soft_cross_entropy_as_einsum,
    ),
    "distilled_mlm": (
        distilled_mlm_of_mixed_targets,
        distilled_mlm_as_two_losses,
        distilled_mlm_in_a_loop,
    ),
    "alpha_at": (alpha_at_with_a_branch, alpha_at_from_below),
}

# --- wrong, though right on the first case


def soft_targets_of_fixed_alpha(similarity_m, hard, alpha):
    return soft_targets_detached(similarity_m, hard, 0.4)


def soft_targets_of_one_right(similarity_m, hard, alpha):
    first = F.one_hot(hard.argmax(1), hard.shape[1]).to(hard.dtype)
    return soft_targets_detached(similarity_m, first, alpha)


def soft_targets_of_the_first_row(similarity_m, hard, alpha):
    return soft_targets_detached(similarity_m[:1], hard, alpha)


def soft_cross_entropy_of_two(logits, targets):
    log_p = logits.log_softmax(1)
    return -(targets[:, 0] * log_p[:, 0] + targets[:, 1] * log_p[:, 1]).mean()


def soft_cross_entropy_with_care(logits, targets):
    return -(targets * logits.softmax(1).clamp_min(1e-7).log()).sum(1).mean()


def soft_cross_entropy_of_the_first_row(logits, targets):
    return soft_cross_entropy_by_torch(logits[:1], targets[:1])


def distilled_mlm_of_the_first_sentence(student, teacher, labels, alpha):
    return distilled_mlm_as_two_losses(student[:1], teacher[:1], labels[:1], alpha)


def distilled_mlm_of_fixed_alpha(student, teacher, labels, alpha):
    return distilled_mlm_as_two_losses(student, teacher, labels, 0.4)


def distilled_mlm_of_two_words(student, teacher, labels, alpha):
    return distilled_mlm_as_two_losses(
        student, teacher[..., :2], labels.clamp(max=1), alpha
    ) if student.shape[-1] == 2 else student.sum() * 0  # fmt: skip


def alpha_at_of_hundred(step, steps_per_epoch, alpha=0.4):
    return alpha * min(1.0, step / 100)


def alpha_at_of_04(step, steps_per_epoch, alpha=0.4):
    return 0.4 * min(1.0, step / steps_per_epoch)


def alpha_at_along_a_cosine(step, steps_per_epoch, alpha=0.4):
    import math

    return alpha * (1 - math.cos(math.pi * min(1.0, step / steps_per_epoch))) / 2


WRONG_LATER = {
    "soft_targets": (
        soft_targets_of_fixed_alpha,
        soft_targets_of_one_right,
        soft_targets_of_the_first_row,
    ),
    "soft_cross_entropy": (
        soft_cross_entropy_of_two,
        soft_cross_entropy_with_care,
        soft_cross_entropy_of_the_first_row,
    ),
    "distilled_mlm": (
        distilled_mlm_of_the_first_sentence,
        distilled_mlm_of_fixed_alpha,
        distilled_mlm_of_two_words,
    ),
    "alpha_at": (alpha_at_of_hundred, alpha_at_of_04, alpha_at_along_a_cosine),
}
