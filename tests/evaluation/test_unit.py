"""UniT's numbers: attributes told of things that are found, accuracy beside the commonest."""

import pytest
import torch

from minivl.data.boxes import SceneBoxes
from minivl.data.examples import SceneData, SceneSource
from minivl.evaluation.unit import accuracy, attributes_named
from minivl.objectives.detection import corners


@pytest.fixture(scope="module")
def examples():
    source = SceneSource.load(SceneData(image_size=32, objects=(1, 4)))
    return SceneBoxes(source, "validation", 0, attributes=True)


class Told(torch.nn.Module):
    """Finds every thing of a batch, moved by `shift` pixels, and tells its attributes as `tell`."""

    def __init__(self, examples, tell, shift=0.0):
        super().__init__()
        self.classes, self.tell, self.shift = len(examples.attribute_names), tell, shift

    def detect(self, batch):
        found = []
        for boxes, labels, known in zip(
            batch["boxes"], batch["box_labels"], batch["attribute_labels"], strict=True
        ):
            attributes = torch.zeros(len(labels), self.classes)
            for row, own in zip(attributes, known.tolist(), strict=True):
                for place in own:
                    if place >= 0:
                        row[self.tell(place)] = 1
            pixels = corners(boxes) * 32 + self.shift
            found.append({"boxes": pixels, "attributes": attributes})
        return found


def measured(examples, tell, shift=0.0):
    return attributes_named(Told(examples, tell, shift), examples, torch.device("cpu"), 40)


def test_who_finds_and_knows_all_is_always_right(examples):
    found = measured(examples, lambda place: place)
    assert set(found) == {"size", "colour"}
    assert all(metric.value == 1 for metric in found.values())
    things = [thing for index in range(40) for thing in examples.scene(index).things]
    assert found["size"].n == len(things)
    assert found["colour"].n == sum(thing.colour is not None for thing in things)
    large = sum(thing.size == "large" for thing in things) / len(things)
    assert found["size"].chance == pytest.approx(max(large, 1 - large))


def test_who_knows_and_does_not_find_is_never_right(examples):
    assert all(metric.value == 0 for metric in measured(examples, lambda p: p, shift=30).values())


def test_who_calls_all_large_is_right_by_chance(examples):
    found = measured(examples, lambda place: 0 if place < 2 else place)
    things = [thing for index in range(40) for thing in examples.scene(index).things]
    assert found["size"].value == sum(thing.size == "large" for thing in things) / len(things)
    assert found["colour"].value == 1


def test_a_task_without_attributes_has_none(examples):
    plain = SceneBoxes(examples.source, "validation", 0)
    assert attributes_named(None, plain, torch.device("cpu"), 4) == {}


def test_an_undecided_answer_is_none():
    class Halves:
        endless = True

        def __getitem__(self, index):
            return index

        def collate(self, chosen):
            return {"labels": torch.tensor(chosen) % 2}

    class Always(torch.nn.Module):
        def scores(self, batch):
            return self.row.expand(len(batch["labels"]), 2)

    model = Always()
    for row, value in (([0.0, 1.0], 0.4), ([1.0, 0.0], 0.6), ([1.0, 1.0], 0.0)):
        model.row = torch.tensor([row])
        found = accuracy(model, Halves(), torch.device("cpu"), 5)
        assert (found.value, found.chance, found.n) == (value, 0.6, 5)
