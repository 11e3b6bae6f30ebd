"""`minivl eval RUN --boxes FILE`: a run of UniT finds boxes in a folder in COCO's format."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

import numpy as np

from minivl.commands.eval import SHOWN, Watch, tell_left_out
from minivl.commands.runs import Trained, load_model
from minivl.data.coco import CocoBoxes, CocoData
from minivl.data.coco_file import Picture
from minivl.data.stream import CorruptSample
from minivl.data.unit_tasks import BOXES, SCENE_BOXES, TaskName, task_examples
from minivl.errors import DataError, UserError
from minivl.evaluation.detection import evaluate_detection
from minivl.evaluation.metric import Metric
from minivl.evaluation.table import names_alone, table
from minivl.training.device import choose_device
from minivl.training.monitor import say
from minivl.training.run import Run, as_json, write_text
from minivl.visualize.report import write_report

LABELS = {
    "ap50": "AP50",
    "ap": "AP",
    "ap75": "AP75",
    "ap_small": "AP, small (up to 32 x 32)",
    "ap_medium": "AP, medium (to 96 x 96)",
    "ap_large": "AP, large (above)",
    "unreadable": "pictures not readable",
}
PIXELS = 32 * 224**2
"""Of all pictures that are looked at together: 32 of 224 x 224, two of DETR's 800."""
SHAPE = 5 / 3
"""Longest side of a picture by its shorter one: DETR's 1,333 by 800."""


def on_boxes(trained: Trained, chosen: argparse.Namespace) -> int:
    """Boxes of a file: measured, printed, in eval.json and in the report."""
    if chosen.task:
        raise UserError("--task is for scenes: boxes are found", "leave out --task or --boxes")
    task = task_with_boxes(trained)
    folder = chosen.boxes.parent if chosen.images is None else chosen.images
    if not chosen.boxes.is_file():
        raise UserError(
            f"there is no file {chosen.boxes}", "check the path; nothing is downloaded here"
        )
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}", "name the one that the pictures lie in")
    source = trained.recipe.load_source()
    learned = task_examples(source, task, "train", 0, trained.recipe.files).classes
    examples = KnownBoxes(folder, chosen.boxes, shown_as(trained.recipe, task), learned)
    say(examples.faults.report())
    say(f"{task} knows {examples.known:,} of the file's {len(examples.classes):,} classes")
    if examples.unknown:
        say(f"left out: {unknown_classes(examples.unknown)}")
    where = choose_device(chosen.device)
    # The stage's own would read all drawings and texts once more.
    stage = replace(trained.stages[-1], build_model=lambda: trained.recipe.build_model(source))
    model, path = load_model(stage, trained.run, where)
    say(f"evaluating {path}")
    skipped: list[CorruptSample] = []
    found = evaluate_detection(
        model.for_task(task),
        examples,
        where,
        pictures=len(examples),
        batch_size=max(1, min(32, PIXELS // examples.data.evaluation_side**2)),
        skipped=skipped,
    )
    found = {name.removeprefix("detection/"): metric for name, metric in found.items()}
    name = chosen.boxes.name
    store(trained.run, name, {f"{name}/{task}/{key}": metric for key, metric in found.items()})
    write_report(trained.run.folder, names_alone())
    reasons = ((corrupt.where, corrupt.why) for corrupt in skipped)
    lost = [why if where in why else f"{where}: {why}" for where, why in reasons]
    lost += [f"{boxes(count)} of {other}" for other, count in examples.unknown.most_common()]
    tell_left_out(name, lost, trained.run.folder / f"left_out_{name}.txt")
    print(precisions(name, found))
    print(f"report   {trained.run.report}")
    return 0


def task_with_boxes(trained: Trained) -> TaskName:
    """The first task of the run that asks for boxes; UserError if there is none."""
    tasks = trained.recipe.tasks if trained.name == "unit" else ()
    for task in BOXES:
        if task in tasks:
            return task
    raise UserError(
        f"{trained.run.folder} finds no boxes",
        f"name a run of unit with one of the tasks {', '.join(BOXES)}",
    )


def shown_as(recipe: object, task: TaskName) -> CocoData:
    """How pictures are shown: of a size that the task was trained on."""
    if task not in SCENE_BOXES:
        return replace(recipe.files.pictures, attributes=False, official_ids=False)
    side = recipe.data.image_size
    return CocoData(short_sides=(side,), longest=int(SHAPE * side), evaluation_side=side)


class KnownBoxes(CocoBoxes):
    """Pictures of a file with their boxes of classes that a run has learned, matched by name.

    Says while it is read how far it is. Boxes of other classes are not there: `unknown` counts
    them. `faults` is about the whole file.
    """

    def __init__(
        self, images: Path, annotations: Path, data: CocoData, learned: Sequence[str]
    ) -> None:
        """`learned`: the names in the order of the model's labels. UserError if none of the file's
        classes is among them, DataError if none of its boxes is of one."""
        super().__init__(images, annotations, data)
        labels = labels_of(self.classes, learned)
        self.known, self.watch = int((labels >= 0).sum()), Watch()
        if not self.known:
            raise UserError(
                f"the run knows none of the classes of {annotations}: {some(self.classes)}",
                f"call classes as the run does: {some(learned)}",
            )
        self.unknown = Counter(
            self.classes[label]
            for picture in self.pictures
            for label in picture.target.labels
            if labels[label] < 0
        )
        self.pictures = tuple(relabelled(picture, labels) for picture in self.pictures)
        if all(picture.target.crowd.all() for picture in self.pictures):
            raise DataError(
                f"no box of {annotations} is of a class that the run knows: "
                f"{unknown_classes(self.unknown)}",
                f"give boxes of {some(learned)}",
            )

    def __getitem__(self, index: int) -> dict:
        """As `CocoBoxes`."""
        self.watch("pictures read", index + 1, len(self))
        return super().__getitem__(index)


def labels_of(names: Sequence[str], learned: Sequence[str]) -> np.ndarray:
    """The learned label of each name, whether it is written large or small; -1: none. (n,) int64"""
    places = {plain(name): label for label, name in reversed(list(enumerate(learned)))}
    return np.array([places.get(plain(name), -1) for name in names], np.int64)


def plain(name: str) -> str:
    """A name by which classes are compared."""
    return " ".join(name.lower().split())


def relabelled(picture: Picture, labels: np.ndarray) -> Picture:
    """The picture with labels[old label] for each box, without boxes for which that is below 0."""
    target = picture.target
    new = labels[target.labels]
    kept = new >= 0
    target = replace(
        target,
        boxes=target.boxes[kept],
        labels=new[kept],
        areas=target.areas[kept],
        crowd=target.crowd[kept],
    )
    return replace(picture, target=target, attributes=picture.attributes[kept])


def store(run: Run, name: str, metrics: dict[str, Metric]) -> None:
    """Put metrics into eval.json, in place of all that it says of a file of this name's boxes."""
    old = {f"{name}/{task}/{key}" for task in BOXES for key in LABELS}
    kept = {key: value for key, value in run.evaluation().items() if key not in old}
    new = {key: as_json(metric) for key, metric in metrics.items()}
    write_text(run.eval_file, json.dumps(kept | new, indent=1) + "\n")


def unknown_classes(counts: Counter[str]) -> str:
    """ "12 boxes of 3 unknown classes: tree, lamp, sky": those with most boxes first."""
    names = [name for name, _ in counts.most_common()]
    what = "1 unknown class" if len(names) == 1 else f"{len(names):,} unknown classes"
    more = ", ..." if len(names) > SHOWN else ""
    return f"{boxes(counts.total())} of {what}: {', '.join(names[:SHOWN])}{more}"


def boxes(count: int) -> str:
    """ "1 box", "12 boxes"."""
    return "1 box" if count == 1 else f"{count:,} boxes"


def some(names: Sequence[str]) -> str:
    """As many names as a line has room for."""
    return shorten(", ".join(names), 78, placeholder=" ...")


def precisions(name: str, metrics: dict[str, Metric]) -> str:
    """Every average precision with its interval and its chance, a row each."""
    return table(
        {f"{name}/{label}": metrics[key] for key, label in LABELS.items() if key in metrics}
    )
