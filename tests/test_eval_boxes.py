"""`minivl eval RUN --boxes FILE`: boxes found in a folder in COCO's format."""

import json
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from minivl import cli
from minivl.commands.eval_boxes import labels_of, unknown_classes
from minivl.commands.fields import parse
from minivl.commands.runs import load_model, open_run, settings
from minivl.data.boxes import SceneBoxes
from minivl.data.pack import Pack
from minivl.data.texts import TextSource
from minivl.evaluation.detection import evaluate_detection
from minivl.evaluation.metric import Metric
from minivl.models.unit import OneTask, in_pixels
from minivl.training import checkpoint
from minivl.training.run import Run

pytestmark = pytest.mark.timeout(600)

PICTURES = 8
BROKEN = 5
"""The picture that cannot be read."""


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Drawings and texts are decoded in seconds: once for all commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pack, "load", cache(Pack.load))
        patch.setattr(TextSource, "load", cache(TextSource.load))
        yield


def start(folder, *flags):
    """A run of unit as it is before its first step."""
    recipe = parse("unit", ["--size", "test", "--training.threads", "1", *map(str, flags)])[1]
    (stage,) = recipe.stages(0)
    run = Run(folder, settings("unit", recipe, 0))
    with run.hold():
        torch.manual_seed(0)
        weights = stage.build_model().state_dict()
        checkpoint.save(run.checkpoints / "unit", 0, weights, {}, {"stage": "unit", "step": 0})
    run.update_evaluation({"validation/scene-detection/ap": Metric(0.5, 0.1, 8, 0, 1)})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of two tasks with boxes, of which scene-detection is asked."""
    folder = tmp_path_factory.mktemp("runs") / "unit"
    return start(folder, "--tasks", "scene-vqa", "scene-attributes", "scene-detection")


@pytest.fixture(scope="module")
def scenes(run):
    """Where the pictures of the folder come from."""
    source = open_run(run).recipe.load_source()
    return SceneBoxes(source.scenes, "validation", 3)


@pytest.fixture(scope="module")
def document(scenes):
    """The scenes' true boxes; names in capitals, numbered in another order."""
    names = [name.upper() for name in reversed(scenes.classes)]
    categories = [{"id": 3 * place, "name": name} for place, name in enumerate(names)]
    images, rows = [], []
    for number in range(PICTURES):
        target = scenes.target(number)
        height, width = target.size
        name = f"{number}.png"
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for (x0, y0, x1, y1), label in zip(target.boxes.tolist(), target.labels, strict=True):
            category = 3 * (len(names) - 1 - int(label))
            box = [x0, y0, x1 - x0, y1 - y0]
            rows.append({"image_id": number, "category_id": category, "bbox": box})
    rows = [row | {"id": 100 + place} for place, row in enumerate(rows)]
    return {"images": images, "annotations": rows, "categories": categories}


@pytest.fixture
def folder(tmp_path, scenes, document):
    """write(document, broken) -> the file, in a folder with its pictures."""

    def write(content, broken=None):
        for number in range(PICTURES):
            Image.fromarray(scenes[number]["image"]).save(tmp_path / f"{number}.png")
        if broken is not None:
            (tmp_path / f"{broken}.png").write_bytes(b"no picture")
        (tmp_path / "mini.json").write_text(json.dumps(content))
        return tmp_path / "mini.json"

    return write


@pytest.fixture
def all_found(monkeypatch, scenes):
    """The model finds what is there, by the numbers of its own classes."""

    def detect(_, batch):
        targets = [scenes.target(number) for number in batch["picture_ids"].tolist()]
        return [
            {"boxes": one.boxes, "scores": np.ones(len(one.labels)), "labels": one.labels}
            for one in targets
        ]

    monkeypatch.setattr(OneTask, "detect", detect)


def measured(run, file, *argv):
    """What eval.json says of a file afterwards, without the file's name and the task's."""
    assert cli.main(["eval", str(run), "--boxes", str(file), *map(str, argv)]) == 0
    stored = json.loads((run / "eval.json").read_text())
    head = f"{file.name}/scene-detection/"
    return {key.removeprefix(head): value for key, value in stored.items() if head in key}


def test_true_boxes_are_all_right_whatever_classes_are_numbered_by(
    run, document, folder, all_found, capsys
):
    found = measured(run, folder(document))  # --images: the file's folder
    count = len(document["annotations"])
    assert set(found) == {"ap", "ap50", "ap75", "ap_small"}, "of 32 x 32 pixels nothing is large"
    for one in found.values():
        assert one["value"] == 1 and one["n"] == count and one["chance"] < 0.5
    out = capsys.readouterr().out
    classes = len(document["categories"])
    assert f"scene-detection knows {classes} of the file's {classes} classes" in out
    assert "pictures read 8/8" in out and "left out" not in out
    shown = " ".join(out.split())
    for label in ("AP50", "AP", "AP75", "AP, small (up to"):
        assert f"{label} 100.0 (" in shown, label
    assert f"n {count}" in shown and "chance" in shown
    assert not list(run.glob("left_out_mini.json.txt"))


def test_the_numbers_are_those_of_the_scenes_themselves(run, scenes, document, folder):
    """And so are the boxes: not taught, the model finds little that both would count."""
    trained = open_run(run)
    unit, _ = load_model(trained.stages[-1], trained.run, torch.device("cpu"))
    seen = {}

    def noted(self, batch, detect=OneTask.detect):
        found = detect(self, batch)
        seen.update(zip(batch["picture_ids"].tolist(), found, strict=True))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OneTask, "detect", noted)
        expected = evaluate_detection(
            unit.for_task("scene-detection"), scenes, torch.device("cpu"), pictures=PICTURES
        )
        true, seen = seen, {}
        found = measured(run, folder(document))
    for name in ("ap", "ap50", "ap75"):
        assert found[name]["value"] == expected[f"detection/{name}"].value
        assert found[name]["chance"] == expected[f"detection/{name}"].chance
    for number, one in true.items():
        for name, values in one.items():
            torch.testing.assert_close(seen[number][name], values)


def test_pictures_of_any_shape_are_shown_whole_and_boxes_lie_in_the_file_s_own(
    run, document, folder, monkeypatch
):
    """Three shapes in one batch; each is found by its place in what the model is shown."""
    file = folder(document)
    sizes = {0: (90, 40), 1: (40, 90), 2: (300, 40)}
    shown = {0: (24, 53), 1: (53, 24), 2: (7, 53)}
    images, rows = [], []
    for number, (width, height) in sizes.items():
        pixels = np.zeros((height, width, 3), np.uint8)
        Image.fromarray(pixels).save(file.with_name(f"{number}.png"))
        images.append(document["images"][number] | {"width": width, "height": height})
        box = [width / 2, 0, width / 2, height / 4]
        rows.append({"id": number, "image_id": number, "category_id": 0, "bbox": box})
    file.write_text(json.dumps(document | {"images": images, "annotations": rows}))
    label = len(document["categories"]) - 1

    def detect(self, batch, detect=OneTask.detect):
        for number, mask in zip(batch["picture_ids"].tolist(), batch["pixel_mask"], strict=True):
            assert (mask.any(1).sum().item(), mask.any(0).sum().item()) == shown[number]
        found = detect(self, batch)
        box = torch.tensor([[0.75, 0.125, 0.5, 0.25]]).expand(len(found), 1, 4)
        assert all(one["boxes"].isfinite().all() for one in found)
        return [
            {"boxes": one, "scores": torch.ones(1), "labels": torch.tensor([label])}
            for one in in_pixels(box, batch)
        ]

    monkeypatch.setattr(OneTask, "detect", detect)
    assert measured(run, file)["ap"]["value"] == 1


def test_what_is_left_out_is_counted_and_named(run, document, folder, all_found, capsys):
    strange = [{"id": 1001, "name": "street sign"}, {"id": 1002, "name": "Lamp-post"}]
    more = [
        {"id": 1, "image_id": 0, "category_id": 1001, "bbox": [1, 1, 8, 8]},
        {"id": 2, "image_id": 1, "category_id": 1001, "bbox": [1, 1, 8, 8]},
        {"id": 3, "image_id": 1, "category_id": 1002, "bbox": [1, 1, 8, 8]},
        {"id": 4, "image_id": 2, "category_id": 0, "bbox": [900, 900, 8, 8]},
    ]
    rows = document["annotations"]
    content = document | {
        "annotations": rows + more,
        "categories": document["categories"] + strange,
    }
    file = folder(content, BROKEN)
    found = measured(run, file)
    lost = sum(row["image_id"] == BROKEN for row in rows)
    assert found["ap"]["value"] == 1 and found["ap"]["n"] == len(rows) - lost
    assert found["unreadable"]["value"] == 1 / PICTURES
    out = capsys.readouterr().out
    assert "left out: 3 boxes of 2 unknown classes: street sign, Lamp-post\n" in out
    assert "outside of" in out and "(annotation" in out
    classes = len(document["categories"])
    assert f"knows {classes} of the file's {classes + 2} classes" in out
    lines = (run / "left_out_mini.json.txt").read_text().splitlines()
    assert len(lines) == 3 and lines[1:] == ["2 boxes of street sign", "1 box of Lamp-post"]
    assert lines[0].startswith(str(file.with_name(f"{BROKEN}.png")))
    assert lines[0] in out and lines[0].count(str(file.parent)) == 1
    stored = json.loads((run / "eval.json").read_text())
    assert stored["validation/scene-detection/ap"]["value"] == 0.5, "what was there before"
    assert "mini.json" in (run / "report.html").read_text()
    # What an evaluation before has said of a file of this name does not stay beside the new one.
    assert "unreadable" not in measured(run, folder(document))
    assert not (run / "left_out_mini.json.txt").exists()


def test_a_run_of_real_files_has_the_classes_of_its_training_file(
    tmp_path, scenes, document, folder, capsys
):
    file = folder(document)
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    names = [scenes.classes[label] for label in (2, 0)]
    categories = [{"id": 9 - place, "name": name} for place, name in enumerate(names)]
    row = {"id": 1, "image_id": 0, "category_id": 9, "bbox": [1, 1, 8, 8]}
    training = document | {"annotations": [row], "categories": categories}
    (coco / "annotations" / "instances_train2017.json").write_text(json.dumps(training))
    flags = ["--files.pictures.evaluation-side", 32, "--files.coco", coco]
    run = start(tmp_path / "run", "--tasks", "coco", *flags)
    capsys.readouterr()
    kept = [
        {**entry, "name": name}
        for entry, name in zip(document["categories"], [*names, *"abcd"], strict=False)
    ]
    rows = [
        row | {"category_id": kept[n % 4]["id"]} for n, row in enumerate(document["annotations"])
    ]
    file.write_text(json.dumps(document | {"categories": kept, "annotations": rows}))
    assert cli.main(["eval", str(run), "--boxes", str(file), "--images", str(file.parent)]) == 0
    out = capsys.readouterr().out
    assert f"coco knows 2 of the file's {len(kept)} classes" in out
    stored = json.loads((run / "eval.json").read_text())
    known = sum(n % 4 < 2 for n in range(len(rows)))
    assert stored["mini.json/coco/ap"]["n"] == known
    assert f"{len(rows) - known} boxes of 2 unknown classes: " in out


def test_mistakes(run, document, folder, tmp_path, capsys):
    file = folder(document)
    (tmp_path / "bad.json").write_text("{")
    strange = [{**entry, "name": f"thing {entry['id']}"} for entry in document["categories"]]
    (tmp_path / "strange.json").write_text(json.dumps(document | {"categories": strange}))
    listed = document["categories"] + [{"id": 1001, "name": "lamp-post"}]
    rows = [row | {"category_id": 1001} for row in document["annotations"]]
    lamps = document | {"categories": listed, "annotations": rows}
    (tmp_path / "lamps.json").write_text(json.dumps(lamps))
    (tmp_path / "empty").mkdir()
    learned = document["categories"][-1]["name"].lower()
    config = tmp_path / "sentences" / "config.yaml"
    config.parent.mkdir()
    lines = (run / "config.yaml").read_text()
    assert lines.count("- scene-detection\n") == lines.count("- scene-attributes\n") == 1
    lines = lines.replace("- scene-detection\n", "", 1).replace("- scene-attributes\n", "", 1)
    config.write_text("\n".join(line for line in lines.splitlines() if line.strip()))
    for argv, code, words in (
        ((run, "--images", tmp_path), 2, "--images is for pairs of your own, or boxes"),
        ((run, "--boxes", file, "--pairs", file), 2, "--pairs and --boxes"),
        ((run, "--boxes", file, "--reranked", 4), 2, "--reranked is for pairs"),
        ((run, "--boxes", file, "--task", "scene-vqa"), 2, "--task is for scenes"),
        ((run, "--boxes", tmp_path / "none.json"), 2, "there is no file"),
        ((run, "--boxes", file, "--images", tmp_path / "none"), 2, "there is no folder"),
        ((run, "--boxes", tmp_path / "bad.json"), 4, "broken JSON"),
        ((run, "--boxes", tmp_path / "strange.json"), 2, "thing 0, thing 3"),
        ((run, "--boxes", tmp_path / "strange.json"), 2, f"as the run does: {learned}"),
        ((run, "--boxes", tmp_path / "lamps.json"), 4, "unknown class: lamp-post"),
        ((run, "--boxes", file, "--images", tmp_path / "empty"), 4, "could not be read"),
        ((config.parent, "--boxes", file), 2, "finds no boxes"),
    ):
        capsys.readouterr()
        assert cli.main(["eval", *map(str, argv)]) == code, argv
        assert words in capsys.readouterr().err, argv


def test_names_are_compared_without_capitals_and_the_first_learned_one_counts():
    learned = ("dog", "Traffic  Light", "DOG", "cat")
    names = ("Dog", "traffic light", "cat ", "cats", "dog")
    assert labels_of(names, learned).tolist() == [0, 1, 3, -1, 0]


def test_unknown_classes_are_told_by_how_many_boxes_they_have():
    assert unknown_classes(Counter(tree=1)) == "1 box of 1 unknown class: tree"
    many = Counter({name: 9 - place for place, name in enumerate("abcdef")})
    assert unknown_classes(many) == "39 boxes of 6 unknown classes: a, b, c, d, e, ..."
