"""Answers to the exercises as learners may write them: right in another style, or wrong late."""

import torch
import torch.distributed as dist
import torch.nn.functional as F

# --- right: loops, einsum, other names, other library calls


def attention_with_loops(query, key, value, mask=None):
    b, h, n, d = query.shape
    out = []
    for i in range(b):
        for j in range(h):
            for t in range(n):
                scores = torch.stack([(query[i, j, t] * k).sum() for k in key[i, j]]) / d**0.5
                seen = torch.ones(len(scores)).bool()
                if mask is not None:
                    seen = mask.expand(b, h, n, len(scores))[i, j, t]
                if not seen.any():
                    out.append(0 * query[i, j, t].sum() + torch.zeros_like(value[i, j, 0]))
                    continue
                weights = scores[seen].softmax(0)
                out.append((weights[:, None] * value[i, j][seen]).sum(0))
    return torch.stack(out).reshape(b, h, n, -1)


def attention_with_einsum(q, k, v, visible=None):
    scores = torch.einsum("bhnd,bhmd->bhnm", q, k) * q.size(-1) ** -0.5
    if visible is None:
        visible = torch.ones_like(scores, dtype=torch.bool)
    weights = torch.exp(scores - scores.amax(-1, keepdim=True).detach()) * visible
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
    return torch.einsum("bhnm,bhme->bhne", weights, v)


def split_heads_with_loops(x, heads):
    width = x.shape[-1] // heads
    return torch.stack([x[:, :, i * width : (i + 1) * width] for i in range(heads)], dim=1)


def split_heads_with_view(x, heads):
    b, n, d = x.shape
    return x.contiguous().view(b, n, heads, d // heads).permute(0, 2, 1, 3)


def pre_norm_block_in_steps(tokens, mix, think, first, second):
    branch = mix(first(tokens))
    tokens = branch + tokens
    branch = think(second(tokens))
    return branch + tokens


def patchify_with_loops(image, p):
    b, c, h, w = image.shape
    rows = [
        image[:, :, y : y + p, x : x + p].reshape(b, -1)
        for y in range(0, h, p)
        for x in range(0, w, p)
    ]
    if h % p or w % p:
        raise ValueError(f"{h} x {w} pixels do not divide by {p}")
    return torch.stack(rows, dim=1)


def patchify_with_unfold(image, patch_size):
    assert image.shape[2] % patch_size == 0 and image.shape[3] % patch_size == 0
    return F.unfold(image, patch_size, stride=patch_size).transpose(1, 2)


def interpolate_positions_by_formula(positions, grid):
    """The cubic of torch written out, as two matrices."""
    side = int((positions.shape[1] - 1) ** 0.5 + 0.5)

    def matrix(size):
        table = torch.zeros(size, side, dtype=positions.dtype)
        for i in range(size):
            centre = (i + 0.5) * side / size - 0.5
            first = int(centre // 1) - 1
            for j in range(first, first + 4):
                t = abs(centre - j)
                near = 1.25 * t**3 - 2.25 * t**2 + 1
                far = -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
                table[i, min(max(j, 0), side - 1)] += near if t <= 1 else far
        return table

    cells = positions[0, 1:].reshape(side, side, -1)
    cells = torch.einsum("rg,cw,gwd->rcd", matrix(grid[0]), matrix(grid[1]), cells)
    return torch.cat([positions[:, :1], cells.flatten(0, 1)[None]], dim=1)


def interpolate_positions_by_permute(pos, size):
    n, d = pos.shape[1] - 1, pos.shape[2]
    side = round(n**0.5)
    grid = pos[:, 1:].reshape(1, side, side, d).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=tuple(size), mode="bicubic", align_corners=False)
    return torch.cat([pos[:, 0:1], grid.permute(0, 2, 3, 1).reshape(1, -1, d)], 1)


def word_pieces_recursive(word, vocab, unknown="[UNK]", mark=""):
    for end in range(len(word), 0, -1):
        if mark + word[:end] in vocab:
            rest = word_pieces_recursive(word[end:], vocab, unknown, "##")
            return [unknown] if unknown in rest else [mark + word[:end], *rest]
    return [unknown] if word else []


def word_pieces_with_while(word, vocab, unknown="[UNK]"):
    found, rest = (), word
    while rest:
        piece = rest
        while piece and (("##" if found else "") + piece) not in vocab:
            piece = piece[:-1]
        if not piece:
            return (unknown,)
        found += (("##" if found else "") + piece,)
        rest = rest[len(piece) :]
    return found


def pad_batch_with_numbers(rows, pad_id=0):
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        for j, number in enumerate(row):
            ids[i, j] = number
            mask[i, j] = 1
    return [ids, mask]


def pad_batch_with_pad_sequence(rows, pad_id=0):
    rows = [torch.tensor(row, dtype=torch.long) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    ones = [torch.ones_like(row, dtype=torch.bool) for row in rows]
    return ids, torch.nn.utils.rnn.pad_sequence(ones, batch_first=True)


def similarity_logits_with_loops(image, text, logit_scale):
    def unit(v):
        return v / v.square().sum().clamp_min(1e-24).sqrt()

    rows = [torch.stack([(unit(v) * unit(w)).sum() for w in text]) for v in image]
    return torch.stack(rows) * torch.exp(logit_scale)


def similarity_logits_by_cosine(a, b, s):
    return F.cosine_similarity(a[:, None], b[None], dim=-1) * s.exp()


def info_nce_with_loops(logits):
    n, total = len(logits), 0
    for i in range(n):
        total = total + logits[i].logsumexp(0) + logits[:, i].logsumexp(0) - 2 * logits[i, i]
    return total / (2 * n)


def info_nce_with_log_softmax(logits):
    rows, columns = logits.log_softmax(1), logits.log_softmax(0)
    return -(rows + columns).diagonal().mean() / 2


def global_info_nce_with_loops(image, text, all_image, all_text, rank, logit_scale):
    def scores(v, others):
        return logit_scale.exp() * F.cosine_similarity(v[None], others, dim=-1)

    b, total = len(image), 0
    for i in range(b):
        right = rank * b + i
        total = total - scores(image[i], all_text).log_softmax(0)[right]
        total = total - scores(text[i], all_image).log_softmax(0)[right]
    return total / (2 * b)


class ReduceScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        out = x.new_empty(dist.get_world_size() * len(x), *x.shape[1:])
        dist.all_gather_into_tensor(out, x)
        return out

    @staticmethod
    def backward(ctx, gradient):
        own = gradient.new_empty(len(gradient) // dist.get_world_size(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own


def gather_with_grad_by_reduce_scatter(x):
    return ReduceScatter.apply(x) if dist.is_initialized() else x


def gather_with_grad_by_torch(x):
    import torch.distributed.nn.functional as with_gradient

    return torch.cat(with_gradient.all_gather(x)) if dist.is_initialized() else x


RIGHT = {
    "attention": (attention_with_loops, attention_with_einsum),
    "split_heads": (split_heads_with_loops, split_heads_with_view),
    "pre_norm_block": (pre_norm_block_in_steps,),
    "patchify": (patchify_with_loops, patchify_with_unfold),
    "interpolate_positions": (interpolate_positions_by_formula, interpolate_positions_by_permute),
    "word_pieces": (word_pieces_recursive, word_pieces_with_while),
    "pad_batch": (pad_batch_with_numbers, pad_batch_with_pad_sequence),
    "similarity_logits": (similarity_logits_with_loops, similarity_logits_by_cosine),
    "info_nce": (info_nce_with_loops, info_nce_with_log_softmax),
    "global_info_nce": (global_info_nce_with_loops,),
    "gather_with_grad": (gather_with_grad_by_reduce_scatter, gather_with_grad_by_torch),
}

# --- wrong, though right on the first case


def attention_of_width_4(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / 4**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    weights = scores.softmax(-1)
    return (weights if mask is None else weights * mask * 0.999999) @ value


def attention_repaired_after_the_fact(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + torch.zeros_like(scores).masked_fill(~mask, float("-inf"))
    return scores.softmax(-1).nan_to_num(0.0) @ value


def split_heads_for_two(x, heads):
    return torch.stack(x.chunk(2, dim=-1), dim=1)


def split_heads_of_stored_numbers(x, heads):
    (b, n, d), width = x.shape, x.shape[2] // heads
    return x.as_strided((b, heads, n, width), (n * d, width, d, 1))


def pre_norm_block_with_a_second_look(x, attention, mlp, norm1, norm2):
    y = x + attention(norm1(x))
    return x + attention(norm1(x)) + mlp(norm2(y))


def pre_norm_block_without_gradient(x, attention, mlp, norm1, norm2):
    y = x + attention(norm1(x)).detach()
    return y + mlp(norm2(y))


def patchify_squares_only(image, p):
    side = image.shape[-1] // p
    patches = image.unfold(2, p, p).unfold(3, p, p)
    return patches.permute(0, 2, 3, 1, 4, 5).reshape(len(image), side * side, -1)


def patchify_that_drops_the_rest(image, p):
    return F.unfold(image, p, stride=p).transpose(1, 2)


def interpolate_positions_of_two(positions, grid):
    cells = positions[:, 1:].reshape(1, 2, 2, -1).permute(0, 3, 1, 2)
    cells = F.interpolate(cells, size=grid, mode="bicubic")
    return torch.cat([positions[:, :1], cells.flatten(2).transpose(1, 2)], dim=1)


def word_pieces_once_more(word, vocab, unknown="[UNK]"):
    return word_pieces_recursive(word, vocab, unknown) or [unknown]


def pad_batch_of_true_numbers(rows, pad_id=0):
    ids, _ = pad_batch_with_numbers(rows, pad_id)
    return ids, ids > 1


def similarity_logits_for_squares(image, text, logit_scale):
    cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    return cosines * logit_scale.exp() + 0 * torch.eye(len(image), dtype=image.dtype) * cosines


def similarity_logits_doubled(image, text, logit_scale):
    return 2 * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T


def info_nce_without_care(logits):
    rows = logits.exp() / logits.exp().sum(1, keepdim=True)
    columns = logits.exp() / logits.exp().sum(0, keepdim=True)
    return -(rows.log() + columns.log()).diagonal().mean() / 2


def info_nce_of_two(logits):
    target = torch.tensor([0, 1])
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def global_info_nce_of_the_last(image, text, all_image, all_text, rank, logit_scale):
    target = torch.arange(len(all_image) - len(image), len(all_image))
    scale, unit = logit_scale.exp(), lambda x: F.normalize(x, dim=-1)
    forth, back = unit(image) @ unit(all_text).T, unit(text) @ unit(all_image).T
    return (F.cross_entropy(scale * forth, target) + F.cross_entropy(scale * back, target)) / 2


def gather_with_grad_of_two(x):
    class Gather(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
            dist.all_gather(parts, x)
            return torch.cat(parts)

        @staticmethod
        def backward(ctx, gradient):
            gradient = gradient.clone()
            dist.all_reduce(gradient)
            return gradient[dist.get_rank()].unsqueeze(0)

    return Gather.apply(x)


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather_with_grad_in_place(x):
    return InPlace.apply(x) if dist.is_initialized() else x


def gather_with_grad_never_alone(x):
    return ReduceScatter.apply(x)


WRONG_LATER = {
    "attention": (attention_of_width_4, attention_repaired_after_the_fact),
    "split_heads": (split_heads_for_two, split_heads_of_stored_numbers),
    "pre_norm_block": (pre_norm_block_with_a_second_look, pre_norm_block_without_gradient),
    "patchify": (patchify_squares_only, patchify_that_drops_the_rest),
    "interpolate_positions": (interpolate_positions_of_two,),
    "word_pieces": (word_pieces_once_more,),
    "pad_batch": (pad_batch_of_true_numbers,),
    "similarity_logits": (similarity_logits_for_squares, similarity_logits_doubled),
    "info_nce": (info_nce_without_care, info_nce_of_two),
    "global_info_nce": (global_info_nce_of_the_last,),
    "gather_with_grad": (
        gather_with_grad_of_two,
        gather_with_grad_in_place,
        gather_with_grad_never_alone,
    ),
}
