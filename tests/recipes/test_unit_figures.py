"""The pictures of a UniT run: only of what was trained, and each number of the right place."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from minivl.data.texts import TextSource
from minivl.data.unit_tasks import BOXES, TASKS
from minivl.recipes import unit_figures as figures
from minivl.recipes.unit import UnitRecipe

CPU = torch.device("cpu")
RECIPE = UnitRecipe.at_size("test")


@pytest.fixture(scope="module")
def source():
    return TextSource.load(RECIPE.texts, RECIPE.data)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(figures, "POOL", 12)


def model_of(source, *tasks):
    torch.manual_seed(0)
    return replace(RECIPE, tasks=tasks).build_model(source).eval()


DRAWN = {
    ("scene-detection",): {"boxes_growing", "boxes_scene_detection", "queries"},
    ("scene-attributes", "scene-ve"): {
        "boxes_growing", "boxes_scene_attributes", "queries", "asked_scene_ve",
    },
    ("caption-pairs", "scene-vqa"): {"asked_scene_vqa"},
    ("gloss-kinds",): set(),
    TASKS: {
        "boxes_growing", "boxes_scene_detection", "boxes_scene_attributes", "queries",
        "asked_scene_vqa", "asked_scene_ve",
    },
}  # fmt: skip


@pytest.mark.parametrize("tasks", DRAWN, ids=lambda tasks: "+".join(tasks))
def test_only_what_was_trained_is_watched_and_drawn(tasks, source, monkeypatch):
    """As the recipe's stage does it."""
    model = model_of(source, *tasks)
    monkeypatch.setattr(UnitRecipe, "load_source", lambda self: source)
    (stage,) = replace(RECIPE, tasks=tasks).stages(seed=0)
    with torch.no_grad():
        if set(tasks) & set(BOXES):
            lines = [{"step": step} | stage.watch(model, CPU) for step in (1, 2)]
            drawn = stage.figures(model, CPU, watched=lines)
            assert set(drawn) - set(stage.figures(model, CPU)) == {"boxes_growing"}
        else:
            assert stage.watch is None
            drawn = stage.figures(model, CPU)
    assert set(drawn) == DRAWN[tasks]
    for picture in drawn.values():
        assert picture.caption.title and picture.caption.alt and picture.caption.text
    titles = [picture.caption.title for picture in drawn.values()]
    assert len(set(titles)) == len(titles)


# Watched.


def test_watching_is_repeatable_and_draws_nothing_at_random(source):
    model = model_of(source, "scene-vqa", "scene-attributes", "scene-detection")
    before = torch.get_rng_state()
    first, again = (figures.watch_boxes(model, source, CPU) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert json.loads(json.dumps(first)) == first == again
    assert first["task"] == "scene-detection"
    things = RECIPE.decoder.box_queries
    for one in first["pictures"]:
        assert np.shape(one["boxes"]) == (things, 4)
        assert np.shape(one["scores"]) == np.shape(one["labels"]) == (things,)
        assert all(isinstance(label, int) for label in one["labels"])


def test_what_was_watched_is_what_is_drawn(source):
    """The line of a step that found everything, although the model finds nothing."""
    model = model_of(source, "scene-detection")
    line = figures.watch_boxes(model, source, CPU)
    scenes = figures.scenes_of(source, "scene-detection", "validation")
    targets = [scenes.target(one["picture"]) for one in line["pictures"]]
    perfect = [
        {"picture": one["picture"], "boxes": target.boxes.tolist(),
         "scores": [1.0] * len(target.labels), "labels": target.labels.tolist()}
        for one, target in zip(line["pictures"], targets, strict=True)
    ]  # fmt: skip
    lines = [{"step": 1} | line, {"step": 9} | line | {"pictures": perfect}]
    with torch.no_grad():
        alt = figures.unit_figures(model, source, CPU, lines)["boxes_growing"].caption.alt
    there = sum(len(target.labels) for target in targets)
    assert f"step 1: 0 of {there} things found" in alt
    assert f"step 9: {there} of {there} things found, 0 boxes wrong" in alt


def test_pictures_of_few_and_of_many_things_are_watched(source):
    scenes = figures.scenes_of(source, "scene-detection", "validation")
    things = [len(scenes.target(number).labels) for number in figures.varied(scenes, 4)]
    assert things == [1, 2, 3, 4]
    assert len(set(figures.varied(scenes, 9))) == 9, "then some numbers come twice"


# Boxes and attributes.


def test_a_model_that_knows_is_shown_to_know(source, monkeypatch):
    """Boxes, names and attributes of the very pictures that are drawn."""
    model = model_of(source, "scene-attributes").for_task("scene-attributes")

    def know(batch):
        width, height = 32, 32
        found = []
        for boxes, labels, attributes in zip(
            batch["boxes"], batch["box_labels"], batch["attribute_labels"], strict=True
        ):
            there = labels >= 0
            cx, cy, w, h = (boxes[there] * torch.tensor([width, height] * 2)).unbind(dim=1)
            logits = torch.full((int(there.sum()), 30), -20.0)
            for row, own in zip(logits, attributes[there], strict=True):
                row[own[own >= 0]] = 9.0
            found.append({
                "boxes": torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=1),
                "scores": torch.ones(len(cx)), "labels": labels[there], "attributes": logits,
            })  # fmt: skip
        return found

    monkeypatch.setattr(model, "detect", know)
    alt = figures.in_groups(model, source, CPU).caption.alt
    assert alt.count("7 of 7 things found, 0 boxes wrong") == 2
    scenes = figures.scenes_of(source, "scene-attributes", "twemoji")
    number = figures.varied(scenes, 2)[0]
    truth = figures.attributes_of(scenes, number)
    labels = [scenes.classes[label] for label in scenes.target(number).labels]
    for note, name in zip(truth, labels, strict=True):
        assert note.split()[0] in ("large", "small")
        assert f"{note} {name} ✓ 100 %, {note}" in alt


def test_a_size_and_a_colour_are_told_where_they_are_likely():
    logits = torch.tensor([
        [5.0, 0, 0, 5.0],
        [9.0, 0, 0, 0],
        [5.0, 5.1, 0, 0],  # torn between the sizes: a thing has one
        [0.0, 1.0, 9.0, 0],
    ])  # fmt: skip
    names = ("large", "small", "blue")  # fewer than the model tells apart
    said = figures.attributes_said({"attributes": logits}, names)
    assert said == ["large class 3", "large", "small", "blue"]
    assert figures.attributes_said({"attributes": torch.zeros(1, 5)}, names) == [""]
    assert figures.attributes_said({}, names) == []


# Queries.


def test_each_query_is_drawn_with_its_own_look(source, monkeypatch):
    asked = []
    monkeypatch.setattr(figures, "query_attention", lambda *given: asked.append(given))
    model = model_of(source, "scene-detection")
    figures.what_queries_see(model.for_task("scene-detection"), source, CPU)
    ((example, looks),) = asked
    assert looks.shape == (RECIPE.decoder.box_queries, 4, 4)
    assert looks.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
    scenes = figures.scenes_of(source, "scene-detection", "validation")
    number = figures.varied(scenes, figures.GROWING)[-1]
    assert (example.image == scenes[number]["image"]).all()
    assert len(example.truth.names) == 4, "a picture with many things"
    batch = scenes.collate([scenes[number]]) | {"task": "scene-detection"}
    with torch.no_grad():
        _, maps = model.decode(batch, return_attention=True)
        (found,) = model.detect(batch)
    assert looks.reshape(len(looks), -1) == pytest.approx(maps[-1][0].mean(dim=0).numpy())
    assert example.found.boxes == pytest.approx(found["boxes"].numpy())


@pytest.mark.parametrize("task", ["scene-vqa", "scene-ve"])
def test_an_answer_is_drawn_with_the_first_querys_look(task, source, monkeypatch):
    asked = []
    monkeypatch.setattr(figures, "asked_where", lambda found, title: asked.extend(found))
    model = model_of(source, task)
    figures.questions(model.for_task(task), source, CPU, "title")
    assert len(asked) == figures.ASKED
    examples = figures.TaskExamples(source, task, "validation", figures.EVALUATION_SEED, "both")
    number = next(n for n in range(figures.POOL) if examples.asked(n).text == asked[0].question)
    batch = examples.collate([examples[number]]) | {"task": task}
    with torch.no_grad():
        _, maps = model.decode(batch, return_attention=True)
        scores = model.scores(batch)[0]
    shares = scores.sigmoid() if task == "scene-vqa" else scores.softmax(dim=0)
    one = asked[0]
    assert one.soft == (task == "scene-vqa")
    assert one.answer == examples.answers[int(shares.argmax())]
    assert one.share == pytest.approx(float(shares.max()))
    assert one.right == tuple(examples.asked(number).shares)
    together = np.concatenate([one.picture.reshape(2, -1), one.said], axis=1)
    assert together == pytest.approx(
        torch.stack([block[0, :, 0].mean(dim=0) for block in maps]).numpy()
    )
    assert one.picture.shape == (2, 4, 4) and (one.image == examples[number]["image"]).all()
    words = source.text.tokens(one.question)
    assert one.words == (("[CLS]", *words, "[SEP]") if task == "scene-vqa" else ("[CLS]",))
    if task == "scene-vqa":
        kinds = {examples.asked(n).kind for n in range(figures.POOL) for other in asked
                 if examples.asked(n).text == other.question}  # fmt: skip
        assert len(kinds) == figures.ASKED, "each of another kind"
