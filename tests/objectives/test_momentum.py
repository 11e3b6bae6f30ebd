"""The running mean, the queue of its features, and what a student learns from its doubt."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.objectives.masked import masked_cross_entropy
from minivl.objectives.momentum import (
    distilled_mlm,
    ema_update,
    enqueue,
    soft_cross_entropy,
    soft_targets,
)

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
L3 = math.log(3)
"""A logit that makes three quarters of two."""


def numbers(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_each_tensor_becomes_the_weighted_mean_and_stays_where_it_is(normal):
    teacher, student = [normal(0, 2, 3), normal(1, 4)], [normal(2, 2, 3), normal(3, 4)]
    expected = [0.9 * t + (1 - 0.9) * s for t, s in zip(teacher, student, strict=True)]
    places, before = [t.data_ptr() for t in teacher], [s.clone() for s in student]
    assert ema_update(teacher, student, 0.9) is None
    for found, right in zip(teacher, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)
    assert [t.data_ptr() for t in teacher] == places
    assert all(torch.equal(s, b) for s, b in zip(student, before, strict=True))


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_the_ends_are_exact(momentum):
    teacher, student = [torch.tensor([0.1, 1e8])], [torch.tensor([0.3, 1e-8])]
    kept = (teacher if momentum else student)[0].clone()
    ema_update(teacher, student, momentum)
    assert torch.equal(teacher[0], kept)
    student[0].add_(1)
    assert torch.equal(teacher[0], kept)


def test_iterators_of_parameters_and_no_gradient():
    teacher = torch.nn.Linear(3, 2).requires_grad_(False)
    student = torch.nn.Linear(3, 2)
    ema_update(teacher.parameters(), student.parameters(), 0.5)
    assert not any(p.requires_grad for p in teacher.parameters())
    ema_update(iter([]), iter([]), 0.5)


@pytest.mark.parametrize(("momentum", "steps"), [(0.995, 138), (0.996, 173)])
def test_half_of_a_weight_is_forgotten_after_its_half_life(momentum, steps):
    teacher, student = [torch.zeros(1, dtype=torch.float64)], [torch.ones(1, dtype=torch.float64)]
    for _ in range(steps):
        ema_update(teacher, student, momentum)
    assert teacher[0].item() == pytest.approx(1 - momentum**steps)
    assert teacher[0].item() == pytest.approx(0.5, abs=0.002)


def test_another_number_of_tensors_is_refused():
    with pytest.raises(ValueError, match="2 tensors of a teacher, 1 of a student"):
        ema_update([torch.zeros(1), torch.zeros(1)], [torch.zeros(1)], 0.9)


@pytest.mark.parametrize(
    ("pointer", "expected", "after"),
    [(0, [8, 9, 3, 4], 2), (2, [1, 2, 8, 9], 0), (3, [9, 2, 3, 8], 1)],
)
def test_two_keys_replace_the_oldest_two(pointer, expected, after):
    queue, keys = numbers([1, 2, 3, 4]), numbers([8], [9]).requires_grad_()
    for start in (pointer, torch.tensor(pointer)):
        new, place = enqueue(queue, keys, start)
        assert new.tolist() == [expected] and place == after
        assert type(place) is type(start) and not new.requires_grad
    assert queue.tolist() == [[1, 2, 3, 4]] and start == pointer


@settings(max_examples=50, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10**6), d=st.integers(1, 3), length=st.integers(1, 9))
def test_the_queue_is_a_ring_for_any_batch(normal, data, seed, d, length):
    """Against a list written key by key; after one round nothing of the start is left."""
    queue = normal(seed, d, length)
    ring, pointer, walked = [column.tolist() for column in queue.T], 0, 0
    for turn, rows in enumerate(data.draw(st.lists(st.integers(0, length), max_size=6))):
        keys, before = normal(seed + 1 + turn, rows, d), pointer
        plain = queue.clone()
        queue, pointer = enqueue(queue, keys, pointer)
        for i, key in enumerate(keys.tolist()):
            ring[(walked + i) % length] = key
        walked += rows
        assert pointer == walked % length
        assert queue.T.tolist() == ring
        if before + rows <= length:  # as the official code writes, whose batches divide the queue
            plain[:, before : before + rows] = keys.T
            assert torch.equal(queue, plain)


def test_a_full_round_leaves_new_keys_only(normal):
    for rows in (2, 3, 6):
        queue, pointer = torch.full((2, 6), torch.nan).double(), 0
        for turn in range(6 // rows):
            queue, pointer = enqueue(queue, normal(turn, rows, 2), pointer)
        assert queue.isfinite().all() and pointer == 0


def test_more_keys_than_the_queue_holds_are_refused():
    with pytest.raises(ValueError, match="5 keys, but the queue holds 4"):
        enqueue(torch.zeros(2, 4), torch.zeros(5, 2), 0)


def test_a_queue_keeps_its_precision():
    queue, _ = enqueue(torch.zeros(2, 4), torch.ones(3, 2, dtype=torch.bfloat16), 2)
    assert queue.dtype == torch.float32 and queue.sum() == 6


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.4, [0.3, 0.7]), (0.0, [0.0, 1.0]), (1.0, [0.75, 0.25])]
)
def test_the_teacher_has_its_share_of_the_target(alpha, expected):
    logits = numbers([L3, 0]).requires_grad_()
    for share in (alpha, torch.tensor(alpha, dtype=torch.float64)):
        targets = soft_targets(logits, numbers([0, 1]), share)
        torch.testing.assert_close(targets, numbers(expected), **CLOSE)
        assert not targets.requires_grad


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), b=st.integers(1, 4), c=st.integers(1, 6), alpha=st.floats(0, 1))
def test_targets_are_shares_with_several_right_ones_too(normal, seed, b, c, alpha):
    teacher, hard = normal(seed, b, c), normal(seed + 1, b, c).exp()
    hard = hard / hard.sum(dim=1, keepdim=True)
    targets = soft_targets(teacher, hard, alpha)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(b).double(), **CLOSE)
    assert (targets >= (1 - alpha) * hard).all()
    # A teacher is read by what it prefers, not by how large its logits are.
    torch.testing.assert_close(targets, soft_targets(teacher + 7, hard, alpha), **CLOSE)


@pytest.mark.parametrize(
    ("logits", "targets", "loss"),
    [
        ([[0, 0]], [[0.75, 0.25]], 0.693147),
        ([[0, 0], [L3, 0]], [[0.75, 0.25], [1, 0]], 0.490415),
    ],
)
def test_soft_cross_entropy_by_hand(logits, targets, loss):
    found = soft_cross_entropy(numbers(*logits), numbers(*targets))
    assert found.item() == pytest.approx(loss, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), b=st.integers(1, 5), k=st.integers(1, 7))
def test_soft_cross_entropy_is_the_librarys_and_learns_as_the_divergence(normal, seed, b, k):
    logits = (3 * normal(seed, b, k)).requires_grad_()
    targets = (3 * normal(seed + 1, b, k)).softmax(dim=1)
    loss = soft_cross_entropy(logits, targets)
    divergence = F.kl_div(logits.log_softmax(dim=1), targets, reduction="batchmean")
    entropy = torch.special.entr(targets).sum(dim=1).mean()
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets), **CLOSE)
    torch.testing.assert_close(loss - entropy, divergence, **CLOSE)
    (ours,) = torch.autograd.grad(loss, logits)
    (theirs,) = torch.autograd.grad(divergence, logits)
    torch.testing.assert_close(ours, theirs, **CLOSE)
    torch.testing.assert_close(ours, (logits.softmax(dim=1) - targets) / b, **CLOSE)
    one_hot = F.one_hot(targets.argmax(dim=1), k).double()
    plain = F.cross_entropy(logits, targets.argmax(dim=1))
    torch.testing.assert_close(soft_cross_entropy(logits, one_hot), plain, **CLOSE)


def test_a_class_without_a_share_costs_nothing():
    logits = numbers([0.0, 0.0, -800.0]).requires_grad_()
    loss = soft_cross_entropy(logits, numbers([1.0, 0.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-12)
    loss.backward()
    assert logits.grad.tolist() == [[-0.5, 0.5, 0.0]]


STUDENT = numbers([L3, 0], [0, 0], [0, L3])[None]
TEACHER = numbers([0, 0], [5, 0], [L3, 0])[None]
LABELS = torch.tensor([[0, -100, 0]])


def test_hidden_words_with_a_teacher_by_hand():
    """CE to the word .287682 and 1.386294, to the teacher .836988 and 1.111641: means mixed."""
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    loss = distilled_mlm(student, teacher, LABELS, 0.4)
    assert loss.item() == pytest.approx(0.891919, abs=1e-6)
    student_gradient, teacher_gradient = torch.autograd.grad(
        loss, [student, teacher], allow_unused=True
    )
    assert teacher_gradient is None
    assert not student_gradient[0, 1].any() and student_gradient[0, [0, 2]].all()
    alone = masked_cross_entropy(STUDENT, LABELS)
    torch.testing.assert_close(distilled_mlm(STUDENT, TEACHER, LABELS, 0.0), alone, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    b=st.integers(1, 4),
    n=st.integers(1, 5),
    k=st.integers(1, 6),
    share=st.floats(0, 1),
    alpha=st.floats(0, 1),
)
def test_the_mean_over_hidden_words_of_both_shares(normal, seed, b, n, k, share, alpha):
    student, teacher = normal(seed, b, n, k).requires_grad_(), normal(seed + 1, b, n, k)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(k, (b, n), generator=generator)
    labels[torch.rand(b, n, generator=generator) >= share] = -100
    asked = labels != -100
    loss = distilled_mlm(student, teacher, labels, alpha)
    (gradient,) = torch.autograd.grad(loss, student)
    assert not gradient[~asked].any()
    if not asked.any():
        assert loss == 0 and not gradient.any()
        return
    # The mixed target of section 3.3's other form: the same number.
    hard = F.one_hot(labels[asked], k).double()
    targets = soft_targets(teacher[asked], hard, alpha)
    torch.testing.assert_close(loss, soft_cross_entropy(student[asked], targets), **CLOSE)


def test_hidden_rows_alone_give_the_same():
    hidden = LABELS != -100
    alone = (one[hidden][None] for one in (STUDENT, TEACHER, LABELS))
    expected = distilled_mlm(STUDENT, TEACHER, LABELS, 0.4)
    torch.testing.assert_close(distilled_mlm(*alone, 0.4), expected, **CLOSE)
