import math

import pytest
import torch
import torch.nn.functional as F

from minivl.errors import DivergedError, UserError
from minivl.evaluation.probe import knn_scores, linear_probe


def slow_votes(gallery, labels, query, classes, k, temperature):
    """DINO's eval_knn, one query in plain Python."""

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    near = sorted(((cosine(query, row), label) for row, label in zip(gallery, labels, strict=True)),
                  reverse=True)[:k]  # fmt: skip
    votes = [0.0] * classes
    for similarity, label in near:
        votes[label] += math.exp(similarity / temperature)
    return votes


@pytest.mark.parametrize("k", [1, 5, 100])
def test_votes_are_those_of_the_k_nearest(normal, k):
    gallery, queries = normal(0, 30, 6), normal(1, 11, 6)
    labels = torch.arange(30) % 4
    found = knn_scores(gallery, labels, queries, 4, k=k, temperature=0.3)
    for query, votes in zip(queries.tolist(), found.tolist(), strict=True):
        expected = slow_votes(gallery.tolist(), labels.tolist(), query, 4, k, 0.3)
        assert votes == pytest.approx(expected, rel=1e-9)


def test_lengths_of_vectors_do_not_count_and_chunks_change_nothing(normal):
    gallery, queries, labels = normal(0, 30, 6), normal(1, 11, 6), torch.arange(30) % 4
    whole = knn_scores(gallery, labels, queries, 4)
    scaled = knn_scores(gallery * torch.arange(1, 31)[:, None], labels, queries * 9, 4)
    torch.testing.assert_close(scaled, whole)
    torch.testing.assert_close(knn_scores(gallery, labels, queries, 4, rows=2), whole)


def test_the_defaults_are_the_papers(normal):
    gallery, queries, labels = normal(0, 60, 6), normal(1, 4, 6), torch.arange(60) % 4
    named = knn_scores(gallery, labels, queries, 4, k=20, temperature=0.07)
    assert torch.equal(knn_scores(gallery, labels, queries, 4), named)


def test_fewer_than_a_hundred_queries_and_none(normal):
    gallery, labels = normal(0, 5, 3), torch.arange(5) % 2
    assert knn_scores(gallery, labels, normal(1, 1, 3), 2).shape == (1, 2)
    assert knn_scores(gallery, labels, normal(1, 0, 3), 2).shape == (0, 2)


def test_the_probe_is_at_the_optimum_of_its_loss(normal):
    """The gradient of mean cross-entropy + penalty is zero where L-BFGS stopped."""
    x, y = normal(0, 60, 4), torch.arange(60) % 3
    x = x + F.one_hot(y, 4)
    eye = torch.cat([torch.zeros(1, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)])
    mean, deviation = x.mean(0), x.std(0, correction=0)
    logits = linear_probe(x, y, eye * deviation + mean, 3, penalty=0.05)
    bias, weight = logits[0], (logits[1:] - logits[0]).T  # read off at the basis vectors
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    loss = F.cross_entropy(F.linear((x - mean) / deviation, weight, bias), y)
    loss = loss + 0.025 * weight.square().sum()
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert gradient.abs().max() < 1e-4


def test_separable_classes_are_learned_and_scales_do_not_count(normal):
    y = torch.arange(90) % 3
    x = normal(0, 90, 5) * 0.1 + F.one_hot(y, 5) + 100
    assert (linear_probe(x, y, x, 3).argmax(1) == y).all()
    scale = torch.tensor([1e-3, 1.0, 1e3, 1.0, 7.0])
    torch.testing.assert_close(
        linear_probe(x * scale, y, x * scale, 3), linear_probe(x, y, x, 3), rtol=1e-3, atol=1e-3
    )


def test_the_probe_trains_inside_inference_mode_and_draws_nothing(normal):
    x, y = normal(0, 30, 4).float(), torch.arange(30) % 3
    before = torch.get_rng_state()
    outside = linear_probe(x, y, x, 3)
    with torch.inference_mode():
        inside = linear_probe(x.clone(), y.clone(), x.clone(), 3)
    assert torch.equal(inside, outside) and torch.equal(torch.get_rng_state(), before)
    assert not outside.requires_grad


def test_a_feature_that_never_varies_is_no_trouble(normal):
    x = torch.cat([normal(0, 30, 3), torch.ones(30, 1, dtype=torch.float64)], dim=1)
    assert linear_probe(x, torch.arange(30) % 2, x, 2).isfinite().all()


@pytest.mark.parametrize("method", [knn_scores, linear_probe])
def test_what_does_not_fit_is_refused(method):
    x, y = torch.randn(4, 3), torch.arange(4)
    for wrong in ((x[:0], y[:0], x), (x, y[:3], x), (x, y, torch.randn(2, 5))):
        with pytest.raises(UserError, match="do not fit"):
            method(*wrong, 4)
    with pytest.raises(DivergedError):
        method(x * math.nan, y, x, 4)
    with pytest.raises(UserError, match="k is 0"):
        knn_scores(x, y, x, 4, k=0)
