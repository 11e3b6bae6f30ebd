"""COCO's average precision, with intervals.

Average precision is the mean, over the classes and over recalls of 0, 0.01 ... 1, of the best
precision at that recall or more; AP50 counts a box as found from an overlap (IoU) of 0.5, AP is the
mean over 0.5, 0.55 ... 0.95 (Lin et al. 2014, arXiv 1405.0312; https://cocodataset.org/#detection-
eval). pycocotools matches the boxes and gives the numbers. Letters: n pictures, d boxes that were
predicted, r resamplings.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from minivl.data.boxes import Target
from minivl.evaluation.metric import wilson

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

Prediction = Mapping[str, Any]
"""What a model finds in a picture, tensors or arrays: boxes (q, 4) corners x0, y0, x1, y1 in pixels
of the original, scores (q,) and labels (q,)."""

KEYS: dict[str, tuple[slice, int]] = {
    "ap": (slice(0, 10), 0),
    "ap50": (slice(0, 1), 0),
    "ap75": (slice(5, 6), 0),
    "ap_small": (slice(0, 10), 1),
    "ap_medium": (slice(0, 10), 2),
    "ap_large": (slice(0, 10), 3),
}
"""Name -> which of COCO's ten overlaps, and which of its sizes: all, up to 32 x 32 pixels, up to
96 x 96, above."""

RESAMPLINGS = 300


def average_precision(
    predictions: Sequence[Prediction], targets: Sequence[Target], *, side: float | None = None
) -> dict[str, float]:
    """COCO's numbers by the names in `KEYS`; NaN for a size of which there is no box.

    `side`: small, medium and large are meant of pictures that are enlarged or shrunk to this side
    (to its square's area); None: of the pictures as they are. At most 100 boxes of a picture count,
    the best ones. A predicted box with a number that is none, or without an area, is no answer; and
    boxes of a class that no target has count neither way, as everywhere in COCO.
    """
    return summary(evaluated(predictions, targets, side))


# Intervals.


def intervals(
    evaluation: "COCOeval",
    values: Mapping[str, float],
    resamplings: int = RESAMPLINGS,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Low and high end of the 95 % interval of each number: the pictures are drawn anew.

    Basic bootstrap (Davison and Hinkley 1997, section 5.2): as many pictures are drawn with
    replacement as there are; by how much the drawn values lie above or below the value, the value
    may lie above or below the true one. Few pictures flatter average precision, and fewer different
    ones still more: taken as they are, the drawn values would lie too high. Boxes keep the match
    that they have in their picture, so that one evaluation is enough. Where all draws agree, as if
    every box is found, it is Wilson's interval of as many answers as there are pictures.
    """
    n = len(evaluation.params.imgIds)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamplings)
    ends = {}
    for name, draws in resampled(evaluation, drawn).items():
        value = values[name]
        if np.isnan(value):
            ends[name] = (value, value)
            continue
        below, above = np.nanpercentile(draws, (2.5, 97.5))
        low, high = 2 * value - above, 2 * value - below
        if np.isclose(below, above):
            low, high = wilson(value, n)
        ends[name] = (float(max(min(low, value), 0.0)), float(min(max(high, value), 1.0)))
    return ends


def resampled(evaluation: "COCOeval", weights: np.ndarray) -> dict[str, np.ndarray]:
    """COCO's numbers where picture i is there weights[:, i] times: (r, n) -> (r,) each."""
    areas, n = len(evaluation.params.areaRng), len(evaluation.params.imgIds)
    cells = [evaluation.evalImgs[at : at + n] for at in range(0, len(evaluation.evalImgs), n)]
    recalls = evaluation.params.recThrs
    # (classes * areas, 10, r), a class of which nothing is known where there is none at all
    cells = cells or [[None] * n] * areas
    precisions = np.stack([class_precision(cell, weights, recalls) for cell in cells])
    return {
        name: _mean(precisions[area::areas, overlaps], ~np.isnan(precisions[area::areas, overlaps]))
        for name, (overlaps, area) in KEYS.items()
    }


def class_precision(
    matches: Sequence[dict | None], weights: np.ndarray, recalls: np.ndarray
) -> np.ndarray:
    """Average precision of one class at each overlap: (10, r); NaN where there is no box.

    matches: for each picture what `COCOeval.evaluateImg` gives; weights (r, n).
    """
    there = [(i, match) for i, match in enumerate(matches) if match is not None]
    boxes = np.array([0 if m is None else (m["gtIgnore"] == 0).sum() for m in matches])
    asked = weights @ boxes
    out = np.where(asked > 0, 0.0, np.nan) * np.ones((10, 1))
    if not there or not boxes.any():
        return out
    order = np.argsort(-np.concatenate([m["dtScores"] for _, m in there]), kind="mergesort")
    picture = np.repeat([i for i, _ in there], [len(m["dtScores"]) for _, m in there])[order]
    right = np.concatenate([m["dtMatches"] > 0 for _, m in there], axis=1)[:, order]
    counts = ~np.concatenate([m["dtIgnore"].astype(bool) for _, m in there], axis=1)[:, order]
    drawn = weights[:, picture]
    for row, matched, counted in zip(out, right & counts, counts, strict=True):
        places = np.flatnonzero(matched)
        if not len(places):
            continue
        # Behind the last right box precision only falls: nothing there changes the result.
        end = places[-1] + 1
        said = np.cumsum(drawn[:, :end] * counted[:end], axis=1)[:, places]
        found = np.cumsum(drawn[:, places], axis=1)
        precision = found / (said + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = found / np.where(asked > 0, asked, 1)[:, None]
        # How many of the 101 recalls each right box is the first to reach.
        reached = np.diff(np.searchsorted(recalls, recall, side="right"), axis=1, prepend=0)
        row[asked > 0] = ((best * reached).sum(axis=1) / len(recalls))[asked > 0]
    return out


# pycocotools.


def evaluated(
    predictions: Sequence[Prediction], targets: Sequence[Target], side: float | None
) -> "COCOeval":
    """Boxes that are matched, class by class, without a word on the screen."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = np.unique(np.concatenate([np.zeros(0, int), *(target.labels for target in targets)]))
    truth, found = COCO(), COCO()
    for table, rows in (
        (truth, _truths(targets, side)),
        (found, _answers(predictions, targets, side)),
    ):
        table.dataset = {
            "images": [{"id": number} for number in range(len(targets))],
            "categories": [{"id": int(number)} for number in classes],
            # A match is noted by its id: 0 would be none.
            "annotations": [row | {"id": number} for number, row in enumerate(rows, 1)],
        }
    with redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
    return evaluation


def _truths(targets: Sequence[Target], side: float | None) -> Iterator[dict]:
    for number, target in enumerate(targets):
        crowd = ~to_find(target)
        areas = _areas(target) * _enlarged(target, side)
        for box, label, area, many in zip(target.boxes, target.labels, areas, crowd, strict=True):
            yield _row(number, box, label, area) | {"iscrowd": int(many)}


def _answers(
    predictions: Sequence[Prediction], targets: Sequence[Target], side: float | None
) -> Iterator[dict]:
    for number, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
        said = answers(prediction)
        areas = (said["boxes"][:, 2:] - said["boxes"][:, :2]).prod(axis=1)
        areas *= _enlarged(target, side)
        rows = zip(said["boxes"], said["labels"], areas, said["scores"], strict=True)
        for box, label, area, score in rows:
            yield _row(number, box, label, area) | {"score": float(score), "iscrowd": 0}


def _row(picture: int, box: np.ndarray, label: int, area: float) -> dict:
    x0, y0, x1, y1 = box.tolist()
    size = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": float(area)}
    return {"image_id": picture, "category_id": int(label)} | size


def answers(prediction: Prediction) -> dict[str, np.ndarray]:
    """boxes (d, 4), scores (d,), labels (d,) of what counts: finite numbers, with an area."""
    types = {"boxes": torch.float64, "scores": torch.float64, "labels": torch.int64}
    rows = {
        name: torch.as_tensor(prediction[name]).detach().cpu().to(kind).numpy()
        for name, kind in types.items()
    }
    boxes = rows["boxes"] = rows["boxes"].reshape(-1, 4)
    good = np.isfinite(boxes).all(axis=1) & np.isfinite(rows["scores"])
    good &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return {name: values[good] for name, values in rows.items()}


def exchanged(predictions: Sequence[Prediction], targets: Sequence[Target]) -> list[Prediction]:
    """To each picture what was said of the one half the list away, in its own size."""
    n = len(targets)
    out: list[Prediction] = []
    for number, target in enumerate(targets):
        other = (number + n // 2) % n
        # A picture alone has no other one: nothing is said of it.
        said = {
            name: rows[: None if n > 1 else 0] for name, rows in answers(predictions[other]).items()
        }
        height, width = target.size
        old_height, old_width = targets[other].size
        scale = np.array([width / old_width, height / old_height] * 2)
        out.append(said | {"boxes": said["boxes"] * scale})
    return out


def summary(evaluation: "COCOeval") -> dict[str, float]:
    """COCO's numbers by the names in `KEYS`; NaN where there is no box."""
    with redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0]  # (10, recalls, classes, areas)
    found = {}
    for name, (overlaps, area) in KEYS.items():
        values = precision[overlaps, :, :, area]
        found[name] = float(_mean(values[..., None], values[..., None] > -1)[0])
    return found


def _mean(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The mean of the valid values over all but the last axis; NaN where there is none."""
    axes = tuple(range(values.ndim - 1))
    count = valid.sum(axis=axes)
    total = np.where(valid, values, 0.0).sum(axis=axes)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def counts(targets: Sequence[Target], side: float | None) -> list[int]:
    """How many boxes are to be found: all, small, medium and large ones."""
    areas = np.concatenate([_areas(t)[to_find(t)] * _enlarged(t, side) for t in targets])
    bounds = ((0, np.inf), (0, 32**2), (32**2, 96**2), (96**2, np.inf))  # at a bound in both
    return [int(((least <= areas) & (areas <= most)).sum()) for least, most in bounds]


def to_find(target: Target) -> np.ndarray:
    """Which boxes are no crowds: (n,)."""
    return np.ones(len(target.boxes), bool) if target.crowd is None else ~target.crowd


def _areas(target: Target) -> np.ndarray:
    if target.areas is not None:
        return target.areas
    return (target.boxes[:, 2:] - target.boxes[:, :2]).prod(axis=1)


def _enlarged(target: Target, side: float | None) -> float:
    """By how much areas are multiplied where the picture is brought to a side."""
    height, width = target.size
    return 1.0 if side is None else side**2 / (height * width)
