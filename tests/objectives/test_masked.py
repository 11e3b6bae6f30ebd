"""The loss of what was hidden, against a loop and the library."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.objectives.masked import masked_cross_entropy, scored, selected_rows

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    b=st.integers(1, 4),
    n=st.integers(1, 6),
    k=st.integers(2, 7),
    share=st.floats(0, 1),
)
def test_the_mean_over_what_is_scored(seed, b, n, k, share):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(b, n, k, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(k, (b, n), generator=generator)
    labels[torch.rand(b, n, generator=generator) >= share] = -100
    loss = masked_cross_entropy(logits, labels)
    places = [(i, j) for i in range(b) for j in range(n) if labels[i, j] != -100]
    by_hand = [
        math.log(sum(math.exp(z) for z in logits[i, j].tolist())) - logits[i, j, labels[i, j]]
        for i, j in places
    ]
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[labels == -100].any()
    if not places:
        assert loss == 0 and loss.requires_grad and not gradient.any()
        return
    torch.testing.assert_close(loss, sum(by_hand) / len(by_hand), **CLOSE)
    torch.testing.assert_close(
        loss, F.cross_entropy(logits.flatten(0, 1), labels.flatten()), **CLOSE
    )
    # The rows alone give the same.
    rows = selected_rows(labels != -100)
    alone = masked_cross_entropy(logits.flatten(0, 1)[rows], labels.flatten()[rows])
    torch.testing.assert_close(alone, loss, **CLOSE)


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_no_row_at_all_is_a_zero_with_a_graph(shape):
    logits = torch.zeros(*shape, 5, requires_grad=True)
    loss = masked_cross_entropy(logits, torch.zeros(shape, dtype=torch.int64))
    assert loss == 0
    loss.backward()
    assert logits.grad.shape == (*shape, 5)


def test_right_answers_are_counted_where_asked():
    logits = torch.tensor([[[1.0, 0], [0, 1], [0, 1]]])
    right, asked = scored(logits, torch.tensor([[0, 0, -100]]))
    assert (int(right), int(asked)) == (1, 2)
    right, asked = scored(logits[:, :0], torch.zeros(1, 0, dtype=torch.int64))
    assert (int(right), int(asked)) == (0, 0)


def test_rows_are_counted_through_the_batch():
    mask = torch.tensor([[True, False, True], [False, True, False]])
    assert selected_rows(mask).tolist() == [0, 2, 4]
    assert selected_rows(torch.zeros(2, 3).bool()).shape == (0,)
