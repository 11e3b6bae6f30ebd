"""`minivl show` of runs of UniT: boxes found, questions answered, and what cannot be asked."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from minivl import cli
from minivl.commands import pictures, show, show_unit
from minivl.commands.fields import parse
from minivl.commands.runs import load_model, open_run, settings
from minivl.data.examples import SPLITS
from minivl.data.pack import Pack
from minivl.data.tasks import TaskExamples
from minivl.data.texts import TextSource
from minivl.models.unit import OneTask
from minivl.recipes.unit_figures import detected, scenes_of
from minivl.training import engine
from minivl.training.run import Run
from minivl.visualize.boxes import boxes_alone
from minivl.visualize.found import Boxes
from minivl.visualize.style import read_caption

pytestmark = pytest.mark.timeout(600)

TASKS = ("scene-vqa", "scene-detection", "scene-attributes")
BOX = {"boxes": [[8, 8, 24, 24], [0, 0, 40, 8]], "scores": [0.25, 0.75], "labels": [0, 1]}


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Drawings and texts are decoded in seconds: once for all commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pack, "load", cache(Pack.load))
        patch.setattr(TextSource, "load", cache(TextSource.load))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of two steps, not measured."""
    flags = ["--size", "test", "--training.threads", "1", "--tasks", *TASKS]
    recipe = parse("unit", [*flags, "--steps", "2", "--warmup-steps", "1"])[1]
    (stage,) = recipe.stages(0)
    stage = replace(stage, evaluate=None, figures=None, watch=None)
    folder = tmp_path_factory.mktemp("runs") / "unit"
    engine.train(stage, Run(folder, settings("unit", recipe, 0)))
    return folder


@pytest.fixture(scope="module")
def opened(run):
    """The run's model, and where its scenes and words come from."""
    trained = open_run(run)
    unit, _ = load_model(trained.stages[-1], trained.run, show.device())
    return unit, trained.recipe.load_source()


@pytest.fixture
def photo(tmp_path):
    """A wide picture file with a white thing in its middle square."""
    pixels = np.zeros((300, 500, 3), np.uint8)
    pixels[60:150, 130:250] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def told(capsys, *argv):
    """The lines that show prints."""
    capsys.readouterr()
    assert cli.main(["show", *map(str, argv)]) == 0
    return capsys.readouterr().out.splitlines()


def shares(lines):
    """(share, what else the line says), of the lines that have a share."""
    rows = [line.split("%", 1) for line in lines if line.startswith("  ") and "%" in line]
    return [(float(share), rest.strip()) for share, rest in rows]


# Boxes.


def test_the_boxes_of_a_scene_are_those_that_the_model_finds_surest_first(run, opened, capsys):
    unit, source = opened
    lines = told(capsys, run, "twemoji:5")
    assert "task      scene-attributes" in lines, "the task that knows most of a box"
    scenes = scenes_of(source, "scene-attributes", "twemoji")
    scenes.seed = pictures.SEED
    (found,) = detected(unit.for_task("scene-attributes"), scenes, [5], show.device())
    order = found["scores"].argsort(descending=True)[: show.SHOWN]
    rows = shares(lines)
    assert [share for share, _ in rows] == pytest.approx(
        (100 * found["scores"][order]).tolist(), abs=0.051
    )
    for number, (_, rest) in zip(order, rows, strict=True):
        corners = found["boxes"][number].clamp(0, 32).round().int().tolist()
        name = scenes.classes[found["labels"][number]]
        assert f"{name} " in rest and "{}, {} to {}, {}".format(*corners) in rest
        assert rest.endswith("rather nothing") == (found["scores"][number] <= 0.5)
    caption = read_caption(run / "show" / "twemoji_5.png")
    things = len(scenes.target(5).labels)
    assert f"twemoji:5: 0 of {things} things found" in caption.alt
    assert f"0 of {things} things found, 0 boxes wrong" in lines


def test_a_model_that_knows_is_told_so(run, opened, capsys, monkeypatch):
    scenes = scenes_of(opened[1], "scene-attributes", "validation")
    scenes.seed = pictures.SEED
    target = scenes.target(3)
    perfect = {"boxes": torch.tensor(target.boxes), "scores": torch.ones(len(target.labels)),
               "labels": torch.tensor(target.labels)}  # fmt: skip
    monkeypatch.setattr(OneTask, "detect", lambda *_: [perfect])
    lines = told(capsys, run, "scene:3")
    count = len(target.labels)
    assert f"{count} of {count} things found, 0 boxes wrong" in lines
    assert len(shares(lines)) == count and not any("rather nothing" in line for line in lines)


def test_places_in_a_file_are_the_files_own(photo):
    for path, turn in ((photo, 0), (photo.with_name("tall.png"), 1)):
        Image.fromarray(np.rot90(np.array(Image.open(photo)), turn)).save(path)
        seen = pictures.from_file(path, 30)[..., 0] > 127
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])
        whole = np.array(Image.open(path))[..., 0] > 127
        rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        true = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        size = Image.open(path).size
        assert show_unit.in_file(box, size, 30)[0] == pytest.approx(true, abs=10), "a pixel seen"


def test_a_photo_is_not_judged(run, photo, capsys, monkeypatch):
    monkeypatch.setattr(OneTask, "detect", lambda *_: [BOX])
    monkeypatch.setattr(show_unit, "attributes_said", lambda *_: ["small red", "large"])
    lines = told(capsys, run, photo, "--out", photo.with_name("out.png"))
    rows = shares(lines)
    assert [share for share, _ in rows] == [75, 25]
    assert rows[0][1].startswith("large ") and rows[0][1].endswith("100, 0 to 400, 75"), "cut off"
    assert "175, 75 to 325, 225" in rows[1][1] and "of 500 x 300 pixels" in "\n".join(lines)
    assert not any("things found" in line for line in lines)
    assert any(line.startswith("names     ") and " known: " in line for line in lines)
    caption = read_caption(photo.with_name("out.png"))
    assert "1  large " in caption.alt and " 75 %" in caption.alt
    assert not set("✓✗") & set(caption.alt) and "small red" not in caption.alt


def test_a_photo_without_a_thing_is_drawn_too():
    found = Boxes.found(BOX | {"scores": [0.25, 0.5]}, ("dog", "cat"))
    figure = boxes_alone(np.zeros((32, 32, 3), np.uint8), found)
    assert "none that is sure" in figure.caption.alt
    assert any("nothing" in text.get_text() for text in figure.texts)


def test_every_sure_box_is_told(capsys):
    count = show.SHOWN + 2
    found = Boxes(np.tile([0, 0, 9, 9], (count + 3, 1)), ("dog",) * (count + 3),
                  np.array([0.9] * count + [0.1] * 3))  # fmt: skip
    show_unit.print_boxes(found, found.boxes, (32, 32))
    assert len(shares(capsys.readouterr().out.splitlines())) == count


# Answers.


def test_answers_are_those_that_an_evaluation_reads(run, opened, capsys):
    """The question and the picture of an example of the task: the same shares."""
    unit, source = opened
    examples = TaskExamples(source, "scene-vqa", "validation", pictures.SEED, "both")
    model, example = unit.for_task("scene-vqa"), examples[4]
    question = examples.asked(4).text
    with torch.no_grad():
        expected = model.scores(examples.collate([example]))[0].sigmoid()
    own = show_unit.OwnQuestion(source, "scene-vqa", example["image"], question)
    found = show_unit.shares_of(model, own)
    assert list(found) == list(examples.answers)
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    show_unit.answer(model, own)
    rows = shares(capsys.readouterr().out.splitlines())
    best = expected.argsort(descending=True)[: show.SHOWN].tolist()
    assert [rest for _, rest in rows] == [examples.answers[number] for number in best]
    assert [share for share, _ in rows] == pytest.approx(
        [100 * expected[number].item() for number in best], abs=0.051
    )


def test_an_answer_is_drawn_and_not_judged(run, photo, capsys):
    out = photo.with_name("out.png")
    lines = told(capsys, run, photo, " what is on  the left? ", "--out", out)
    assert "question  what is on the left" in lines and "task      scene-vqa" in lines
    assert not any("does not know" in line for line in lines)
    caption = read_caption(out)
    best = shares(lines)[0][1]
    assert f"“what is on the left”: says {best} (" in caption.alt
    assert not set("✓✗") & set(caption.alt) and "true" not in caption.alt
    with Image.open(out) as picture:
        assert picture.width < 900, "without the empty place of a second question"


def test_words_that_are_not_read_are_named(run, opened, capsys):
    lines = told(capsys, run, "scene:0", "where is the xylophone & the xylophone")
    assert "          It does not know xylophone, &: it reads [UNK] there." in lines
    text = opened[1].text
    assert show_unit.misread(text, "where is the dog", 6) == []
    (note,) = show_unit.misread(text, "where is the dog", 5)
    assert "5 word pieces" in note


# What cannot be asked.


@pytest.mark.parametrize(
    ("tasks", "question", "lacking", "remedy"),
    [
        (["scene-vqa", "qqp"], "", "finds no things", "ask it a question"),
        (["scene-detection"], "what is it", "answers no questions", "leave the question out"),
        (["scene-ve"], "a dog", "answers no questions", "train one"),
        (["coco", "sst-2"], "", "finds no things", "scene-attributes"),
        (["caption-pairs", "gloss-kinds"], "", "finds no things", "scene-vqa"),
        (["caption-pairs", "gloss-kinds"], "what is it", "answers no questions", "scene-vqa"),
    ],
)
def test_a_run_is_asked_only_what_it_was_trained_on(
    tasks, question, lacking, remedy, run, tmp_path, capsys
):
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"tasks": tasks}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["show", str(tmp_path), "scene:0", question]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert f"trained on {', '.join(tasks)}: it {lacking}" in first and remedy in second


@pytest.mark.parametrize("tasks", [("scene-detection", "scene-attributes"), ("scene-detection",)])
def test_attributes_are_told_if_the_run_knows_any(tasks):
    assert show_unit.task_for(tasks, "") == tasks[-1]


def test_pictures_are_named_as_for_other_runs(run, capsys):
    assert all(pictures.scene_place(f"{split}:3") == (split, 3) for split in SPLITS)
    assert cli.main(["show", str(run), "dog.jpg"]) == 2
    assert "dog.jpg" in capsys.readouterr().err
    assert cli.main(["show", "--help"]) == 0
    assert "unit_tiny photo.jpg" in capsys.readouterr().out
