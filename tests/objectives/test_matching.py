"""Hard negatives and the batch that asks whether pairs match; nothing here waits for the device."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from minivl.objectives.contrastive import itc_with_queue
from minivl.objectives.matching import (
    draw_partners,
    hard_negative_weights,
    itm_batch,
    same_pairs,
)
from minivl.objectives.momentum import distilled_mlm, enqueue, soft_cross_entropy, soft_targets

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
LN2 = math.log(2) * torch.tensor([[3, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)
OWN = torch.eye(3, dtype=torch.bool)


def ids(*numbers):
    """True where two rows have the same number."""
    numbers = torch.tensor(numbers)
    return numbers[:, None] == numbers


@pytest.mark.parametrize(
    ("same", "expected"),
    [
        (OWN, [[0, 2 / 3, 1 / 3], [1 / 3, 0, 2 / 3], [1 / 2, 1 / 2, 0]]),
        (ids(0, 0, 1), [[0, 0, 1], [0, 0, 1], [1 / 2, 1 / 2, 0]]),
        (ids(0, 0, 0), [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_weights_by_hand(same, expected):
    similarity = LN2.clone().requires_grad_()
    weights = hard_negative_weights(similarity, same)
    torch.testing.assert_close(weights, torch.tensor(expected).double(), rtol=0, atol=1e-7)
    assert not weights.requires_grad


def test_a_sure_model_still_has_negatives():
    """Left out after the softmax, all of a row would be 0 in float32."""
    sure = 200 * torch.eye(3)
    assert (sure.softmax(dim=1)[~OWN] == 0).all()
    weights = hard_negative_weights(sure, OWN)
    assert weights.tolist() == [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_few_digits_become_float32(dtype):
    weights = hard_negative_weights(LN2.to(dtype), OWN)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, hard_negative_weights(LN2.float(), OWN), rtol=0, atol=0.01)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    b=st.integers(1, 6),
    captions=st.integers(1, 4),
    scale=st.sampled_from([1.0, 20.0, 200.0]),
    wide=st.booleans(),
)
def test_a_true_partner_is_never_drawn(normal, seed, b, captions, scale, wide):
    """In float32, too, and however sure the model is; rows add to 1, or to 0 without candidates."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(captions, (b, 1), generator=generator)
    same = same_pairs(words)
    similarity = scale * (normal(seed, b, b) + same)
    weights = hard_negative_weights(similarity if wide else similarity.float(), same)
    assert (weights[same] == 0).all()
    some = (~same).any(dim=1)
    torch.testing.assert_close(weights.sum(dim=1), some.to(weights.dtype), rtol=0, atol=1e-5)
    # Harder is likelier, and the softmax over the candidates alone is what it should be.
    for i in range(b):
        rest = ~same[i]
        expected = similarity[i, rest].softmax(dim=0)
        torch.testing.assert_close(weights[i, rest].double(), expected, rtol=1e-4, atol=1e-30)
    drawn = draw_partners(weights, torch.rand(b, generator=generator))
    assert torch.equal(drawn == -1, ~some)
    assert not same[torch.arange(b), drawn][some].any()


def test_one_pair_has_no_partner_and_two_have_each_other():
    alone = torch.ones(1, 1, dtype=torch.bool)
    weights = hard_negative_weights(torch.tensor([[200.0]]), alone)
    assert weights.tolist() == [[0.0]]
    assert draw_partners(weights, torch.tensor([0.5])).tolist() == [-1]
    weights = hard_negative_weights(200 * torch.eye(2), OWN[:2, :2])
    for u in (0.0, 0.5, 0.999):
        assert draw_partners(weights, torch.full((2,), u)).tolist() == [1, 0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), c=st.integers(1, 7), wide=st.booleans(), total=st.floats(0.1, 9))
def test_partners_come_as_often_as_their_weights_say(seed, c, wide, total):
    """Over an even grid of u, each column's count is its share to within one, added or not."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(c, generator=generator) * (torch.rand(c, generator=generator) < 0.6)
    weights[seed % c] = 0.5
    weights = (total * weights / weights.sum()).to(torch.float64 if wide else torch.float32)
    grid = 4096  # its middles are exact in float32
    u = ((torch.arange(grid) + 0.5) / grid).to(weights.dtype)
    counts = draw_partners(weights.expand(grid, c), u).bincount(minlength=c)
    assert (counts - grid * weights / weights.sum()).abs().max() <= 1.01
    assert (counts[weights == 0] == 0).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    c=st.integers(1, 40),
    share=st.floats(0, 1),
    power=st.floats(0, 30),
    wide=st.booleans(),
)
def test_no_u_draws_a_column_without_weight(seed, c, share, power, wide):
    """Not 0, nor the last number below 1, nor 1, nor where the running total stands exactly."""
    dtype = torch.float64 if wide else torch.float32
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(c, generator=generator, dtype=dtype) ** power
    weights[torch.rand(c, generator=generator) < share] = 0
    below_one = torch.nextafter(torch.ones((), dtype=dtype), torch.zeros((), dtype=dtype))
    total = weights.cumsum(0)
    ends = total / total[-1] if total[-1] > 0 else total
    u = torch.cat([torch.tensor([0, below_one, 1], dtype=dtype), ends])
    drawn = draw_partners(weights.expand(len(u), c), u)
    assert drawn.dtype == torch.int64
    if not (weights > 0).any():
        assert (drawn == -1).all()
        return
    places = (weights > 0).nonzero().squeeze(1)
    assert (weights[drawn] > 0).all()
    assert drawn[0] == places[0] and drawn[2] == places[-1]


def test_a_total_that_rounds_up_where_there_is_no_weight_draws_nothing_there(monkeypatch):
    """Devices that add in parallel may round the totals before and behind a zero differently."""
    weights = torch.tensor([[0.5, 0.0, 0.5]]).double()
    totals = torch.tensor([[0.5, 0.5 + 1e-15, 1.0]]).double()
    monkeypatch.setattr(torch.Tensor, "cumsum", lambda self, dim: totals)
    assert draw_partners(weights, torch.tensor([0.5]).double()).tolist() == [2]


IMAGE, TEXT = torch.tensor([1.0, 2, 3]), torch.tensor([10.0, 20, 30])
WRONG = torch.tensor([1, 2, 1]), torch.tensor([2, 0, 0])


def test_the_batch_by_hand():
    image, text, labels = itm_batch(IMAGE, TEXT, *WRONG)
    assert image.tolist() == [1, 2, 3, 2, 3, 2, 1, 2, 3]
    assert text.tolist() == [10, 20, 30, 10, 20, 30, 30, 10, 10]
    assert labels.tolist() == [1] * 3 + [0] * 6 and labels.dtype == torch.int64


def test_negatives_learn_and_whatever_belongs_to_a_text_travels_along(normal):
    image, text = normal(0, 3, 4, 2).requires_grad_(), normal(1, 3, 5, 2).requires_grad_()
    images, texts, _ = itm_batch(image, text, *WRONG)
    assert images.shape == (9, 4, 2) and texts.shape == (9, 5, 2)
    # Each row once as its own pair's and once beside a wrong partner, and where it is drawn.
    (gradient,) = torch.autograd.grad(images.sum(), image)
    assert gradient[:, 0, 0].tolist() == [2, 4, 3]
    (gradient,) = torch.autograd.grad(texts.sum(), text)
    assert gradient[:, 0, 0].tolist() == [4, 2, 3]
    # Row numbers in place of states: what is to be gathered for each of the 3b rows.
    rows = torch.arange(3)
    image_rows, text_rows, _ = itm_batch(rows, rows, *WRONG)
    assert torch.equal(image[image_rows], images) and torch.equal(text[text_rows], texts)


def test_who_has_no_partner_is_not_scored():
    none = torch.tensor([-1])
    image, text, labels = itm_batch(IMAGE[:1], TEXT[:1], none, none)
    assert labels.tolist() == [1, -100, -100] and len(image) == len(text) == 3
    logits = torch.zeros(3, 2)
    assert F.cross_entropy(logits, labels).item() == pytest.approx(math.log(2))
    labels = itm_batch(IMAGE, TEXT, torch.tensor([0, -1, 2]), torch.tensor([-1, 1, 0]))[2]
    assert labels.tolist() == [1, 1, 1, 0, -100, 0, -100, 0, 0]


def test_equal_captions_and_equal_pictures_are_no_negatives():
    captions = torch.tensor([[2, 7, 3, 0], [2, 7, 3, 0], [2, 7, 9, 3], [2, 7, 0, 0]])
    assert torch.equal(same_pairs(captions), ids(0, 0, 1, 2))
    pictures = torch.tensor([5, 6, 6, 8])
    both = ids(0, 0, 1, 2) | ids(5, 6, 6, 8)
    assert torch.equal(same_pairs(captions, pictures), both)
    assert both[1].tolist() == [True, True, True, False]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), b=st.integers(1, 6), t=st.integers(1, 4), named=st.booleans())
def test_sameness_is_that_of_every_two_rows(seed, b, t, named):
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(2, (b, t), generator=generator)
    pictures = torch.randint(3, (b,), generator=generator) if named else None
    expected = [
        [
            words[i].tolist() == words[j].tolist()
            or (named and pictures[i].item() == pictures[j].item())
            for j in range(b)
        ]
        for i in range(b)
    ]
    same = same_pairs(words, pictures)
    assert same.tolist() == expected
    assert same.diagonal().all() and torch.equal(same, same.T)


class Operations(TorchDispatchMode):
    """Counts what is asked of the device, and refuses what would have to wait for its answer."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal"), name
        self.count += 1
        return operation(*args, **(kwargs or {}))


def step(b, normal):
    """All functions of a training step, on a batch of b."""
    unit = [F.normalize(normal(i, b, 4), dim=1) for i in range(4)]
    queues = F.normalize(normal(4, 4, 9), dim=0), F.normalize(normal(5, 4, 9), dim=0)
    words, u = torch.arange(2 * b).view(b, 2), torch.rand(2, b)
    logits, labels, pointer = normal(6, b, 7), torch.arange(b) % 7, torch.tensor(3)
    for tensor in unit[:2]:
        tensor.requires_grad_()
    with Operations() as operations:
        hard = torch.eye(b, b + 9, dtype=torch.float64)
        keys = torch.cat([unit[3].T, queues[1]], dim=1)
        targets = soft_targets(unit[2] @ keys, hard, 0.4)
        itc_with_queue(*unit, *queues, 0.07).backward()
        itc_with_queue(*unit, *queues, 0.07, (targets, targets)).backward()
        enqueue(queues[0], unit[2], pointer)
        same = same_pairs(words, torch.arange(b))
        weights = hard_negative_weights(unit[0].detach() @ unit[3].T, same)
        itm_batch(words, words, draw_partners(weights, u[0]), draw_partners(weights.T, u[1]))
        distilled_mlm(logits[None], logits[None], labels[None], 0.4)
        soft_cross_entropy(logits, logits.softmax(dim=1))
    return operations.count


def test_nothing_waits_for_the_device_and_nothing_loops_over_the_batch(normal):
    assert step(2, normal) == step(8, normal) > 50
