"""A model is judged by what it finds: on scenes, without looking, and with pictures torn."""

import numpy as np
import pytest
import torch
from torch import nn

from minivl.data.boxes import SceneBoxes, Target
from minivl.data.examples import SceneData, SceneSource
from minivl.data.pack import Pack
from minivl.data.stream import CorruptSample
from minivl.errors import DataError
from minivl.evaluation.average_precision import KEYS
from minivl.evaluation.detection import evaluate_detection
from minivl.evaluation.metric import wilson

CPU = torch.device("cpu")


class Finder(nn.Module):
    """Says what `examples` know of each picture, `skew` pixels beside it."""

    def __init__(self, examples, skew=0.0):
        super().__init__()
        self.examples, self.skew = examples, skew
        self.batches = []

    def detect(self, batch):
        assert not self.training and not torch.is_grad_enabled()
        self.batches.append(len(batch["image"]))
        found = []
        for index in batch["picture_ids"].tolist():
            known = self.examples.target(index)
            scores = torch.full((len(known.boxes),), 0.5)
            boxes = torch.from_numpy(known.boxes + self.skew)
            found.append(
                {"boxes": boxes, "scores": scores, "labels": torch.from_numpy(known.labels)}
            )
        return found


@pytest.fixture(scope="module")
def scenes():
    source = SceneSource(Pack.load(), SceneData(image_size=64, objects=(1, 4)))
    return SceneBoxes(source, "validation", 5)


def test_a_model_is_judged_on_scenes(scenes):
    model = Finder(scenes).train()
    metrics = evaluate_detection(model, scenes, CPU, pictures=50, batch_size=20)
    assert model.training and model.batches == [20, 20, 10]
    assert set(metrics) <= {f"detection/{name}" for name in KEYS}
    boxes = sum(len(scenes.target(index).boxes) for index in range(50))
    for name in ("ap", "ap50", "ap75"):
        metric = metrics[f"detection/{name}"]
        assert (metric.value, metric.n, metric.high) == pytest.approx((1.0, boxes, 1.0))
        assert metric.low == wilson(1.0, 50)[0]
        assert metric.chance < 0.15
    sizes = [metrics[f"detection/ap_{name}"].n for name in ("small", "medium", "large")
             if f"detection/ap_{name}" in metrics]  # fmt: skip
    assert len(sizes) >= 2 and sum(sizes) >= boxes


def test_chance_is_what_can_be_said_without_looking():
    class Same:
        """Every picture shows the same thing at the same place: it can be known without looking."""

        endless, area_side = True, None

        def target(self, index):
            return Target(np.array([[10.0, 10, 60, 60]]), np.array([0]), (100, 100))

        def __getitem__(self, index):
            return index

        def collate(self, examples):
            return {"image": torch.zeros(len(examples), 1), "picture_ids": torch.tensor(examples)}

    examples = Same()
    metrics = evaluate_detection(Finder(examples), examples, CPU, pictures=8)
    assert metrics["detection/ap50"].chance == pytest.approx(1.0)
    assert evaluate_detection(Finder(examples), examples, CPU, pictures=1)[
        "detection/ap50"
    ].chance == 0.0  # fmt: skip


def test_pictures_that_cannot_be_read_are_counted(scenes):
    class Torn:
        endless, area_side = False, None
        target, collate = scenes.target, scenes.collate

        def __init__(self, torn):
            self.torn = torn

        def __len__(self):
            return 10

        def __getitem__(self, index):
            if index in self.torn:
                raise CorruptSample(f"{index}.jpg", "broken")
            return scenes[index]

    skipped = []
    examples = Torn({0, 9})
    metrics = evaluate_detection(
        Finder(examples), examples, CPU, pictures=99, batch_size=4, skipped=skipped
    )
    assert metrics["detection/unreadable"].value == 0.2
    assert metrics["detection/ap50"].value == pytest.approx(1.0)
    assert [one.where for one in skipped] == ["0.jpg", "9.jpg"]
    examples = Torn(set(range(10)))
    with pytest.raises(DataError, match=r"(?s)10 could not be read.*9\.jpg"):
        evaluate_detection(Finder(examples), examples, CPU, pictures=10)
