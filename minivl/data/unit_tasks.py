"""UniT's eight tasks on this course's data: what each shows, asks and answers.

Hu and Singh 2021 (arXiv 2102.10772) train on COCO, Visual Genome, VQA v2, SNLI-VE, QNLI, MNLI, QQP
and SST-2, two of pictures, two of pictures and words, four of words. Ours have the same forms.
"""

from typing import Any, Literal

from minivl.data import sentence_tasks
from minivl.data.boxes import SceneBoxes
from minivl.data.examples import Split
from minivl.data.sentence_tasks import SentenceExamples, classes
from minivl.data.stream import Examples
from minivl.data.tasks import SPLITS, TaskExamples, answers_of
from minivl.data.texts import TextSource

TaskName = Literal[
    "scene-detection",
    "scene-attributes",
    "scene-vqa",
    "scene-ve",
    "caption-answers",
    "scene-sentences",
    "caption-pairs",
    "gloss-kinds",
]
TASKS: tuple[TaskName, ...] = TaskName.__args__
"""In the paper's order: COCO, Visual Genome, VQA v2, SNLI-VE, QNLI, MNLI, QQP, SST-2."""

BOXES: tuple[TaskName, ...] = ("scene-detection", "scene-attributes")
"""What is asked for is boxes."""
PICTURES: tuple[TaskName, ...] = (*BOXES, "scene-vqa", "scene-ve")
"""A picture is shown."""


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


def task_examples(source: TextSource, task: TaskName, split: Split, seed: int) -> Examples:
    """A task's examples; `splits_of` says which splits it has."""
    if task in BOXES:
        return SceneBoxes(source.scenes, split, seed, attributes=task == "scene-attributes")
    if task in SPLITS:
        return TaskExamples(source, task, split, seed, "both")
    return SentenceExamples(source, task, split, seed)


def answers_of_task(source: TextSource, task: TaskName) -> tuple[str, ...]:
    """The answers of a task in the order of their numbers."""
    return answers_of(source, task) if task in SPLITS else classes(task)


def splits_of(task: TaskName) -> tuple[Split, ...]:
    """Where a task is measured: sentences have no artist, definitions no pairs of things."""
    if task in BOXES:
        return ("validation", "twemoji", "compositions")
    return SPLITS[task] if task in SPLITS else sentence_tasks.SPLITS[task]
