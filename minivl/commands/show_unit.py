"""`minivl show` of a run of UniT: the boxes that it finds, or its answer to a question."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

import numpy as np

from minivl.commands.pictures import SEED, SHOWN, device, picture_of, scene_place, write
from minivl.commands.runs import Trained, load_model
from minivl.data.boxes import SceneBoxes
from minivl.data.examples import Split, to_tensor
from minivl.data.images import open_image
from minivl.data.questions import Asked
from minivl.data.tasks import TaskExamples
from minivl.data.text import WordPiece, words
from minivl.data.texts import TextSource
from minivl.data.unit_tasks import ATTRIBUTES, SCENE_BOXES, TaskName, task_examples
from minivl.errors import UserError
from minivl.evaluation.embed import evaluating
from minivl.models.unit import OneTask
from minivl.recipes.unit_figures import attributes_of, attributes_said, looked
from minivl.visualize.boxes import EDGE, boxes_alone, boxes_found
from minivl.visualize.found import SURE, Boxes, Example, surest_first, told
from minivl.visualize.queries import asked_where
from minivl.visualize.style import Picture

QUESTIONS: TaskName = "scene-vqa"


def show_unit(trained: Trained, name: str, question: str, out: Path) -> None:
    """Print boxes or answers, and draw them."""
    question = spoken(question)
    task = task_for(trained.recipe.tasks, question)
    source = trained.recipe.load_source()
    image, caption = picture_of(name, source.scenes)
    # The stage's own would read all drawings and texts once more.
    stage = replace(trained.stages[-1], build_model=lambda: trained.recipe.build_model(source))
    unit, path = load_model(stage, trained.run, device())
    model = unit.for_task(task)
    print(f"run       {path}")
    print(f"picture   {name}" + (f": {caption}" if caption else ""))
    print(f"task      {task}")
    if question:
        figure = answer(model, OwnQuestion(source, task, image, question))
    else:
        figure = find(model, source, name, image)
    # One question leaves the place of a second one empty, and names are short.
    write(figure, out, bbox_inches="tight", pad_inches=EDGE)
    print(f"\n{'where it looked' if question else 'the boxes'}   {out}")


def spoken(question: str) -> str:
    """As training asks: without a mark at the end."""
    return " ".join(question.split()).rstrip("?!. ")


def task_for(tasks: Sequence[TaskName], question: str) -> TaskName:
    """The task of the run that is asked; of boxes the one with attributes, if it knows any.

    UserError, with what can be asked, if it was trained on none.
    """
    boxes = sorted(set(tasks) & set(SCENE_BOXES), key=lambda task: task not in ATTRIBUTES)
    asked = [task for task in tasks if task == QUESTIONS]
    if fits := asked if question else boxes:
        return fits[0]
    lacking = "answers no questions about pictures" if question else "finds no things of scenes"
    if boxes:
        remedy = "leave the question out: it finds boxes"
    elif asked:
        remedy = 'ask it a question: "what is on the left"'
    else:
        remedy = f"show asks runs of {', '.join((*SCENE_BOXES, QUESTIONS))}: train one with --tasks"
    raise UserError(f"this run was trained on {', '.join(tasks)}: it {lacking}", remedy)


# Boxes.


def find(model: OneTask, source: TextSource, name: str, image: np.ndarray) -> Picture:
    """Print the boxes found in a picture, and draw them; in a scene beside the true ones."""
    split, number = scene_place(name) or ("validation", None)
    scenes: SceneBoxes = task_examples(source, model.task, split, SEED)
    with evaluating(model):
        (given,) = model.detect({"image": to_tensor(image[None])})
    found = Boxes.found(given, scenes.classes, attributes_said(given, scenes.attribute_names))
    seen = found.boxes.clip(0, len(image))
    if number is None:
        # What is none of them is called by one of them all the same.
        names = shorten(", ".join(scenes.classes), 78, placeholder=" …")
        print(f"names     {len(scenes.classes)} known: {names}")
        size = open_image(name).size
        print_boxes(found, in_file(seen, size, len(image)), size)
        return boxes_alone(image, found)
    print_boxes(found, seen, (len(image), len(image)))
    notes = attributes_of(scenes, number)
    example = Example(image, found, Boxes.true(scenes.target(number), scenes.classes, notes))
    print(f"\n{told([example])}")
    return boxes_found({name: [example]}, abreast=1)


def in_file(boxes: np.ndarray, size: tuple[int, int], side: int) -> np.ndarray:
    """Corners (n, 4) in the middle square, shown at side x side, -> in a file of (width, height).
    The inverse of `pictures.from_file`."""
    middle = min(size)
    offset = [(length - middle) / 2 for length in size]
    return boxes * middle / side + np.array([*offset, *offset])


def print_boxes(found: Boxes, places: np.ndarray, size: tuple[int, int]) -> None:
    """The surest first: those that are sure, at least `SHOWN`; places (n, 4) are corners."""
    order = surest_first(found)[: max(SHOWN, int((found.scores > SURE).sum()))]
    names = {number: found.called(number) for number in order}
    wide = max(len("name"), *map(len, names.values()))
    width, height = size
    print(f"\n   share  {'name':{wide}}  left, top to right, bottom (of {width} x {height} pixels)")
    for number in order:
        x0, y0, x1, y1 = places[number].round().astype(int)
        doubt = "" if found.scores[number] > SURE else "   rather nothing"
        place = f"{x0}, {y0} to {x1}, {y1}"
        print(f"  {found.scores[number]:6.1%}  {names[number]:{wide}}  {place}{doubt}")


# Answers.


class Unanswered(Asked):
    """A question of which nobody has said what is right."""

    shares: Mapping[str, float] = {}


class OwnQuestion(TaskExamples):
    """A question and a picture of the user's own, whatever number is asked for."""

    def __init__(self, source: TextSource, task: TaskName, image: np.ndarray, question: str):
        split: Split = "validation"
        super().__init__(source, task, split, SEED, "both")
        self.image, self.question = image, question

    def asked(self, index: int) -> Asked:
        """The question."""
        return Unanswered(scene=None, kind="", text=self.question, answer="")

    def picture(self, asked: Asked) -> np.ndarray:
        """The picture (h, w, 3)."""
        return self.image


def answer(model: OneTask, examples: OwnQuestion) -> Picture:
    """Print the likeliest answers, and draw where the query that tells them looks."""
    print(f"question  {examples.question}")
    for note in misread(examples.source.text, examples.question, examples.max_length):
        print(f"          {note}")
    shares = shares_of(model, examples)
    each = model.unit.tasks[model.task].soft
    print("\n   share  answer" + (" (each a yes or no of its own)" if each else ""))
    for text in sorted(shares, key=shares.__getitem__, reverse=True)[:SHOWN]:
        print(f"  {shares[text]:6.1%}  {text}")
    return asked_where([looked(model, examples, 0, device())])


def shares_of(model: OneTask, examples: OwnQuestion) -> dict[str, float]:
    """Answer -> how likely it is: all one whole, or where several may be right each its own."""
    with evaluating(model):
        scores = model.scores(examples.collate([examples[0]]))[0].float()
    soft = model.unit.tasks[model.task].soft
    shares = scores.sigmoid() if soft else scores.softmax(dim=0)
    return dict(zip(examples.answers, shares.tolist(), strict=True))


def misread(text: WordPiece, question: str, longest: int) -> list[str]:
    """What the run does not read of a question, in sentences."""
    unknown = [word for word in dict.fromkeys(words(question)) if "[UNK]" in text.tokens(word)]
    notes = [f"It does not know {', '.join(unknown)}: it reads [UNK] there."] if unknown else []
    if len(text.encode(question)) > longest:
        notes.append(f"It reads {longest} word pieces: the end of the question is left out.")
    return notes
