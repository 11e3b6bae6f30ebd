"""Answers to the exercises of lesson 04 as learners may write them: right, or wrong late."""

import math

import torch
import torch.nn.functional as F

# --- right


def blockwise_mask_with_lists(gh, gw, count, generator, min_block=16, aspect=(0.3, 1 / 0.3)):
    def uniform(low, high):
        return low + (high - low) * torch.rand((), generator=generator).item()

    hidden, tries = set(), 0
    while len(hidden) < count and tries < 200:
        tries += 1
        left = count - len(hidden)
        area = uniform(min(min_block, left), left)
        ratio = math.exp(uniform(math.log(aspect[0]), math.log(aspect[1])))
        h, w = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if not (1 <= h <= gh and 1 <= w <= gw):
            continue
        y = torch.randint(gh - h + 1, (), generator=generator).item()
        x = torch.randint(gw - w + 1, (), generator=generator).item()
        block = {(i, j) for i in range(y, y + h) for j in range(x, x + w)}
        if len(block | hidden) <= count:
            hidden |= block
    for cell in torch.randperm(gh * gw, generator=generator).tolist():
        if len(hidden) < count:
            hidden.add(divmod(cell, gw))
    return torch.tensor([[(i, j) in hidden for j in range(gw)] for i in range(gh)])


def blockwise_mask_that_trims(gh, gw, count, generator, min_block=16, aspect=(0.3, 1 / 0.3)):
    """The last block loses the cells that are too many."""
    mask = torch.zeros(gh, gw, dtype=torch.int64)
    while (rest := count - int(mask.sum())) > 0:
        u, v, s, t = torch.rand(4, generator=generator)
        area = min_block + u * max(rest - min_block, 0)
        ratio = torch.exp(math.log(aspect[0]) + v * math.log(aspect[1] / aspect[0]))
        h = min(gh, max(1, int((area * ratio).sqrt().round())))
        w = min(gw, max(1, int((area / ratio).sqrt().round())))
        top, left = int(s * (gh - h + 1)), int(t * (gw - w + 1))
        block = torch.zeros_like(mask)
        block[top : top + h, left : left + w] = 1
        new = (block - mask).clamp(min=0).nonzero()[:rest]
        mask[new[:, 0], new[:, 1]] = 1
    return mask.bool()


def replace_masked_by_arithmetic(x, mask_token, mask):
    w = mask[..., None].to(x.dtype)
    return x * (1 - w) + mask_token * w


def replace_masked_with_loops(x, token, mask):
    rows = [
        torch.stack([token if hidden else patch for patch, hidden in zip(p, m, strict=True)])
        for p, m in zip(x, mask, strict=True)
    ]
    return torch.stack(rows)


def replace_masked_by_index(patches, token, hidden):
    out = patches.clone()
    out[hidden] = token
    return out


def mask_tokens_with_loops(ids, special, u1, u2, others, mask_id, probability=0.15):
    new, labels = ids.tolist(), []
    for i, row in enumerate(ids.tolist()):
        labels.append([-100] * len(row))
        for j, word in enumerate(row):
            if special[i, j] or u1[i, j] >= probability:
                continue
            labels[i][j] = word
            if u2[i, j] < 0.8:
                new[i][j] = mask_id
            elif u2[i, j] < 0.9:
                new[i][j] = int(others[i, j])
    return [torch.tensor(new), torch.tensor(labels)]


def mask_tokens_with_where(ids, special, u1, u2, others, mask_id, p=0.15):
    chosen = torch.logical_and(u1 < p, torch.logical_not(special))
    labels = torch.where(chosen, ids, torch.full_like(ids, -100))
    out = ids.clone()
    out[chosen & (u2 < 0.9)] = others[chosen & (u2 < 0.9)]
    out[chosen & (u2 < 0.8)] = mask_id
    return out, labels


def masked_cross_entropy_by_selection(logits, labels):
    scored = labels != -100
    if not scored.any():
        return logits.sum() * 0
    return F.cross_entropy(logits[scored], labels[scored])


def masked_cross_entropy_by_formula(logits, labels):
    keep = labels != -100
    picked = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return -(picked * keep).sum() / max(int(keep.sum()), 1)


def masked_cross_entropy_mended(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten()).nan_to_num(0.0)


RIGHT = {
    "blockwise_mask": (blockwise_mask_with_lists, blockwise_mask_that_trims),
    "replace_masked": (
        replace_masked_by_arithmetic,
        replace_masked_with_loops,
        replace_masked_by_index,
    ),
    "mask_tokens": (mask_tokens_with_loops, mask_tokens_with_where),
    "masked_cross_entropy": (
        masked_cross_entropy_by_selection,
        masked_cross_entropy_by_formula,
        masked_cross_entropy_mended,
    ),
}

# --- wrong, though right on the first case


def blockwise_mask_of_the_first_cells(gh, gw, count, generator, min_block=16, aspect=None):
    return (torch.arange(gh * gw) < count).view(gh, gw)


def blockwise_mask_of_one_square(gh, gw, count, generator, min_block=16, aspect=None):
    side = min(gh, gw, math.isqrt(count))
    y = torch.randint(gh - side + 1, (), generator=generator)
    x = torch.randint(gw - side + 1, (), generator=generator)
    mask = torch.zeros(gh, gw, dtype=torch.bool)
    mask[y : y + side, x : x + side] = True
    free = (~mask).flatten().nonzero()[:, 0][: count - side * side]
    mask.view(-1)[free] = True
    return mask


def blockwise_mask_of_rows(gh, gw, count, generator, min_block=16, aspect=None):
    """A stretch of cells that runs through the rows."""
    start = int(torch.randint(gh * gw, (), generator=generator))
    return (torch.arange(gh * gw) < count).roll(start).view(gh, gw)


def blockwise_mask_of_numbers(*arguments):
    from minivl.objectives.masking import blockwise_mask

    return blockwise_mask(*arguments).double()


def blockwise_mask_of_one_seed(gh, gw, count, generator, min_block=16, aspect=(0.3, 1 / 0.3)):
    from minivl.objectives.masking import blockwise_mask

    seed = torch.Generator().manual_seed(3)
    return blockwise_mask(gh, gw, count, seed, min_block, aspect)


def replace_masked_of_the_first(x, mask_token, mask):
    return torch.where(mask[:1, :, None], mask_token, x)


def replace_masked_with_numbers(x, mask_token, mask):
    return torch.where(mask[..., None], torch.tensor(mask_token.tolist(), dtype=x.dtype), x)


def mask_tokens_of_15_percent(ids, special, u1, u2, others, mask_id, probability=0.15):
    return mask_tokens_with_where(ids, special, u1, u2, others, mask_id)


def mask_tokens_that_knows_bert(ids, special, u1, u2, others, mask_id, probability=0.15):
    special = (ids == 101) | (ids == 102) | (ids == 0)
    return mask_tokens_with_where(ids, special, u1, u2, others, mask_id, probability)


def mask_tokens_with_a_narrow_swap(ids, special, u1, u2, others, mask_id, probability=0.15):
    new, labels = mask_tokens_with_where(ids, special, u1, u2, others, mask_id, probability)
    return torch.where((u2 > 0.89) & (u2 < 0.9), ids, new), labels


def masked_cross_entropy_of_two(logits, labels):
    scored = labels != -100
    if not scored.any():
        return logits.sum() * 0
    return F.cross_entropy(logits[scored], labels[scored], reduction="sum") / 2


def masked_cross_entropy_that_forgets_0(logits, labels):
    scored = labels > 0 if len(labels) > 1 else labels >= 0
    return masked_cross_entropy_by_selection(logits, labels.masked_fill(~scored, -100))


def masked_cross_entropy_with_a_small_number(logits, labels):
    total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    return total / ((labels != -100).sum() + 1e-6 * (len(labels) > 1))


WRONG_LATER = {
    "blockwise_mask": (
        blockwise_mask_of_the_first_cells,
        blockwise_mask_of_one_square,
        blockwise_mask_of_rows,
        blockwise_mask_of_one_seed,
    ),
    "replace_masked": (
        replace_masked_of_the_first,
        replace_masked_with_numbers,
    ),
    "mask_tokens": (
        mask_tokens_of_15_percent,
        mask_tokens_that_knows_bert,
        mask_tokens_with_a_narrow_swap,
    ),
    "masked_cross_entropy": (
        masked_cross_entropy_of_two,
        masked_cross_entropy_that_forgets_0,
        masked_cross_entropy_with_a_small_number,
    ),
}
