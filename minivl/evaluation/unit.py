"""What UniT has learned: boxes found, questions answered, task by task and split by split."""

import contextlib
from collections import Counter
from functools import cache
from typing import Any

import torch

from minivl.data.boxes import SIZES, SceneBoxes
from minivl.data.examples import Split
from minivl.data.stream import CorruptSample
from minivl.data.tasks import SPLITS
from minivl.data.texts import TextSource
from minivl.data.unit_tasks import (
    BOXES,
    GLUE,
    REAL_BOXES,
    Files,
    TaskName,
    splits_of,
    task_examples,
)
from minivl.evaluation.detection import evaluate_detection
from minivl.evaluation.embed import evaluating
from minivl.evaluation.finetune import best_alone, evaluate_finetuned
from minivl.evaluation.masked import batches_of
from minivl.evaluation.metric import Metric, proportion
from minivl.evaluation.pools import EVALUATION_SEED
from minivl.models.unit import OneTask, Unit, in_pixels
from minivl.objectives.detection import box_iou


def evaluate_unit(
    source: TextSource,
    model: Unit,
    device: torch.device,
    *,
    pictures: int,
    questions: int,
    files: Files | None = None,
) -> dict[str, Metric]:
    """Metrics by key "<split>/<task>/<name>"; `pictures` and `questions` of each split.

    What real files say wrongly is printed, once in a process.
    """
    metrics: dict[str, Metric] = {}
    for task in model.tasks:
        for split in splits_of(task):
            examples = task_examples(source, task, split, EVALUATION_SEED, files)
            tell_faults(task, examples)
            found = evaluate_task(
                model.for_task(task), examples, split, device, pictures, questions
            )
            metrics |= {f"{split}/{task}/{name}": metric for name, metric in found.items()}
    return metrics


def evaluate_task(
    model: OneTask,
    examples: Any,
    split: Split,
    device: torch.device,
    pictures: int,
    questions: int,
) -> dict[str, Metric]:
    """One task on one split: name -> metric."""
    if model.task in BOXES:
        unread: list[CorruptSample] = []
        found = evaluate_detection(model, examples, device, pictures=pictures, skipped=unread)
        if unread:
            of = f"{len(unread):,} of {min(pictures, len(examples)):,} pictures"
            tell_once(f"{split}/{model.task}: {of} could not be read, the first is {unread[0]}")
        found = {name.removeprefix("detection/"): metric for name, metric in found.items()}
        return found | attributes_named(model, examples, device, pictures)
    if model.task in SPLITS:
        found = evaluate_finetuned(model, lambda _: examples, [split], device, questions)
        return {name.split("/")[-1]: metric for name, metric in found.items()}
    count = questions if examples.endless else min(questions, len(examples))
    return {"accuracy": accuracy(model, examples, device, count)}


def tell_faults(task: TaskName, examples: Any) -> None:
    """Print what a task's real files say wrongly, once in a process."""
    if task in REAL_BOXES:
        tell_once(examples.faults.report())
    if task in GLUE and examples.rows.skipped:
        tell_once(examples.rows.report())


@cache
def tell_once(text: str) -> None:
    """Print a line, if it is the first time."""
    with contextlib.suppress(OSError, ValueError):  # whoever read it may have gone away
        print(text, flush=True)


def accuracy(model: OneTask, examples: object, device: torch.device, count: int) -> Metric:
    """How often the right answer is the best; chance is the commonest one's share."""
    said, right = [], []
    with evaluating(model):
        for batch in batches_of(examples, count, device):
            said += best_alone(model.scores(batch)).tolist()
            right += batch["labels"].tolist()
    hits = sum(a == b for a, b in zip(said, right, strict=True))
    return proportion(hits, count, max(Counter(right).values()) / count)


def attributes_named(
    model: OneTask, examples: SceneBoxes, device: torch.device, pictures: int
) -> dict[str, Metric]:
    """ "size" and "colour": for how many of the things that have one is it told rightly?

    A thing is told of by the box that lies best on it, by half their union or more; without such a
    box it is not told of. Chance is the commonest size or colour. Nothing for a task that asks
    for no attributes.
    """
    if not getattr(examples, "attributes", False):
        return {}
    names = examples.attribute_names
    kinds = {"size": range(len(SIZES)), "colour": range(len(SIZES), len(names))}
    said: dict[str, list[int]] = {kind: [] for kind in kinds}
    true: dict[str, list[int]] = {kind: [] for kind in kinds}
    with evaluating(model):
        for batch in batches_of(examples, pictures, device):
            for row, found in enumerate(model.detect(batch)):
                there = batch["box_labels"][row] >= 0
                boxes = in_pixels(batch["boxes"][row : row + 1], {"sizes": batch["sizes"][[row]]})
                overlap, best = box_iou(boxes[0][there], found["boxes"]).max(dim=1)
                told = found["attributes"][best]
                for number, (kind, places) in enumerate(kinds.items()):
                    right = batch["attribute_labels"][row][there][:, number]
                    answer = told[:, list(places)].argmax(dim=1) + places.start
                    answer[overlap < 0.5] = -1
                    said[kind] += answer[right >= 0].tolist()
                    true[kind] += right[right >= 0].tolist()
    return {
        kind: proportion(
            sum(a == b for a, b in zip(said[kind], true[kind], strict=True)),
            len(true[kind]),
            max(Counter(true[kind]).values()) / len(true[kind]),
        )
        for kind in kinds
        if true[kind]
    }
