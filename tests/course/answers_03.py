"""Answers to the exercises of lesson 03 as learners may write them: right, or wrong late."""

import math

import torch
import torch.nn.functional as F

# --- right


def gumbel_softmax_with_loops(logits, u, temperature, hard=False):
    b, k, gh, gw = logits.shape
    u = u.clamp(1e-30, 1 - 1e-15)
    out = torch.zeros_like(logits)
    for i in range(b):
        for y in range(gh):
            for x in range(gw):
                score = logits[i, :, y, x] - (-u[i, :, y, x].log()).log()
                soft = torch.exp((score - score.max()) / temperature)
                soft = soft / soft.sum()
                if hard:
                    soft = F.one_hot(soft.argmax(), k).to(soft) - soft.detach() + soft
                out[i, :, y, x] = soft
    return out


def gumbel_softmax_with_eps(logits, u, tau, hard=False):
    g = -torch.log(-torch.log(u + 1e-20) + 1e-20)
    y = F.softmax((logits + g) / tau, dim=-3)
    if hard:
        best = (y == y.amax(1, keepdim=True)).to(y.dtype)
        y = (best - y).detach() + y
    return y


def kl_to_uniform_by_entropy(logits):
    q = logits.softmax(1)
    entropy = torch.special.entr(q).sum(1)
    return (math.log(logits.size(1)) - entropy).mean()


def kl_to_uniform_by_library(logits):
    rows = logits.permute(0, 2, 3, 1).flatten(0, 2)
    even = torch.full_like(rows, 1 / rows.shape[1])
    return F.kl_div(even.log(), rows.log_softmax(1), reduction="batchmean", log_target=True)


def map_pixels_by_lerp(x, eps=0.1):
    return torch.lerp(torch.full_like(x, eps), torch.full_like(x, 1 - eps), x)


def map_pixels_about_grey(x, eps=0.1):
    return 0.5 + (x - 0.5) * (1 - 2 * eps)


def logit_laplace_nll_by_distribution(x, mu, log_scale):
    laplace = torch.distributions.Laplace(mu, log_scale.exp())
    return -laplace.log_prob(torch.log(x) - torch.log(1 - x)) + torch.log(x) + torch.log1p(-x)


def logit_laplace_nll_by_density(x, m, ln_b):
    b = torch.exp(ln_b)
    density = torch.exp(-torch.abs(torch.logit(x) - m) / b) / (2 * b * x * (1 - x))
    return -torch.log(density)


def visual_tokens_by_sorting(logits):
    return logits.sort(dim=1, descending=True).indices[:, 0]


def visual_tokens_with_loops(logits):
    b, k, gh, gw = logits.shape
    tokens = torch.zeros(b, gh, gw, dtype=torch.long)
    for i in range(b):
        for y in range(gh):
            for x in range(gw):
                tokens[i, y, x] = max(range(k), key=lambda c: logits[i, c, y, x].item())
    return tokens


RIGHT = {
    "gumbel_softmax": (gumbel_softmax_with_loops, gumbel_softmax_with_eps),
    "kl_to_uniform": (kl_to_uniform_by_entropy, kl_to_uniform_by_library),
    "map_pixels": (map_pixels_by_lerp, map_pixels_about_grey),
    "logit_laplace_nll": (logit_laplace_nll_by_distribution, logit_laplace_nll_by_density),
    "visual_tokens": (visual_tokens_by_sorting, visual_tokens_with_loops),
}

# --- wrong, though right on the first case


def gumbel_softmax_of_two(logits, u, temperature, hard=False):
    g = -torch.log(-torch.log(u.clamp(1e-30, 1 - 1e-15)))
    first = ((logits + g)[:, :1] - (logits + g)[:, 1:2]) / temperature
    soft = torch.cat([first.sigmoid(), 1 - first.sigmoid()], dim=1)
    return soft.round() + soft - soft.detach() if hard else soft


def gumbel_softmax_with_its_own_noise(logits, u, temperature, hard=False):
    return F.gumbel_softmax(logits, temperature, hard, dim=1) if hard else (
        gumbel_softmax_with_eps(logits, u, temperature)
    )  # fmt: skip


def gumbel_softmax_detached(logits, u, temperature, hard=False):
    soft = gumbel_softmax_with_eps(logits, u, temperature).detach()
    return soft.round() if hard else soft


def kl_to_uniform_of_two(logits):
    log_q = logits.log_softmax(1)
    return (log_q.exp() * (log_q + math.log(2))).sum(1).mean()


def kl_to_uniform_of_one_picture(logits):
    q = logits[0].softmax(0)
    return (math.log(len(q)) - torch.special.entr(q).sum(0)).mean()


def map_pixels_without_gradient(x, eps=0.1):
    return x.detach() * (1 - 2 * eps) + eps


def map_pixels_in_place(x, eps=0.1):
    return x.mul_(1 - 2 * eps).add_(eps)


def logit_laplace_nll_of_unit_scale(x, mu, log_scale):
    return math.log(2) + torch.log(x * (1 - x)) + (torch.logit(x) - mu).abs() + 0 * log_scale


def logit_laplace_nll_clamped(x, mu, log_scale):
    return logit_laplace_nll_by_distribution(x, mu, log_scale.clamp(-1, 1))


def visual_tokens_of_one_row(logits):
    return logits[:, :, 0].argmax(1).unsqueeze(1)


def visual_tokens_int32(logits):
    return logits.argmax(1).int()


WRONG_LATER = {
    "gumbel_softmax": (
        gumbel_softmax_of_two,
        gumbel_softmax_with_its_own_noise,
        gumbel_softmax_detached,
    ),
    "kl_to_uniform": (kl_to_uniform_of_two, kl_to_uniform_of_one_picture),
    "map_pixels": (map_pixels_without_gradient, map_pixels_in_place),
    "logit_laplace_nll": (logit_laplace_nll_of_unit_scale, logit_laplace_nll_clamped),
    "visual_tokens": (visual_tokens_of_one_row, visual_tokens_int32),
}
