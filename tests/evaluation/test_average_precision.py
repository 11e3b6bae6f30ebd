"""Average precision: against values by hand, pycocotools itself, and pictures drawn twice."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.data.boxes import Target
from minivl.evaluation import average_precision as ap
from minivl.evaluation.average_precision import KEYS, average_precision


def target(boxes, labels=None, size=(100, 100), **more):
    boxes = np.array(boxes, float).reshape(-1, 4)
    return Target(boxes, np.array(labels or [0] * len(boxes), np.int64), size, **more)


def said(boxes, scores=None, labels=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    scores = np.linspace(0.9, 0.1, len(boxes)) if scores is None else np.array(scores, float)
    return {"boxes": boxes, "scores": scores, "labels": np.array(labels or [0] * len(boxes))}


def drawn(seed, pictures, classes=3, noise=8.0):
    """Targets with 0 to 4 boxes, and predictions that are near some of them, or invented."""
    draw = np.random.default_rng(seed)
    targets, predictions = [], []
    for _ in range(pictures):
        start = draw.uniform(0, 100, (draw.integers(5), 2))
        boxes = np.concatenate([start, start + draw.uniform(5, 120, start.shape)], axis=1)
        labels = draw.integers(classes, size=len(boxes))
        crowd = draw.random(len(boxes)) < 0.1
        targets.append(Target(boxes, labels, (220, 220), crowd=crowd))
        near = boxes + draw.normal(0, noise, boxes.shape)
        start = draw.uniform(0, 150, (3, 2))
        invented = np.concatenate([start, start + draw.uniform(5, 60, start.shape)], axis=1)
        found = np.concatenate([near, near + 1, invented])
        guessed = np.where(draw.random(len(boxes)) < 0.8, labels, draw.integers(classes))
        which = np.concatenate([guessed, labels, draw.integers(classes, size=3)])
        scores = draw.permutation(20)[: len(found)] / 20  # as high in several pictures
        predictions.append({"boxes": found, "scores": scores, "labels": which})
    return predictions, targets


def test_what_is_there_has_precision_one_and_nothing_has_none():
    targets = [target([[10, 10, 30, 30], [0, 0, 100, 100]]), target([]), target([[1, 2, 60, 70]])]
    right = [said(one.boxes) for one in targets]
    values = average_precision(right, targets)
    assert set(values) == set(KEYS)
    assert values == pytest.approx(dict.fromkeys(KEYS, 1.0))
    assert average_precision([said([])] * 3, targets)["ap"] == 0.0
    wrong_class = [said(one.boxes, labels=[7] * len(one.boxes)) for one in targets]
    assert average_precision(wrong_class, targets)["ap50"] == 0.0


def test_values_by_hand():
    one = [target([[0, 0, 50, 50], [50, 50, 100, 100]])]
    # A wrong box before the right one: precision 1/2 up to recall 1/2, that is 51 of 101 recalls.
    found = [said([[0, 50, 50, 100], [0, 0, 50, 50]])]
    assert average_precision(found, one)["ap50"] == pytest.approx(0.5 * 51 / 101)
    # Twice the same thing: the second is wrong, but stands behind both right ones.
    found = [said([[0, 0, 50, 50], [50, 50, 100, 100], [0, 0, 50, 50]])]
    assert average_precision(found, one)["ap50"] == pytest.approx(1.0)
    # An overlap of 0.62: found up to 0.6, three of ten.
    found = [said([[0, 0, 50, 31], [50, 50, 100, 81]])]
    values = average_precision(found, one)
    assert (values["ap50"], values["ap75"]) == pytest.approx((1.0, 0.0))
    assert values["ap"] == pytest.approx(0.3)


def test_classes_count_alike_and_a_crowd_neither_way():
    two = [target([[0, 0, 50, 50]], [0])] * 3 + [target([[0, 0, 50, 50]], [1])]
    found = [said([[0, 0, 50, 50]])] * 3 + [said([])]
    assert average_precision(found, two)["ap50"] == 0.5
    crowd = np.array([False, True])
    one = [target([[0, 0, 20, 20], [40, 40, 100, 100]], crowd=crowd)]
    found = [said([[50, 50, 60, 60], [80, 80, 95, 95], [0, 0, 20, 20]])]
    assert average_precision(found, one)["ap50"] == pytest.approx(1.0)


def test_sizes_are_meant_at_a_side():
    boxes = [[0, 0, 8, 8], [10, 10, 30, 30], [0, 30, 60, 64]]
    targets = [target(boxes, size=(64, 64))]
    found = [said(boxes)]
    as_it_is = average_precision(found, targets)
    assert as_it_is["ap_small"] == pytest.approx(1.0) and np.isnan(as_it_is["ap_large"])
    # Four times as long: 32 x 32 (at the bound), 80 x 80, 240 x 136.
    only_large = [said(boxes[2:])]
    values = average_precision(only_large, targets, side=256)
    assert (values["ap_small"], values["ap_medium"], values["ap_large"]) == pytest.approx(
        (0.0, 0.0, 1.0)
    )
    assert values["ap50"] == pytest.approx(34 / 101)
    areas = np.array([10_000.0, 400.0, 2040.0])  # an outline may be smaller than its box
    assert average_precision(found, [target(boxes, areas=areas)])["ap_large"] == pytest.approx(1.0)


def test_numbers_that_are_none_and_boxes_without_area_are_no_answers(capfd):
    targets = [target([[0, 0, 50, 50]])]
    bad = [[np.nan, 0, 50, 50], [0, 0, np.inf, 50], [50, 50, 0, 0], [0, 0, 50, 50]]
    found = [said(bad, [0.9, 0.8, 0.7, 0.1])]
    assert average_precision(found, targets)["ap"] == pytest.approx(1.0)
    nothing = [said(bad[3:], [np.nan])]
    assert average_precision(nothing, targets)["ap"] == 0.0
    tensors = {name: torch.as_tensor(value).requires_grad_(value.dtype == float)
               for name, value in found[0].items()}  # fmt: skip
    tensors["boxes"] = tensors["boxes"].to(torch.bfloat16)
    assert average_precision([tensors], targets)["ap"] == pytest.approx(1.0)
    with pytest.raises(ValueError):
        average_precision([], targets)
    assert all(np.isnan(v) for v in average_precision([said([])], [target([])]).values())
    assert capfd.readouterr() == ("", "")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_drawing_pictures_anew_is_evaluating_a_list_that_holds_them_so_often(seed, pictures):
    predictions, targets = drawn(seed, pictures)
    evaluation = ap.evaluated(predictions, targets, None)
    draw = np.random.default_rng(seed)
    weights = np.stack(
        [np.ones(pictures), *draw.multinomial(pictures, [1 / pictures] * pictures, 2)]
    )
    values = ap.resampled(evaluation, weights)
    for row, counts in enumerate(weights.astype(int)):
        which = np.repeat(np.arange(pictures), counts)
        anew = average_precision([predictions[i] for i in which], [targets[i] for i in which])
        for name, value in anew.items():
            assert values[name][row] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def interval(seed, pictures, noise=8.0, resamplings=100, draws=0):
    """Values, and intervals of `draws` as the seed of what is drawn."""
    evaluation = ap.evaluated(*drawn(seed, pictures, noise=noise), None)
    values = ap.summary(evaluation)
    return values, ap.intervals(evaluation, values, resamplings, draws)


def test_intervals_hold_the_value_repeat_and_narrow():
    (few, wide), (many, narrow) = interval(3, 20), interval(3, 200)
    assert interval(3, 20)[1] == wide != interval(3, 20, draws=1)[1]
    for values, ends in ((few, wide), (many, narrow)):
        for name, (low, high) in ends.items():
            assert 0 <= low <= values[name] <= high <= 1 and low < high
    assert narrow["ap50"][1] - narrow["ap50"][0] < 0.6 * (wide["ap50"][1] - wide["ap50"][0])


def test_an_interval_covers_the_value_of_many_pictures():
    # Few pictures flatter: intervals of the drawn values as they are would often lie too high.
    truth = average_precision(*drawn(0, 1000, noise=4.0))["ap50"]
    ends = [interval(seed, 40, noise=4.0)[1]["ap50"] for seed in range(1, 31)]
    assert sum(low <= truth <= high for low, high in ends) >= 25


def test_what_was_said_of_another_picture_is_brought_to_its_size():
    targets = [target([[0, 0, 50, 50]]), target([[0, 0, 20, 80]], size=(160, 40))]
    exchanged = ap.exchanged([said(one.boxes) for one in targets], targets)
    assert exchanged[0]["boxes"].tolist() == [[0, 0, 50, 50]]
    assert exchanged[1]["boxes"].tolist() == [[0, 0, 20, 80]]
    assert len(ap.exchanged([said(targets[0].boxes)], targets[:1])[0]["boxes"]) == 0


def test_the_numbers_are_those_of_the_official_way(tmp_path, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    predictions, targets = drawn(11, 60)
    truths, found = [], []
    for number, (said_here, one) in enumerate(zip(predictions, targets, strict=True)):
        for box, label, crowd in zip(one.boxes, one.labels, one.crowd, strict=True):
            (x, y), (w, h) = box[:2], box[2:] - box[:2]
            truths.append({"id": len(truths) + 1, "image_id": number, "category_id": int(label),
                           "bbox": [x, y, w, h], "area": w * h, "iscrowd": int(crowd)})  # fmt: skip
        rows = zip(said_here["boxes"], said_here["scores"], said_here["labels"], strict=True)
        for box, score, label in rows:
            found.append({"image_id": number, "category_id": int(label), "score": float(score),
                          "bbox": [*box[:2], *(box[2:] - box[:2])]})  # fmt: skip
    found = [row for row in found if min(row["bbox"][2:]) > 0]
    categories = [{"id": label, "name": str(label)} for label in range(3)]
    images = [{"id": number} for number in range(60)]
    path = tmp_path / "truth.json"
    path.write_text(
        json.dumps({"images": images, "annotations": truths, "categories": categories, "info": {}})
    )
    truth = COCO(str(path))
    official = COCOeval(truth, truth.loadRes(found), "bbox")
    official.evaluate()
    official.accumulate()
    official.summarize()
    assert "Average Precision" in capsys.readouterr().out
    values = average_precision(predictions, targets)
    assert capsys.readouterr() == ("", "")
    assert list(values.values()) == pytest.approx(official.stats[:6].tolist())
    assert values["ap_small"] != values["ap_medium"] != values["ap_large"]
