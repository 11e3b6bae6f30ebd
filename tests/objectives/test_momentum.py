import pytest
import torch

from minivl.objectives.momentum import ema_update


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
