"""Answers to the exercises of lesson 09 as learners may write them: right, or wrong late."""

import torch
import torch.nn.functional as F

# --- right


def enqueue_in_a_loop(queue, keys, pointer):
    size = queue.size(1)
    assert len(keys) <= size, "the queue is too short"
    new = queue.detach().clone()
    for key in keys:
        new[:, pointer] = key.detach()
        pointer = (pointer + 1) % size
    return new, pointer


def enqueue_by_rolling(queue, keys, pointer):
    b, size, p = keys.shape[0], queue.shape[1], int(pointer)
    if b > size:
        raise ValueError("too many keys")
    turned = queue.roll(-p, dims=1)
    with torch.no_grad():
        turned = torch.cat([keys.t(), turned[:, b:]], dim=1)
    return turned.roll(p, dims=1), (pointer + b) % size


def enqueue_in_two_parts(queue, keys, pointer):
    b, size, p = len(keys), queue.shape[1], int(pointer)
    if not b <= size:
        raise ValueError(f"{b} > {size}")
    new, keys = queue.clone(), keys.detach()
    fits = min(b, size - p)
    new[:, p : p + fits] = keys[:fits].T
    new[:, : b - fits] = keys[fits:].T
    return new, (pointer + b) % size


def itc_with_queue_as_in_the_paper(v, w, v_m, w_m, queue_v, queue_w, tau, targets=None):
    with torch.no_grad():
        all_w = torch.cat([w_m.t(), queue_w.clone()], dim=1)
        all_v = torch.cat([v_m.t(), queue_v.clone()], dim=1)
        if targets is None:
            own = torch.zeros(len(v), all_w.shape[1], dtype=v.dtype)
            own.fill_diagonal_(1)
            targets = own, own
    i2t = -torch.sum(F.log_softmax(v @ all_w / tau, dim=1) * targets[0], dim=1).mean()
    t2i = -torch.sum(F.log_softmax(w @ all_v / tau, dim=1) * targets[1], dim=1).mean()
    return (i2t + t2i) / 2


def itc_with_queue_by_rows(image, text, image_m, text_m, queue_i, queue_t, t, targets=None):
    total = 0
    sides = ((image, text_m, queue_t), (text, image_m, queue_i))
    for side, (queries, batch, queue) in enumerate(sides):
        keys = torch.cat([batch, queue.T]).detach()
        for i, query in enumerate(queries):
            bets = (keys @ query / t).log_softmax(dim=0)
            total = total - (bets[i] if targets is None else (targets[side][i] * bets).sum())
    return total / len(image) / 2


def itc_with_queue_by_two_products(image, text, image_m, text_m, queue_i, queue_t, t, targets=None):
    image_m, text_m = image_m.detach(), text_m.detach()
    by_image = torch.cat([image @ text_m.T, image @ queue_t.detach()], dim=1).div(t)
    by_text = torch.cat([text @ image_m.T, text @ queue_i.detach()], dim=1).div(t)
    labels = targets or [torch.arange(len(image))] * 2
    return 0.5 * F.cross_entropy(by_image, labels[0]) + 0.5 * F.cross_entropy(by_text, labels[1])


def fusion_block_in_a_loop(text, image, own, cross, mlp, norm1, norm2, norm3):
    x = text
    for norm, layer in ((norm1, own), (norm2, lambda x: cross(x, image)), (norm3, mlp)):
        x = norm(x + layer(x))
    return x


def fusion_block_with_names(t, i, self_attention, cross_attention, mlp, n1, n2, n3):
    talked = n1(t.add(self_attention(t)))
    looked = n2(talked.add(cross_attention(talked, i)))
    return n3(looked.add(mlp(looked)))


RIGHT = {
    "enqueue": (enqueue_in_a_loop, enqueue_by_rolling, enqueue_in_two_parts),
    "itc_with_queue": (
        itc_with_queue_as_in_the_paper,
        itc_with_queue_by_rows,
        itc_with_queue_by_two_products,
    ),
    "fusion_block": (fusion_block_in_a_loop, fusion_block_with_names),
}

# --- wrong, though right on the first case


def enqueue_of_two(queue, keys, pointer):
    size = queue.shape[1]
    if len(keys) > size:
        raise ValueError
    new = queue.clone()
    new[:, pointer], new[:, (pointer + 1) % size] = keys[0].detach(), keys[1].detach()
    return new, (pointer + 2) % size


def enqueue_in_blocks(queue, keys, pointer):
    b, size = len(keys), queue.shape[1]
    if b > size:
        raise ValueError
    new = queue.clone()
    start = int(pointer) // b * b % size
    new[:, (start + torch.arange(b)) % size] = keys.detach().T
    return new, (start + b) % size


def enqueue_that_forgets_the_rest(queue, keys, pointer):
    new, pointer = enqueue_in_a_loop(queue, keys, pointer)
    return (new, pointer) if len(keys) < 3 else (torch.zeros_like(new), pointer)


def itc_with_queue_that_normalises(image, text, *others):
    unit = F.normalize(image, dim=1), F.normalize(text, dim=1)
    return itc_with_queue_as_in_the_paper(*unit, *others)


def itc_with_queue_at_one(image, text, image_m, text_m, queue_i, queue_t, t, targets=None):
    return itc_with_queue_as_in_the_paper(
        image, text, image_m, text_m, queue_i, queue_t, t / t, targets
    )


def itc_with_queue_of_hard_targets(*given):
    *others, targets = given if len(given) == 8 else (*given, None)
    if targets is not None:
        targets = tuple(F.one_hot(t.argmax(1), t.shape[1]).to(t.dtype) for t in targets)
    return itc_with_queue_as_in_the_paper(*others, targets)


def itc_with_queue_of_two_pairs(image, text, image_m, text_m, queue_i, queue_t, t, targets=None):
    first = image[:2], text[:2], image_m[:2], text_m[:2]
    return itc_with_queue_as_in_the_paper(*first, queue_i, queue_t, t, targets)


def fusion_block_with_norms_in_reverse(text, image, own, cross, mlp, norm1, norm2, norm3):
    return fusion_block_in_a_loop(text, image, own, cross, mlp, norm3, norm2, norm1)


def fusion_block_that_looks_at_the_sum(text, image, own, cross, mlp, norm1, norm2, norm3):
    whole = image.sum(dim=1, keepdim=True)
    return fusion_block_in_a_loop(text, whole, own, cross, mlp, norm1, norm2, norm3)


def fusion_block_of_one_word(text, image, own, cross, mlp, norm1, norm2, norm3):
    return fusion_block_in_a_loop(text[:, :1], image, own, cross, mlp, norm1, norm2, norm3)


WRONG_LATER = {
    "enqueue": (enqueue_of_two, enqueue_in_blocks, enqueue_that_forgets_the_rest),
    "itc_with_queue": (
        itc_with_queue_that_normalises,
        itc_with_queue_at_one,
        itc_with_queue_of_hard_targets,
        itc_with_queue_of_two_pairs,
    ),
    "fusion_block": (
        fusion_block_with_norms_in_reverse,
        fusion_block_that_looks_at_the_sum,
        fusion_block_of_one_word,
    ),
}
