from functools import partial

import pytest
import torch
from torch import nn

from minivl.data.examples import SceneData
from minivl.data.pack import Pack
from minivl.data.tasks import SPLITS, TaskExamples
from minivl.data.texts import TextData, TextSource
from minivl.evaluation.finetune import answered, by_kind, evaluate_finetuned
from minivl.evaluation.metric import wilson

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source():
    data = TextData(topics=("noun.food",), vocabulary_size=600)
    return TextSource(Pack.load(), data, SceneData(image_size=32))


class Knows(nn.Module):
    """Answers by the label, the first `wrong` questions of a batch by the answer after it."""

    def __init__(self, answers, wrong=0, tie=False):
        super().__init__()
        self.answers, self.wrong, self.tie = answers, wrong, tie
        self.modes = []

    def scores(self, batch):
        self.modes.append((self.training, torch.is_grad_enabled()))
        said = batch["labels"].clone()
        said[: self.wrong] = (said[: self.wrong] + 1) % self.answers
        scores = nn.functional.one_hot(said, self.answers).float()
        return torch.zeros_like(scores) if self.tie else scores


def test_kinds_are_counted_apart_and_together():
    right = [True, True, False, True, False, False]
    labels = [0, 0, 1, 5, 6, 7]
    found = by_kind(right, labels, ["yes/no"] * 3 + ["what"] * 3)
    assert list(found) == ["accuracy", "yes/no", "what"]
    assert found["yes/no"].value == pytest.approx(2 / 3) == found["yes/no"].chance
    assert (found["what"].value, found["what"].chance) == (pytest.approx(1 / 3),) * 2
    # Who knows the kind only: "yes" (2 of 3) and any name (1 of 3).
    assert found["accuracy"].chance == pytest.approx(3 / 6)
    assert found["accuracy"].value == 0.5 and found["accuracy"].n == 6
    assert (found["accuracy"].low, found["accuracy"].high) == wilson(0.5, 6)
    assert list(by_kind([True], [2], ["claim"])) == ["accuracy"]


@pytest.mark.parametrize("task", SPLITS)
def test_who_knows_is_right_on_every_split_and_kind(source, task):
    make = partial(TaskExamples, source, task, seed=9, inputs="both")
    count = 40
    model = Knows(len(make("train").answers)).train()
    found = evaluate_finetuned(model, make, SPLITS[task], CPU, count)
    splits = {key.split("/")[0] for key in found}
    assert splits == set(SPLITS[task])
    assert all(key.split("/")[1] == task for key in found)
    assert all(metric.value == 1.0 and metric.chance < 1 for metric in found.values()
               if metric.n > 8)  # fmt: skip
    assert found[f"validation/{task}/accuracy"].n == count
    assert set(model.modes) == {(False, False)} and model.training
    parts = [m.n for key, m in found.items() if key.startswith("validation/")]
    assert sum(parts) == 2 * count or len(parts) == 1


def test_wrong_answers_and_ties_are_none(source):
    examples = TaskExamples(source, "entailment", "validation", 9, "text")
    right, labels = answered(Knows(3, wrong=7), examples, 30, CPU)
    assert right == [False] * 7 + [True] * 23
    assert labels == [examples.answers.index(examples.asked(i).answer) for i in range(30)]
    right, _ = answered(Knows(3, tie=True), examples, 30, CPU)
    assert not any(right)
