"""UniT's eight tasks on this course's data, and on the files of six that it was published with.

Hu and Singh 2021 (arXiv 2102.10772) train on COCO, Visual Genome, VQA v2, SNLI-VE, QNLI, MNLI, QQP
and SST-2, two of pictures, two of pictures and words, four of words. Ours have the same forms. Who
has the real files of pictures with boxes, or of sentences, can train on those.
"""

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from minivl.data import glue, sentence_tasks
from minivl.data.boxes import SceneBoxes
from minivl.data.coco import CocoBoxes, CocoData
from minivl.data.examples import Split
from minivl.data.glue import GlueExamples
from minivl.data.sentence_tasks import SentenceExamples, classes
from minivl.data.stream import Examples
from minivl.data.tasks import SPLITS, TaskExamples, answers_of
from minivl.data.texts import TextSource
from minivl.errors import UserError

TaskName = Literal[
    "scene-detection",
    "scene-attributes",
    "scene-vqa",
    "scene-ve",
    "caption-answers",
    "scene-sentences",
    "caption-pairs",
    "gloss-kinds",
    "coco",
    "visual-genome",
    "qnli",
    "mnli-matched",
    "mnli-mismatched",
    "qqp",
    "sst-2",
]
TASKS: tuple[TaskName, ...] = TaskName.__args__[:8]
"""In the paper's order: COCO, Visual Genome, VQA v2, SNLI-VE, QNLI, MNLI, QQP, SST-2."""

REAL_BOXES: tuple[TaskName, ...] = ("coco", "visual-genome")
GLUE: tuple[TaskName, ...] = tuple(glue.FORMS)
SCENE_BOXES: tuple[TaskName, ...] = ("scene-detection", "scene-attributes")
BOXES: tuple[TaskName, ...] = (*SCENE_BOXES, *REAL_BOXES)
"""What is asked for is boxes."""
PICTURES: tuple[TaskName, ...] = (*BOXES, "scene-vqa", "scene-ve")
"""A picture is shown."""
ATTRIBUTES: tuple[TaskName, ...] = ("scene-attributes", "visual-genome")
"""Boxes have attributes, to be named too."""


@dataclass(frozen=True)
class Files:
    """Where real data lie that tasks ask for. Every field is a flag."""

    coco: Path | None = None
    """COCO 2017, for the task coco: train2017, val2017, annotations/instances_{...}.json."""
    visual_genome: Path | None = None
    """Visual Genome in COCO's form, for visual-genome: images, train.json, val.json; a box may have
    attribute_ids, which name rows of the file's "attributes"."""
    glue: Path | None = None
    """GLUE as published, for qnli, mnli-..., qqp and sst-2: QNLI/train.tsv, QNLI/dev.tsv, ..."""
    pictures: CocoData = field(default_factory=CocoData)

    def check_has(self, task: TaskName) -> None:
        """Refuse a task whose files are not told of, or not there (UserError)."""
        name = {"coco": "coco", "visual-genome": "visual_genome"}.get(task)
        name = "glue" if task in GLUE else name
        if name is None:
            return
        folder, flag = getattr(self, name), f"--files.{name.replace('_', '-')}"
        if folder is None:
            raise UserError(f"the task {task} needs its files", f"give {flag} FOLDER")
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", f"give {flag} the folder that has them")


class OfTask:
    """Examples whose batches say of which task they are: "task", its name."""

    def __init__(self, examples: Examples, task: TaskName):
        self.examples, self.task = examples, task

    @property
    def endless(self) -> bool:
        """As the examples."""
        return self.examples.endless

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        return self.examples[index]

    def collate(self, examples: list[Any]) -> dict[str, Any]:
        """The examples' batch, and "task"."""
        return self.examples.collate(examples) | {"task": self.task}


def task_examples(
    source: TextSource, task: TaskName, split: Split, seed: int, files: Files | None = None
) -> Examples:
    """A task's examples; `splits_of` says which splits it has."""
    if task in SCENE_BOXES:
        return SceneBoxes(source.scenes, split, seed, attributes=task in ATTRIBUTES)
    if task in SPLITS:
        return TaskExamples(source, task, split, seed, "both")
    if task in sentence_tasks.SPLITS:
        return SentenceExamples(source, task, split, seed)
    (files or Files()).check_has(task)
    if task in REAL_BOXES:
        return real_boxes(files, task, split, seed)
    which = "train" if split == "train" else "test"
    return GlueExamples(files.glue, task, which, source.text, source.data.max_length)


@cache  # a training asks for classes, then for pictures, then for those of the evaluation
def real_boxes(files: Files, task: TaskName, split: Split, seed: int) -> CocoBoxes:
    """Pictures of COCO or Visual Genome; what their files say wrongly is in `faults`."""
    training = split == "train"
    year = "train2017" if training else "val2017"
    images, annotations = {
        "coco": lambda folder: (folder / year, folder / "annotations" / f"instances_{year}.json"),
        "visual-genome": lambda folder: (
            folder / "images",
            folder / ("train.json" if training else "val.json"),
        ),
    }[task](files.coco if task == "coco" else files.visual_genome)
    data = replace(files.pictures, attributes=task in ATTRIBUTES)
    known = None if training else real_boxes(files, task, "train", 0).classes
    return CocoBoxes(images, annotations, data, training=training, seed=seed, classes=known)


def answers_of_task(source: TextSource, task: TaskName) -> tuple[str, ...]:
    """The answers of a task in the order of their numbers."""
    if task in GLUE:
        return glue.FORMS[task].classes
    return answers_of(source, task) if task in SPLITS else classes(task)


def splits_of(task: TaskName) -> tuple[Split, ...]:
    """Where a task is measured: sentences have no artist, definitions no pairs of things, and of
    real files there is one part for it."""
    if task in SCENE_BOXES:
        return ("validation", "twemoji", "compositions")
    if task in SPLITS:
        return SPLITS[task]
    return sentence_tasks.SPLITS.get(task, ("validation",))
