"""The unit recipe on real files: what they lack is told before the first step, what is wrong with
those of the evaluation as it is for training."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from minivl.commands.fields import parse
from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.data.unit_tasks import Files, check_files
from minivl.errors import DataError, MinivlError, UserError
from minivl.evaluation import unit
from minivl.evaluation.unit import evaluate_unit

SST = "sentence\tlabel\na fine film\t1\na dull one\t0\n"


def boxes_of(name, counts):
    """A document: per picture so many boxes, and the last annotation, 99, without an area."""
    images = [{"id": n, "file_name": f"{name}{n}.png", "height": 40, "width": 60}
              for n in range(len(counts))]  # fmt: skip
    box = {"category_id": 7, "bbox": [5, 5, 20, 30]}
    rows = [box | {"image_id": n} for n, count in enumerate(counts) for _ in range(count)]
    rows = [row | {"id": number} for number, row in enumerate(rows)]
    rows.append(box | {"id": 99, "image_id": 0, "bbox": [5, 5, 0, 30]})
    category = {"id": 7, "name": "cat"}
    return {"images": images, "annotations": rows, "categories": [category],
            "attributes": [{"id": 1, "name": "wet"}]}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Two pictures for training and two for evaluation, as COCO and as Visual Genome; SST-2."""
    coco, genome, sst = tmp_path / "coco", tmp_path / "genome", tmp_path / "glue" / "SST-2"
    for place in (coco / "annotations", genome / "images", sst):
        place.mkdir(parents=True)
    for name in ("train", "val"):
        (coco / f"{name}2017").mkdir()
        for number in range(2):
            picture = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
            for place in (coco / f"{name}2017", genome / "images"):
                picture.save(place / f"{name}{number}.png")
        told = json.dumps(boxes_of(name, (1, 3)))
        (coco / "annotations" / f"instances_{name}2017.json").write_text(told)
        (genome / f"{name}.json").write_text(told)
    (sst / "train.tsv").write_text(SST)
    (sst / "dev.tsv").write_text(SST + "no label\n")
    return tmp_path


TASKS = ("coco", "visual-genome", "sst-2")


def files_of(folder):
    return Files(coco=folder / "coco", visual_genome=folder / "genome", glue=folder / "glue")


# Before the first step.


def test_whole_files_pass(folder):
    check_files(files_of(folder), TASKS, 3)
    check_files(Files(), ("scene-detection", "scene-vqa", "caption-pairs"), 1)
    with pytest.raises(UserError, match="the task coco needs its files"):
        check_files(Files(), ("coco",), 3)


NEEDED = [
    "coco/train2017",
    "coco/val2017",
    "coco/annotations/instances_train2017.json",
    "coco/annotations/instances_val2017.json",
    "genome/images",
    "genome/train.json",
    "genome/val.json",
    "glue/SST-2/train.tsv",
    "glue/SST-2/dev.tsv",
]


@pytest.mark.parametrize("missing", NEEDED)
def test_a_file_that_is_missing_is_named(folder, missing):
    (folder / missing).rename(folder / "elsewhere")
    with pytest.raises(MinivlError) as caught:
        check_files(files_of(folder), TASKS, 3)
    assert str(folder / missing) in caught.value.what
    assert caught.value.remedy and "minivl data verify" not in caught.value.remedy


@pytest.mark.parametrize("part", ["train2017", "val2017"])
def test_a_folder_of_pictures_that_is_missing_is_asked_for_by_its_flag(folder, part):
    (folder / "coco" / part).rename(folder / "elsewhere")
    with pytest.raises(UserError, match=rf"no folder .*{part}\n  -> --files.coco"):
        check_files(files_of(folder), ("coco",), 3)


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_folder_without_any_of_the_pictures_is_refused(folder, part):
    pictures = folder / "coco" / f"{part}2017"
    (pictures / f"{part}0.png").unlink()
    check_files(files_of(folder), ("coco",), 3)
    (pictures / f"{part}1.png").rename(pictures / "other.png")
    check_files.cache_clear()
    with pytest.raises(DataError, match=rf"none of the pictures of .*the first is {part}0.png"):
        check_files(files_of(folder), ("coco",), 3)


@pytest.mark.parametrize("task", ["coco", "visual-genome"])
@pytest.mark.parametrize("part", ["train", "val"])
def test_more_boxes_than_queries_are_told_with_their_picture_and_the_flag(folder, part, task):
    place = {"coco": f"coco/annotations/instances_{part}2017.json",
             "visual-genome": f"genome/{part}.json"}[task]  # fmt: skip
    document = boxes_of(part, (2, 5))
    crowd = [row | {"iscrowd": 1, "id": 200 + n} for n, row in enumerate(document["annotations"])]
    document["annotations"] += crowd
    (folder / place).write_text(json.dumps(document))
    with pytest.raises(UserError) as caught:
        check_files(files_of(folder), (task,), 4)
    assert caught.value.what == (
        f"{folder / place}: picture 1 has 5 boxes, more than the 4 queries"
    )
    assert caught.value.remedy == "give --decoder.box-queries 5 or more"
    check_files(files_of(folder), (task,), 5)  # crowds are not learned


@pytest.mark.parametrize("missing", ["coco/val2017", "glue/SST-2/dev.tsv"])
def test_the_recipe_asks_before_it_trains(folder, missing):
    (folder / missing).rename(folder / "elsewhere")
    flags = ["--files.coco", str(folder / "coco"), "--files.glue", str(folder / "glue")]
    recipe = parse("unit", ["--size", "test", "--tasks", "coco", "sst-2", *flags])[1]
    with pytest.raises(MinivlError, match=missing):
        recipe.build_stream(None, "coco", 0)


# In an evaluation.


class Guesser(torch.nn.Module):
    """Finds one box in each picture, and takes the first answer of two."""

    tasks = TASKS

    def for_task(self, task):
        one = Guesser()
        one.task = task
        return one

    def detect(self, batch):
        box = {"boxes": torch.tensor([[5.0, 5.0, 25.0, 35.0]]), "scores": torch.tensor([0.9]),
               "labels": torch.tensor([0])}  # fmt: skip
        return [box for _ in batch["image"]]

    def scores(self, batch):
        return torch.tensor([[1.0, 0.0]]).expand(len(batch["labels"]), 2)


@pytest.fixture
def evaluated(folder):
    """evaluated() -> metrics of all tasks."""
    words = WordPiece([*SPECIAL_TOKENS, "a", "film"])
    source = type("Source", (), {"text": words, "data": type("Data", (), {"max_length": 16})})

    def run():
        where = {"pictures": 2, "questions": 2, "files": files_of(folder)}
        return evaluate_unit(source, Guesser(), torch.device("cpu"), **where)

    unit.tell_once.cache_clear()
    return run


def test_faults_of_the_files_of_an_evaluation_are_told_once(evaluated, capsys):
    evaluated()
    told = capsys.readouterr().out
    assert "instances_val2017.json: 4 boxes in 2 pictures; 1 box without an area" in told
    assert "val.json: 4 boxes in 2 pictures; 1 box without an area" in told
    assert "annotation 99" in told
    assert "SST-2/dev.tsv: 2 examples, 1 broken line left out (line 4" in told
    assert "could not be read" not in told
    # The pictures of training beside them are no strangers to Visual Genome.
    assert "does not name" not in told
    evaluated()
    assert capsys.readouterr().out == ""


def test_pictures_that_an_evaluation_cannot_read_are_counted_and_the_first_is_named(
    evaluated, folder, capsys
):
    (folder / "coco" / "val2017" / "val0.png").write_bytes(b"broken")
    metrics = evaluated()
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if "could not be read" in line)
    assert line.startswith("validation/coco: 1 of 2 pictures could not be read, the first is ")
    assert "val0.png" in line
    assert metrics["validation/coco/unreadable"].value == 0.5
    assert "validation/visual-genome/unreadable" not in metrics
