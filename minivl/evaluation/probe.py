"""How much a frozen encoder knows: nearest neighbours, and a linear classifier on its vectors.

DINO's protocol (Caron et al. 2021, section 4.1): a vote of the k nearest pictures, weighted by
exp(cosine / T); and a linear layer, fitted here to the optimum by L-BFGS (as CLIP did).
"""

import torch
import torch.nn.functional as F

from minivl.errors import DivergedError, UserError

NEIGHBOURS = 20
"""k, best of 10, 20, 100 and 200 in the paper."""

TEMPERATURE = 0.07
"""T of the votes."""


def knn_scores(
    gallery: torch.Tensor,
    labels: torch.Tensor,
    queries: torch.Tensor,
    classes: int,
    *,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
    rows: int = 1024,
) -> torch.Tensor:
    """Votes for each class: (queries, classes).

    gallery (n, width) with labels (n,) int64, queries (q, width), of any length: cosines count.
    At most n neighbours vote. `rows` queries at a time bound the memory; the result is the same.
    """
    _check(gallery, labels, queries)
    if k < 1:
        raise UserError(f"k is {k}", "let 1 neighbour or more vote")
    gallery, queries = F.normalize(gallery, dim=-1), F.normalize(queries, dim=-1)
    votes = queries.new_zeros(len(queries), classes)
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        nearest = (queries[part] @ gallery.T).topk(min(k, len(gallery)), dim=-1)
        weights = (nearest.values / temperature).exp()
        votes[part].scatter_add_(1, labels[nearest.indices], weights)
    return votes


def linear_probe(
    features: torch.Tensor,
    labels: torch.Tensor,
    queries: torch.Tensor,
    classes: int,
    *,
    penalty: float = 1e-3,
    rounds: int = 100,
) -> torch.Tensor:
    """Logits of the queries (q, classes) by a logistic regression on frozen features.

    features (n, width) with labels (n,), queries (q, width). Features are standardised; `penalty`
    times half the squared weights is added to the mean cross-entropy. The problem is convex: L-BFGS
    from zero finds its one optimum, without a learning rate and without chance.
    """
    _check(features, labels, queries)
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    features, queries = ((x - mean) / deviation for x in (features, queries))
    # Evaluation may run in inference mode, but this trains.
    with torch.inference_mode(False), torch.enable_grad():
        x, y = features.clone(), labels.clone()
        weight = x.new_zeros(classes, x.shape[1], requires_grad=True)
        bias = x.new_zeros(classes, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=rounds, line_search_fn="strong_wolfe", tolerance_grad=1e-6
        )

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            total = F.cross_entropy(F.linear(x, weight, bias), y)
            total = total + penalty / 2 * weight.square().sum()
            total.backward()
            return total

        optimizer.step(loss)
    return F.linear(queries, weight.detach(), bias.detach())


def _check(gallery: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor) -> None:
    if (
        len(gallery) == 0
        or labels.shape != gallery.shape[:1]
        or gallery.shape[1:] != queries.shape[1:]
    ):
        raise UserError(
            f"gallery {tuple(gallery.shape)}, labels {tuple(labels.shape)} and queries "
            f"{tuple(queries.shape)} do not fit",
            "pass (n, width) with n > 0, (n,) and (q, width)",
        )
    if not (gallery.isfinite().all() and queries.isfinite().all()):
        raise DivergedError("a feature is not a number", "the model's weights hold NaN or inf")
