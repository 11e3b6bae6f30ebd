import pytest
import torch

from minivl.errors import UserError
from minivl.evaluation.masked import batches_of, masked_accuracy, ranks_of


def given(logits, labels):
    return lambda batch: (torch.tensor(logits[batch]), torch.tensor(labels[batch]))


def test_answers_of_all_batches_count_alike_and_chance_is_the_best_constant():
    logits = [[[3.0, 1, 2], [0, 5, 1]], [[1.0, 2, 0]], [[0.0, 0, 9]]]
    labels = [[0, 2], [0], [1]]
    found = masked_accuracy(given(logits, labels), range(3))
    assert (found["accuracy"].value, found["accuracy"].n) == (0.25, 4)
    assert found["accuracy"].chance == 0.5  # label 0, twice
    assert found["top5"].value == 1.0 and found["top5"].chance == 1.0


def test_a_model_that_says_one_thing_is_at_chance():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(9, (500,), generator=generator).clamp(max=6)
    constant = torch.zeros(500, 9)
    constant[:, 6] = 1
    found = masked_accuracy(lambda batch: (constant, labels), [0])
    assert found["accuracy"].value == found["accuracy"].chance > 0.2


def test_equal_scores_know_nothing():
    assert ranks_of(torch.zeros(2, 4), torch.tensor([0, 3])).tolist() == [3, 3]
    assert ranks_of(torch.tensor([[1.0, 2, 3]]), torch.tensor([1])).tolist() == [1]
    assert ranks_of(torch.full((1, 3), torch.nan), torch.tensor([0])).tolist() == [2]


def test_answers_that_hang_together_widen_the_interval():
    logits = torch.eye(4).repeat(100, 1)
    labels = torch.arange(4).repeat(100)
    labels[::3] = 0
    alone, together = (
        masked_accuracy(lambda batch: (logits, labels), [0], independent=n)["accuracy"]
        for n in (None, 40)
    )
    assert alone.value == together.value and alone.n == together.n == 400
    assert together.low < alone.low and together.high > alone.high


def test_nothing_hidden_is_said():
    empty = (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(UserError, match="no token was hidden"):
        masked_accuracy(lambda batch: empty, [0, 1])


def test_batches_hold_all_examples_once():
    class Numbers:
        def __getitem__(self, index):
            return index

        def collate(self, examples):
            return {"number": torch.tensor(examples)}

    batches = list(batches_of(Numbers(), 300, torch.device("cpu")))
    assert torch.cat([batch["number"] for batch in batches]).tolist() == list(range(300))
    assert len(batches) == 3
