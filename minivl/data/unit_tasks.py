"""UniT's eight tasks on this course's data, and on the files of six that it was published with.

Hu and Singh 2021 (arXiv 2102.10772) train on COCO, Visual Genome, VQA v2, SNLI-VE, QNLI, MNLI, QQP
and SST-2, two of pictures, two of pictures and words, four of words. Ours have the same forms. Who
has the real files of pictures with boxes, or of sentences, can train on those.
"""

from copy import copy
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
from minivl.errors import DataError, UserError

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
SENTENCES: tuple[TaskName, ...] = tuple(task for task in TASKS if task not in PICTURES)
"""Ours without a picture."""
PUBLISHED: tuple[TaskName, ...] = (*REAL_BOXES, *GLUE)
"""Other people's files ask."""
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
        if task not in PUBLISHED:
            return
        flag = flag_of(task)
        folder = getattr(self, flag.removeprefix("--files.").replace("-", "_"))
        if folder is None:
            raise UserError(f"the task {task} needs its files", f"give {flag} FOLDER")
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", f"give {flag} the folder that has them")


def flag_of(task: TaskName) -> str:
    """The flag that tells where a task's real files lie."""
    return f"--files.{'glue' if task in GLUE else task}"


@cache  # each stream of a training asks
def check_files(files: Files, tasks: tuple[TaskName, ...], box_queries: int) -> None:
    """Refuse, before the first step, files that a training or the evaluation at its end would miss.

    UserError for a folder of pictures that is not there, and for a picture with more boxes than
    there are queries for them; DataError for a file that cannot be read or is in another form.
    """
    for task in tasks:
        files.check_has(task)
        if task in GLUE:
            glue.check_columns(glue.path_of(files.glue, task, "train"), task)
            glue.read_glue(glue.path_of(files.glue, task, "test"), task)
    # The largest files come last, and folders before all that is read.
    boxes = [task for task in tasks if task in REAL_BOXES]
    for task in boxes:
        for training in (True, False):
            images, _ = box_files(files, task, training)
            if not images.is_dir():
                needs = f"{flag_of(task)} names the folder that it must lie in"
                raise UserError(f"there is no folder {images}", needs)
    for task in boxes:
        check_boxes(real_boxes(files, task, "validation", 0), task, box_queries)
        check_boxes(real_boxes(files, task, "train", 0), task, box_queries)


def check_boxes(examples: CocoBoxes, task: TaskName, box_queries: int) -> None:
    """Refuse a folder without any of the pictures (DataError), and a picture with more boxes than
    queries, each of which finds one box at most (UserError)."""
    file, folder = examples.faults.path, examples.images
    if not any((folder / picture.file_name).is_file() for picture in examples.pictures):
        raise DataError(
            f"none of the pictures of {file} lies in {folder}, the first is "
            f"{examples.pictures[0].file_name}",
            f"put them there, or name with {flag_of(task)} the folder that has both",
        )
    # Crowds are not learned.
    counts = [int((~picture.target.crowd).sum()) for picture in examples.pictures]
    most = max(counts)
    if most > box_queries:
        picture = examples.pictures[counts.index(most)]
        raise UserError(
            f"{file}: picture {picture.id} has {most} boxes, more than the {box_queries} queries",
            f"give --decoder.box-queries {most} or more",
        )


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


def real_boxes(files: Files, task: TaskName, split: Split, seed: int) -> CocoBoxes:
    """Pictures of COCO or Visual Genome; what their files say wrongly is in `faults`."""
    examples = copy(_boxes_read(files, task, split == "train"))
    examples.seed = seed
    return examples


@cache  # a training asks for classes, then for pictures, then for those of the evaluation
def _boxes_read(files: Files, task: TaskName, training: bool) -> CocoBoxes:
    images, annotations = box_files(files, task, training)
    return CocoBoxes(
        images,
        annotations,
        replace(files.pictures, attributes=task in ATTRIBUTES),
        training=training,
        classes=None if training else _boxes_read(files, task, True).classes,
        folder_shared=task == "visual-genome",
    )


def box_files(files: Files, task: TaskName, training: bool) -> tuple[Path, Path]:
    """The folder of a task's pictures, and the file of their boxes."""
    if task == "visual-genome":
        folder = files.visual_genome
        return folder / "images", folder / ("train.json" if training else "val.json")
    year = "train2017" if training else "val2017"
    return files.coco / year, files.coco / "annotations" / f"instances_{year}.json"


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
