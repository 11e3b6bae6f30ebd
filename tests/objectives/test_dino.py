"""Against loops over crops, pictures and outputs in plain Python."""

import math

import pytest
import torch

from minivl.objectives import dino

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def softmax(scores):
    top = max(scores)
    exp = [math.exp(s - top) for s in scores]
    return [e / sum(exp) for e in exp]


def slow_teacher(logits, center, temperature):
    return [
        [softmax([(g - c) / temperature for g, c in zip(row, center, strict=True)]) for row in view]
        for view in logits
    ]


def slow_loss(student, teacher, temperature):
    terms = []
    for i, view in enumerate(teacher):
        for j, crop in enumerate(student):
            if i == j:
                continue
            for target, scores in zip(view, crop, strict=True):
                p = softmax([s / temperature for s in scores])
                terms.append(-sum(q * math.log(x) for q, x in zip(target, p, strict=True)))
    return sum(terms) / len(terms)


@pytest.fixture
def logits(normal):
    return normal(0, 2, 3, 5)


def test_teacher_probabilities_are_the_formula(logits, normal):
    center = normal(1, 5)
    expected = torch.tensor(
        slow_teacher(logits.tolist(), center.tolist(), 0.3), dtype=torch.float64
    )
    torch.testing.assert_close(dino.teacher_probabilities(logits, center, 0.3), expected, **CLOSE)


def test_the_temperature_may_be_a_tensor(logits, normal):
    center = normal(1, 5)
    by_tensor = dino.teacher_probabilities(logits, center, torch.tensor(0.5))
    torch.testing.assert_close(by_tensor, dino.teacher_probabilities(logits, center, 0.5), **CLOSE)


def test_teacher_probabilities_are_constant_whatever_requires_a_gradient(logits, normal):
    center = normal(1, 5).requires_grad_()
    assert not dino.teacher_probabilities(logits.requires_grad_(), center, 0.04).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_logits_become_wide_before_they_are_divided(dtype):
    logits = torch.tensor([[[3000.0, 2998.0, -3000.0]]], dtype=dtype)
    found = dino.teacher_probabilities(logits, torch.zeros(3, dtype=dtype), 0.04)
    assert found.dtype == torch.float32 and found.isfinite().all()
    assert found.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("crops", [2, 3, 6])
def test_the_loss_is_the_double_loop(normal, crops):
    student = normal(2, crops, 3, 5)
    teacher = (3 * normal(3, 2, 3, 5)).softmax(-1)
    expected = slow_loss(student.tolist(), teacher.tolist(), 0.4)
    assert dino.dino_loss(student, teacher, 0.4).item() == pytest.approx(expected, rel=1e-12)


def test_the_gradient_of_the_loss_is_that_of_the_double_loop(normal):
    student = normal(2, 5, 3, 4).requires_grad_()
    teacher = (3 * normal(3, 2, 3, 4)).softmax(-1)
    terms = [
        -(teacher[i, n] * (student[j, n] / 0.2).log_softmax(-1)).sum()
        for i in range(2)
        for j in range(5)
        if i != j
        for n in range(3)
    ]
    (expected,) = torch.autograd.grad(sum(terms) / len(terms), student)
    (found,) = torch.autograd.grad(dino.dino_loss(student, teacher, 0.2), student)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_no_gradient_reaches_the_targets(normal):
    teacher = normal(3, 2, 3, 4).softmax(-1).requires_grad_()
    loss = dino.dino_loss(normal(2, 3, 3, 4).requires_grad_(), teacher)
    assert torch.autograd.grad(loss, teacher, allow_unused=True) == (None,)


@pytest.mark.parametrize("k", [3, 4096])
def test_a_student_that_says_nothing_costs_ln_k(k):
    teacher = torch.rand(2, 2, k, dtype=torch.float64).softmax(-1)
    loss = dino.dino_loss(torch.zeros(4, 2, k, dtype=torch.float64), teacher)
    assert loss.item() == pytest.approx(math.log(k))


def test_without_pairs_the_loss_is_zero_with_a_graph():
    student = torch.randn(1, 2, 3, requires_grad=True)
    loss = dino.dino_loss(student, torch.full((1, 2, 3), 1 / 3))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and student.grad.abs().max() < 1e-6


def test_the_defaults_are_the_papers():
    student, teacher = torch.randn(3, 2, 4), torch.randn(2, 2, 4).softmax(-1)
    assert dino.dino_loss(student, teacher) == dino.dino_loss(student, teacher, 0.1)
    center, logits = torch.randn(4), torch.randn(3, 4)
    by_name = dino.update_center(center, logits, momentum=0.9)
    assert torch.equal(dino.update_center(center, logits), by_name)


def test_the_centre_moves_towards_the_mean(normal):
    center, logits = normal(0, 4), normal(1, 6, 4)
    found = dino.update_center(center, logits.requires_grad_(), 0.7)
    expected = [
        0.7 * center[k].item() + 0.3 * sum(logits[n, k].item() for n in range(6)) / 6
        for k in range(4)
    ]
    assert found.tolist() == pytest.approx(expected) and not found.requires_grad


# --- monitors


def slow_entropy(row):
    return -sum(p * math.log(p) for p in row if p > 0)


def test_monitors_are_the_sums_of_their_definitions(normal):
    teacher = (4 * normal(3, 2, 3, 5)).softmax(-1)
    student = normal(2, 4, 3, 5)
    found = dino.collapse_monitors(teacher, dino.dino_loss(student, teacher, 0.5))
    rows = [row for view in teacher.tolist() for row in view]
    mean = [sum(row[k] for row in rows) / len(rows) for k in range(5)]
    own = sum(map(slow_entropy, rows)) / len(rows)
    divergences = []
    for i in range(2):
        for j in range(4):
            if i == j:
                continue
            for n in range(3):
                p = softmax([s / 0.5 for s in student[j, n].tolist()])
                q = teacher[i, n].tolist()
                divergences.append(sum(a * math.log(a / b) for a, b in zip(q, p, strict=True)))
    assert found["teacher_entropy"].item() == pytest.approx(own)
    assert found["entropy_of_mean"].item() == pytest.approx(slow_entropy(mean))
    assert found["mutual_information"].item() == pytest.approx(slow_entropy(mean) - own)
    assert found["kl_to_student"].item() == pytest.approx(sum(divergences) / len(divergences))


@pytest.mark.parametrize("collapse", ["uniform", "one output"])
def test_mutual_information_is_zero_in_both_collapses(collapse):
    k = 8
    teacher = torch.full((2, 5, k), 1 / k)
    if collapse == "one output":
        teacher = torch.zeros(2, 5, k)
        teacher[..., 3] = 1
    found = dino.collapse_monitors(teacher, torch.tensor(1.0))
    assert found["mutual_information"].item() == pytest.approx(0, abs=1e-6)
    entropy = math.log(k) if collapse == "uniform" else 0
    assert found["teacher_entropy"].item() == pytest.approx(entropy, abs=1e-6)
    assert found["entropy_of_mean"].item() == pytest.approx(entropy, abs=1e-6)


def test_sure_and_different_answers_carry_all_the_information_there_is():
    teacher = torch.eye(8)[None].repeat(2, 1, 1)
    found = dino.collapse_monitors(teacher, torch.tensor(0.0))
    assert found["mutual_information"].item() == pytest.approx(math.log(8))


def test_monitors_hold_no_graph(normal):
    teacher = normal(3, 2, 3, 4).softmax(-1).requires_grad_()
    loss = dino.dino_loss(normal(2, 3, 3, 4).requires_grad_(), teacher)
    monitors = dino.collapse_monitors(teacher, loss)
    spread = dino.feature_spread(normal(1, 5, 4).requires_grad_())
    assert not any(v.requires_grad or v.ndim for v in [*monitors.values(), spread])


def test_features_that_point_everywhere_spread_by_one_and_equal_ones_not_at_all(normal):
    assert dino.feature_spread(normal(0, 4000, 64)).item() == pytest.approx(1, abs=0.01)
    same = normal(1, 1, 64).expand(50, 64) * torch.arange(1, 51)[:, None]
    assert dino.feature_spread(same).item() == pytest.approx(0, abs=1e-9)
