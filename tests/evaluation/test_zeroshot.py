import pytest
import torch

from minivl.errors import DivergedError, UserError
from minivl.evaluation.zeroshot import accuracy, class_embeddings, per_class, prompt_ensemble

VECTORS = {
    "a": torch.tensor([3.0, 0.0]),
    "b": torch.tensor([0.0, 0.5]),
    "c": torch.tensor([-2.0, 0.0]),
}


def encode(sentences):
    return torch.stack([VECTORS[sentence] for sentence in sentences])


def test_every_prompt_counts_alike_whatever_its_length():
    found = class_embeddings(encode, [["a", "b"], ["c"]])
    half = 0.5**0.5
    assert torch.allclose(found, torch.tensor([[half, half], [-1.0, 0.0]]))


def test_an_ensemble_by_hand():
    text = torch.tensor([[[3.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [6.0, 0.0]]])
    expected = torch.tensor([[0.7071, 0.7071], [0.8507, 0.5257]])
    assert torch.allclose(prompt_ensemble(text), expected, atol=1e-4)


def test_classes_may_have_different_numbers_of_prompts():
    found = class_embeddings(encode, [["a"], ["b", "c", "b"], ["c"]])
    diagonal = torch.tensor([-1.0, 2.0]) / 5**0.5
    assert torch.allclose(found, torch.stack([VECTORS["a"] / 3, diagonal, VECTORS["c"] / 2]))


def test_prompts_may_be_repeated_and_permuted():
    assert torch.allclose(
        class_embeddings(encode, [["a", "b"]]), class_embeddings(encode, [["b", "a", "b", "a"]])
    )


@pytest.mark.parametrize("prompts", [[], [["a"], []]])
def test_a_class_without_prompts_is_refused(prompts):
    with pytest.raises(UserError, match="no prompt"):
        class_embeddings(encode, prompts)


def test_accuracy_counts_the_best_class_and_shares_ties():
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.5, 0.1, 0.5], [0.9, 0.1, 0.2], [0.3, 0.3, 0.3]])
    metric = accuracy(scores, torch.tensor([1, 0, 1, 2]))
    assert metric.value == pytest.approx((1 + 1 / 2 + 0 + 1 / 3) / 4)
    assert (metric.n, metric.chance) == (4, pytest.approx(1 / 3))
    counts = per_class(scores, torch.tensor([1, 0, 1, 2]), ["x", "y", "z"])
    assert [(c.name, c.n) for c in counts] == [("x", 1), ("y", 2), ("z", 1)]
    assert [c.right for c in counts] == pytest.approx([1 / 2, 1.0, 1 / 3])


def test_accuracy_agrees_with_argmax_and_with_its_counts(generator):
    scores = torch.randn(200, 7, generator=generator)
    labels = torch.randint(0, 7, (200,), generator=generator)
    metric = accuracy(scores, labels)
    assert metric.value == pytest.approx((scores.argmax(1) == labels).float().mean().item())
    counts = per_class(scores, labels, list("abcdefg"))
    assert sum(c.right for c in counts) / sum(c.n for c in counts) == pytest.approx(metric.value)


def test_a_constant_similarity_gets_exactly_chance():
    metric = accuracy(torch.zeros(30, 8), torch.arange(30) % 8)
    assert metric.value == metric.chance


def test_bad_scores_are_refused():
    with pytest.raises(UserError, match="do not fit"):
        accuracy(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DivergedError):
        accuracy(torch.tensor([[torch.nan, 1.0]]), torch.tensor([1]))
