"""The pictures that a UniT run leaves: boxes as they grew, and where its queries look."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from minivl.data.boxes import NONE, SIZES, SceneBoxes
from minivl.data.examples import Split
from minivl.data.tasks import TaskExamples
from minivl.data.texts import TextSource
from minivl.data.unit_tasks import SCENE_BOXES, TaskName, task_examples
from minivl.evaluation.embed import evaluating
from minivl.evaluation.pools import EVALUATION_SEED
from minivl.visualize.boxes import boxes_found, growing_boxes
from minivl.visualize.found import Boxes, Example, name_of
from minivl.visualize.queries import Looked, asked_where, query_attention
from minivl.visualize.style import Picture

if TYPE_CHECKING:
    from minivl.models.unit import OneTask, Unit

WATCHED: Split = "validation"
GROUPS: dict[Split, str] = {
    "validation": "By artists whom training knows",
    "twemoji": "By an artist it never saw",
}
QUESTIONS: dict[TaskName, str] = {
    "scene-vqa": "Where an answer comes from",
    "scene-ve": "Where a verdict comes from",
}
POOL, GROWING, ASKED = 48, 4, 4
"""Pictures, or questions, to choose from; of those, how many are shown in each figure."""
TELLING = 0.25
"""Share of the attributes' softmax from which one is told: a thing has a size and often a colour,
which share it out evenly."""


def watch_boxes(model: "Unit", source: TextSource, device: torch.device) -> dict[str, Any]:
    """What is found now in a few pictures, always the same, as JSON can hold it."""
    task = tasks_with_boxes(model)[0]
    examples = scenes_of(source, task, WATCHED)
    numbers = varied(examples, GROWING)
    found = detected(model.for_task(task), examples, numbers, device)
    pictures = [
        {"picture": number} | {name: rounded(one[name]) for name in ("boxes", "scores", "labels")}
        for number, one in zip(numbers, found, strict=True)
    ]
    return {"task": task, "pictures": pictures}


def unit_figures(
    model: "Unit",
    source: TextSource,
    device: torch.device,
    watched: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Picture]:
    """Figures by file name, of the tasks that were trained; `watched`: lines of `watch_boxes`."""
    figures: dict[str, Picture] = {}
    boxes = tasks_with_boxes(model)
    if boxes and watched:
        figures["boxes_growing"] = over_training(source, watched)
    for task in boxes:
        figures[f"boxes_{named(task)}"] = in_groups(model.for_task(task), source, device)
    if boxes:
        figures["queries"] = what_queries_see(model.for_task(boxes[0]), source, device)
    for task, title in QUESTIONS.items():
        if task in model.tasks:
            figures[f"asked_{named(task)}"] = questions(model.for_task(task), source, device, title)
    return figures


def named(task: TaskName) -> str:
    """A task's name as part of a file's."""
    return task.replace("-", "_")


# Boxes.


def tasks_with_boxes(model: "Unit") -> list[TaskName]:
    """Those of the model's tasks that ask for boxes."""
    return [task for task in SCENE_BOXES if task in model.tasks]


def scenes_of(source: TextSource, task: TaskName, split: Split) -> SceneBoxes:
    """The pictures that the evaluation reads, in its order."""
    return task_examples(source, task, split, EVALUATION_SEED)


def varied(examples: SceneBoxes, count: int) -> list[int]:
    """Pictures with few and with many things: as many different numbers as there are, in order."""
    things = [len(examples.target(number).labels) for number in range(POOL)]
    turn = [things[:number].count(things[number]) for number in range(POOL)]
    chosen = sorted(range(POOL), key=lambda number: (turn[number], -things[number]))[:count]
    return sorted(chosen, key=lambda number: (things[number], number))


def detected(
    model: "OneTask", examples: SceneBoxes, numbers: Sequence[int], device: torch.device
) -> list[dict[str, torch.Tensor]]:
    """What the model finds in some of the pictures, as `Unit.detect` gives it."""
    batch = on(device, examples.collate([examples[number] for number in numbers]))
    with evaluating(model):
        return model.detect(batch)


def over_training(source: TextSource, watched: Sequence[Mapping[str, Any]]) -> Picture:
    """The boxes of the watched pictures, step by step."""
    examples = scenes_of(source, watched[-1]["task"], WATCHED)
    numbers = [one["picture"] for one in watched[-1]["pictures"]]
    history = {
        line["step"]: [Boxes.found(one, examples.classes) for one in line["pictures"]]
        for line in watched
    }
    truths = [Boxes.true(examples.target(number), examples.classes) for number in numbers]
    return growing_boxes([examples[number]["image"] for number in numbers], history, truths)


def in_groups(model: "OneTask", source: TextSource, device: torch.device) -> Picture:
    """What is found in pictures of artists whom training knows, and of one it never saw."""
    attributes = model.unit.tasks[model.task].attributes > 0
    abreast = 2 if attributes else 3  # attributes need more room
    groups = {
        name: examples_of(model, scenes_of(source, model.task, split), abreast, device)
        for split, name in GROUPS.items()
    }
    title = "Boxes found, with attributes" if attributes else "Boxes found"
    return boxes_found(groups, title=title, abreast=abreast)


def examples_of(
    model: "OneTask", scenes: SceneBoxes, count: int, device: torch.device
) -> list[Example]:
    """Pictures with what is found and what is there."""
    numbers = varied(scenes, count)
    return [
        Example(
            scenes[number]["image"],
            Boxes.found(found, scenes.classes, attributes_said(found, scenes.attribute_names)),
            Boxes.true(scenes.target(number), scenes.classes, attributes_of(scenes, number)),
        )
        for number, found in zip(numbers, detected(model, scenes, numbers, device), strict=True)
    ]


def attributes_said(found: Mapping[str, torch.Tensor], names: Sequence[str]) -> list[str]:
    """Of each box its likeliest size and its likeliest colour, where they are likely: "small red".

    attributes (q, a), the two sizes first.
    """
    if "attributes" not in found:
        return []
    shares = found["attributes"].float().softmax(dim=-1).cpu()
    said = []
    for own in shares:
        best = [int(own[: len(SIZES)].argmax()), len(SIZES) + int(own[len(SIZES) :].argmax())]
        said.append(" ".join(name_of(at, names) for at in best if own[at] >= TELLING))
    return said


def attributes_of(scenes: SceneBoxes, number: int) -> list[str]:
    """Of each thing its attributes, if the task has any."""
    labels = scenes[number].get("attribute_labels", ())
    return [" ".join(scenes.attribute_names[at] for at in own if at != NONE) for own in labels]


# Queries.


def what_queries_see(model: "OneTask", source: TextSource, device: torch.device) -> Picture:
    """Each query's box and where it looks, in a picture with many things."""
    scenes = scenes_of(source, model.task, WATCHED)
    number = varied(scenes, GROWING)[-1]
    example = scenes[number]
    batch = on(device, scenes.collate([example])) | {"task": model.task}
    with evaluating(model):
        (found,) = model.detect(batch)
        _, maps = model.unit.decode(batch, return_attention=True)
    looks = maps[-1][0].float().mean(dim=0).cpu().numpy()
    truth = Boxes.true(scenes.target(number), scenes.classes)
    boxes = Boxes.found(found, scenes.classes)
    return query_attention(Example(example["image"], boxes, truth), on_picture(looks, example))


def questions(model: "OneTask", source: TextSource, device: torch.device, title: str) -> Picture:
    """Some questions, each of another kind, and where the query that answers looks."""
    examples = TaskExamples(source, model.task, WATCHED, EVALUATION_SEED, "both")
    kinds = [examples.asked(number).kind for number in range(POOL)]
    turn = [kinds[:number].count(kind) for number, kind in enumerate(kinds)]
    chosen = sorted(range(POOL), key=lambda number: turn[number])[:ASKED]
    found = [looked(model, examples, number, device) for number in chosen]
    return asked_where(found, title=title)


def looked(model: "OneTask", examples: TaskExamples, number: int, device: torch.device) -> Looked:
    """One question, what is answered, and where the first query looks in each block."""
    asked, example = examples.asked(number), examples[number]
    task = model.unit.tasks[model.task]
    batch = on(device, examples.collate([example])) | {"task": model.task}
    with evaluating(model):
        states, maps = model.unit.decode(batch, return_attention=True)
        scores = model.unit.heads[model.task](states[-1])[0, : task.classes].float()
    shares = (scores.sigmoid() if task.soft else scores.softmax(dim=0)).cpu()
    said = int(shares.argmax())
    looks = torch.stack([block[0, :, 0].float().mean(dim=0) for block in maps]).cpu().numpy()
    read = 1 if task.first_word_only else len(example["input_ids"])
    return Looked(
        image=example["image"],
        question=asked.text,
        words=tuple(examples.source.text.vocab[i] for i in example["input_ids"][:read]),
        answer=name_of(said, examples.answers),
        share=float(shares[said]),
        right=tuple(asked.shares),
        picture=on_picture(looks[:, : looks.shape[1] - read], example),
        said=looks[:, looks.shape[1] - read :],
        soft=task.soft,
    )


def on_picture(looks: np.ndarray, example: Mapping[str, Any]) -> np.ndarray:
    """Weights of a picture's cells (..., n) in their places, (..., gh, gw)."""
    height, width = example["image"].shape[:2]
    rows = round((looks.shape[-1] * height / width) ** 0.5)
    return looks.reshape(*looks.shape[:-1], rows, -1)


def on(device: torch.device, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch's tensors on the device."""
    return {name: value.to(device) for name, value in batch.items()}


def rounded(values: torch.Tensor) -> list:
    """Numbers as a line of JSON holds them: whole ones, or with four digits."""
    if values.is_floating_point():
        return values.cpu().double().numpy().round(4).tolist()
    return values.tolist()
