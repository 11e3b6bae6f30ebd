"""Against plain numbers: scale columns, scale rows, in turns."""

import math

import pytest
import torch

from minivl.objectives.sinkhorn import sinkhorn


def slow(logits, temperature, iterations):
    """DINOv2's way: weights that are scaled, columns to 1/k of the whole, rows to 1/n."""
    weights = [[math.exp(x / temperature) for x in row] for row in logits]
    n, k = len(weights), len(weights[0])
    for _ in range(iterations):
        columns = [sum(row[j] for row in weights) for j in range(k)]
        weights = [[x / columns[j] / k for j, x in enumerate(row)] for row in weights]
        weights = [[x / sum(row) / n for x in row] for row in weights]
    return [[x / sum(row) for x in row] for row in weights]


@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize("shape", [(4, 3), (3, 5), (1, 4)])
def test_it_is_the_scaling_in_turns(iterations, shape, normal):
    logits = normal(0, *shape)
    expected = torch.tensor(slow(logits.tolist(), 0.5, iterations), dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(logits, 0.5, iterations), expected, rtol=1e-12, atol=1e-12)


def test_by_hand():
    # exp: rows (3, 1), (1, 1). Columns to 1: (3/4, 1/2), (1/4, 1/2). Rows to 1: 3/5, 1/3.
    got = sinkhorn(torch.tensor([[3.0, 1.0], [1.0, 1.0]], dtype=torch.float64).log(), 1.0, 1)
    expected = torch.tensor([[3 / 5, 2 / 5], [1 / 3, 2 / 3]], dtype=torch.float64)
    torch.testing.assert_close(got, expected)


def test_answers_add_to_one_and_many_turns_use_all_outputs_alike(normal):
    got = sinkhorn(normal(1, 12, 5), 1.0, iterations=200)
    torch.testing.assert_close(got.sum(dim=1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(got.mean(dim=0), torch.full((5,), 0.2, dtype=torch.float64))


def test_a_favourite_of_all_loses_its_lead(normal):
    logits = normal(2, 12, 5)
    torch.testing.assert_close(
        sinkhorn(logits + 7 * torch.eye(5, dtype=torch.float64)[2], 0.5), sinkhorn(logits, 0.5)
    )


def test_a_constant_in_float32_whatever_comes_in(normal):
    got = sinkhorn((1e4 * normal(3, 6, 4)).to(torch.float16).requires_grad_(), 0.04)
    assert got.dtype == torch.float32 and not got.requires_grad and got.isfinite().all()
