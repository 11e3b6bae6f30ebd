from functools import partial

import pytest
import torch
from torch import nn

from minivl.data.examples import SceneData
from minivl.data.pack import Pack
from minivl.data.tasks import SPLITS, TaskExamples
from minivl.data.texts import TextData, TextSource
from minivl.evaluation.finetune import (
    answered,
    best_alone,
    by_kind,
    evaluate_finetuned,
    vqa_score,
)
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


def test_three_who_agree_make_an_answer_right():
    for agreeing, expected in enumerate((0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1)):
        annotators = ["red"] * agreeing + ["blue"] * (10 - agreeing)
        assert vqa_score("red", annotators) == pytest.approx(expected)
        assert vqa_score("red", annotators[::-1]) == pytest.approx(expected)
    assert vqa_score("green", ["red"] * 10) == 0


def test_letters_signs_and_articles_do_not_count():
    annotators = ["red", "Red.", "a red", "THE red!", "blue", *["green"] * 5]
    for said in ("red", "Red", "the red", "red?"):
        assert vqa_score(said, annotators) == pytest.approx(1)
    assert vqa_score("the", annotators) == 0  # no answer, rather than everybody's
    assert vqa_score("fir tree", ["Fir  tree"] * 10) == 1
    assert vqa_score("firtree", ["fir tree"] * 10) == 0


def test_one_annotator_is_too_few():
    with pytest.raises(ValueError, match="1 annotators"):
        vqa_score("red", ["red"])


def all_say(*answers):
    return [(answer,) * 10 for answer in answers]


def test_kinds_are_counted_apart_and_together():
    said = ["yes", "yes", "yes", "dog", "cat", None]
    voices = all_say("yes", "yes", "no", "dog", "key", "bell")
    found = by_kind(said, voices, ["yes/no"] * 3 + ["what"] * 3)
    assert list(found) == ["accuracy", "yes/no", "what"]
    assert found["yes/no"].value == pytest.approx(2 / 3) == found["yes/no"].chance
    assert (found["what"].value, found["what"].chance) == (pytest.approx(1 / 3),) * 2
    # Who knows the kind only: "yes" (2 of 3) and any name (1 of 3).
    assert found["accuracy"].chance == pytest.approx(3 / 6)
    assert found["accuracy"].value == 0.5 and found["accuracy"].n == 6
    assert (found["accuracy"].low, found["accuracy"].high) == wilson(0.5, 6)
    assert list(by_kind(["true"], all_say("true"), ["claim"])) == ["accuracy"]


def test_where_annotators_differ_an_answer_is_as_right_as_they_agree():
    voices = [("dog",) * 8 + ("cat",) * 2, ("cat",) * 5 + ("key",) * 5]
    found = by_kind(["cat", "key"], voices, ["anything"] * 2)["accuracy"]
    assert found.value == pytest.approx((0.6 + 1.0) / 2)
    # Always "cat" would be as good.
    assert found.chance == pytest.approx((0.6 + 1.0) / 2)


def test_the_best_answer_must_be_above_all_others():
    nothing = float("nan")
    scores = torch.tensor(
        [[1.0, 3.0, 2.0], [3.0, 3.0, 1.0], [-torch.inf, -9.0, -torch.inf], [nothing, 1.0, 2.0]]
    )
    assert best_alone(scores).tolist() == [1, -1, 1, -1]


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
    examples = TaskExamples(source, "scene-ve", "validation", 9, "text")
    right = [examples.asked(index).answer for index in range(30)]
    said = answered(Knows(3, wrong=7), examples, 30, CPU)
    assert [a == b for a, b in zip(said, right, strict=True)] == [False] * 7 + [True] * 23
    assert answered(Knows(3, tie=True), examples, 30, CPU) == [None] * 30
