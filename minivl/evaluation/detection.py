"""Are the things found, and nothing else? A model judged by COCO's average precision."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from minivl.data.boxes import Target
from minivl.data.stream import CorruptSample
from minivl.errors import DataError
from minivl.evaluation.average_precision import (
    KEYS,
    Prediction,
    answers,
    average_precision,
    counts,
    evaluated,
    exchanged,
    intervals,
    summary,
    to_find,
)
from minivl.evaluation.embed import evaluating
from minivl.evaluation.metric import Metric, proportion

__all__ = ["average_precision", "detected", "evaluate_detection"]


def evaluate_detection(
    model: nn.Module,
    examples: Any,
    device: torch.device,
    *,
    pictures: int,
    batch_size: int = 32,
    side: float | None = None,
    skipped: list[CorruptSample] | None = None,
) -> dict[str, Metric]:
    """Metrics "detection/<name>" of the first pictures, with the names of `KEYS` that have boxes.

    `model.detect(batch)` gives a `Prediction` for each picture of a batch. `side` as in
    `average_precision`; None: the examples' own `area_side`. n counts the boxes to be found. Chance
    is what the same predictions reach when each is judged by another picture: what can be said
    without looking. The interval is that of `intervals`.

    A picture that cannot be read is left out, appended to `skipped`, and its share is given as
    "detection/unreadable"; DataError if none is left.
    """
    side = side or examples.area_side
    pictures = pictures if examples.endless else min(pictures, len(examples))
    unread: list[CorruptSample] = [] if skipped is None else skipped
    predictions, targets = detected(model, examples, device, pictures, batch_size, unread)
    evaluation = evaluated(predictions, targets, side)
    values = summary(evaluation)
    ends = intervals(evaluation, values)
    chances = summary(evaluated(exchanged(predictions, targets), targets, side))
    judged = counts(targets, side)
    metrics = {
        f"detection/{name}": Metric(value, chances[name], judged[KEYS[name][1]], *ends[name])
        for name, value in values.items()
        if not np.isnan(value)
    }
    if len(targets) < pictures:
        share = proportion(pictures - len(targets), pictures, 0.0)
        metrics["detection/unreadable"] = share
    return metrics


def detected(
    model: nn.Module,
    examples: Any,
    device: torch.device,
    pictures: int,
    batch_size: int,
    skipped: list[CorruptSample],
) -> tuple[list[Prediction], list[Target]]:
    """What a model finds in the first pictures that can be read, and what is to be found there."""
    predictions: list[Prediction] = []
    targets: list[Target] = []
    with evaluating(model):
        for chosen in _read(examples, pictures, batch_size, skipped):
            batch = examples.collate([example for _, example in chosen])
            found = model.detect({key: value.to(device) for key, value in batch.items()})
            # Off the device at once: a model may say much more of each box than is judged here.
            predictions += [answers(one) for one in found]
            targets += [examples.target(index) for index, _ in chosen]
    if not any(to_find(target).any() for target in targets):
        why = f", {len(skipped)} could not be read, the last is {skipped[-1]}" if skipped else ""
        raise DataError(
            f"none of {pictures} pictures has a box to be found{why}",
            "give pictures that are there and have boxes",
        )
    return predictions, targets


def _read(
    examples: Any, pictures: int, batch_size: int, skipped: list[CorruptSample]
) -> Iterator[list[tuple[int, Any]]]:
    """Batches of (index, example)."""
    chosen: list[tuple[int, Any]] = []
    for index in range(pictures):
        try:
            chosen.append((index, examples[index]))
        except CorruptSample as corrupt:
            skipped.append(corrupt)
        if chosen and (len(chosen) == batch_size or index == pictures - 1):
            yield chosen
            chosen = []
