"""COCO's form: what is read, what is wrong with it, and what training shows of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from minivl.data import coco
from minivl.data.boxes import NONE
from minivl.data.coco import CocoBoxes, CocoData, crop_region
from minivl.data.coco_file import ATTRIBUTES, FAULTS, read_annotations
from minivl.data.stream import CorruptSample, Stream, fetch
from minivl.errors import DataError, UserError

SMALL = CocoData(
    short_sides=(24, 32, 40),
    longest=64,
    before_crop=(20, 30),
    crop=(16, 30),
    evaluation_side=32,
)
COLOURS = {1: (255, 0, 0), 7: (0, 255, 0), 90: (0, 0, 255)}
NAMES = {1: "red", 7: "green", 90: "blue"}


def annotation(number, image, category, box, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, **more}


def document(annotations, images=None, **more):
    return {
        "images": images or [image(3, 40, 30), image(1, 48, 24), image(2, 30, 45)],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in reversed(NAMES.items())],
    } | more


def image(number, width, height):
    return {"id": number, "file_name": f"{number}.png", "width": width, "height": height}


GOOD = [
    annotation(10, 1, 7, [2, 3, 20, 12]),
    annotation(11, 1, 90, [30, 4, 10, 16]),
    annotation(12, 3, 1, [0, 0, 40, 30]),
]


@pytest.fixture
def folder(tmp_path):
    """write(document) -> (pictures, file); each picture shows its good boxes in their colours."""

    def write(content):
        path = tmp_path / "instances.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        if isinstance(content, str):
            return tmp_path, path
        for entry in content["images"]:
            pixels = np.zeros((entry["height"], entry["width"], 3), np.uint8)
            for row in content["annotations"]:
                if row["image_id"] == entry["id"] and row["category_id"] in COLOURS:
                    x, y, w, h = (max(0, round(side)) for side in row["bbox"])
                    pixels[y : y + h, x : x + w] = COLOURS[row["category_id"]]
            Image.fromarray(pixels).save(tmp_path / entry["file_name"])
        return tmp_path, path

    return write


def faults(folder, annotations, **options):
    return read_annotations(folder(document(annotations))[1], **options).faults


# What is read.


def test_pictures_stand_in_the_order_of_their_ids_with_their_boxes(folder):
    examples = CocoBoxes(*folder(document(GOOD)), SMALL)
    assert not examples.endless and len(examples) == 3
    assert [one["picture_id"] for one in map(examples.__getitem__, range(3))] == [1, 2, 3]
    assert examples.classes == ("red", "green", "blue")
    one = examples[0]
    assert one["image"].shape == (32, 64, 3) and one["size"] == (24, 48)
    assert one["box_labels"].tolist() == [1, 2]
    cx, cy, w, h = (one["boxes"][0] * [48, 24, 48, 24]).tolist()
    assert (cx, cy, w, h) == pytest.approx((12, 9, 20, 12))
    assert examples.target(0).boxes.tolist() == [[2, 3, 22, 15], [30, 4, 40, 20]]
    assert examples.target(0).areas.tolist() == [240, 160]
    assert len(examples[1]["boxes"]) == 0 and examples[1]["boxes"].shape == (0, 4)


def test_official_ids_keep_the_gaps(folder):
    path = folder(document(GOOD))
    examples = CocoBoxes(*path, replace(SMALL, official_ids=True))
    assert len(examples.classes) == 91
    assert {i: name for i, name in enumerate(examples.classes) if name in NAMES.values()} == NAMES
    assert examples[0]["box_labels"].tolist() == [7, 90]


def test_classes_of_a_model_are_known_by_name(folder):
    path = folder(document(GOOD))
    examples = CocoBoxes(*path, SMALL, classes=("blue", "grey", "red"))
    assert examples.classes == ("blue", "grey", "red")
    assert examples[0]["box_labels"].tolist() == [0]
    assert examples.faults.ids["unknown class"] == (10,)


def test_attributes_of_visual_genome(folder):
    rows = [
        annotation(1, 1, 7, [2, 3, 20, 12], attribute_ids=[5, 2, -1, -1]),
        annotation(2, 1, 1, [2, 3, 20, 12]),
        annotation(3, 3, 1, [0, 0, 9, 9], attribute_ids=[2, 77]),
        annotation(4, 3, 1, [0, 0, 9, 9], attribute_ids=[2, 5] * 9),
    ]
    listed = [{"id": 5, "name": "tall"}, {"id": 2, "name": "wet"}]
    path = folder(document(rows, attributes=listed))
    examples = CocoBoxes(*path, replace(SMALL, attributes=True))
    assert examples.attribute_names == ("wet", "tall")
    assert examples[0]["attribute_labels"].tolist() == [[1, 0], [NONE, NONE]]
    assert len(examples[1]["attribute_labels"]) == 0
    assert examples[2]["attribute_labels"][1].tolist() == [0, 1] * 8
    assert examples.faults.ids["unknown attribute"] == (3,)
    assert examples.faults.ids["many attributes"] == (4,)
    batch = examples.collate([examples[index] for index in range(3)])
    assert batch["attribute_labels"].shape == (3, 2, ATTRIBUTES)
    assert batch["attribute_labels"].dtype == torch.int64
    bare = CocoBoxes(*path, SMALL)
    assert "attribute_labels" not in bare[0] and "unknown attribute" not in bare.faults.ids
    named = folder(document(rows, attributes=["dry", "old", "wet", "hot", "new", "tall"]))
    examples = CocoBoxes(*named, replace(SMALL, attributes=True))
    assert examples[0]["attribute_labels"].tolist() == [[5, 2], [NONE, NONE]]


# What is wrong.

WRONG = {
    "clipped": annotation(20, 1, 7, [-5, 3, 20, 12]),
    "outside": annotation(20, 1, 7, [48, 3, 20, 12]),
    "empty": annotation(20, 1, 7, [5, 3, 0, 12]),
    "unknown class": annotation(20, 1, 8, [5, 3, 5, 12]),
    "no picture": annotation(20, 99, 7, [5, 3, 5, 12]),
    "crowd": annotation(20, 1, 7, [5, 3, 5, 12], iscrowd=1),
}


@pytest.mark.parametrize("kind", WRONG)
def test_each_fault_is_named_and_counted(folder, kind):
    found = faults(folder, [*GOOD, WRONG[kind]])
    assert found.ids == {kind: (20,), "without boxes": (2,)}
    left = len(GOOD) + (kind == "clipped")
    assert (found.boxes, found.pictures) == (left, 3)
    report = found.report()
    assert "\n" not in report and "instances.json" in report
    assert f"1 {FAULTS[kind].replace('boxes', 'box', 1)} (annotation 20)" in report
    assert "1 picture without boxes" in report and "(picture 2)" in report


def test_pictures_that_the_file_does_not_name_are_counted_unless_they_are_of_another_file(folder):
    images, path = folder(document(GOOD))
    for name in ("new.png", "NEW.JPG", "more.jpeg", "some.png", "notes.txt"):
        (images / name).write_bytes(b"")
    told = CocoBoxes(images, path, SMALL).faults.report()
    assert (
        "4 pictures of the folder that the file does not name (NEW.JPG, more.jpeg, new.png, ...)"
        in told
    )
    assert "does not name" not in CocoBoxes(images, path, SMALL, folder_shared=True).faults.report()
    assert "does not name" not in CocoBoxes(images / "no", path, SMALL).faults.report()


def test_one_is_told_of_as_one(folder):
    images, path = folder(document(GOOD[2:], [image(3, 40, 30)]))
    (images / "new.png").write_bytes(b"")
    assert CocoBoxes(images, path, SMALL).faults.report() == (
        "instances.json: 1 box in 1 picture; "
        "1 picture of the folder that the file does not name (new.png)"
    )


def test_faults_of_one_kind_are_listed_in_part(folder):
    many = [WRONG["outside"] | {"id": number} for number in range(1200)]
    report = faults(folder, GOOD + many).report()
    assert f"1,200 {FAULTS['outside']} (annotations 0, 1, 2, ...)" in report


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([5, 3, -4, 12], "empty"),
        ([5, 3, float("nan"), 12], "empty"),
        ([5, 3, float("inf"), 12], "empty"),
        ([float("nan"), 3, 4, 12], "outside"),
        ([float("inf"), 3, 4, 12], "outside"),
        ([5, -12, 4, 12], "outside"),
        ([2**60, 3, 4, 12], "outside"),
    ],
)
def test_boxes_of_strange_numbers_are_left_out(folder, box, kind):
    content = json.dumps(document([*GOOD, annotation(20, 1, 7, box)]))
    found = read_annotations(folder(content)[1]).faults
    assert found.ids == {kind: (20,), "without boxes": (2,)}


def test_a_box_over_the_border_is_cut_and_rounding_is_no_fault(folder):
    rows = [*GOOD, WRONG["clipped"], annotation(21, 3, 1, [10.1, 20.2, 29.9000001, 9.8])]
    examples = CocoBoxes(*folder(document(rows)), SMALL)
    assert examples.target(0).boxes[2].tolist() == [0, 3, 15, 15]
    assert examples.faults.ids["clipped"] == (20,)
    assert examples.target(2).boxes[1].tolist() == [10.1, 20.2, 40, 30]


def test_crowds_are_not_learned_but_known_to_an_evaluation(folder):
    examples = CocoBoxes(*folder(document([*GOOD, WRONG["crowd"]])), SMALL)
    assert examples.target(0).crowd.tolist() == [False, False, True]
    assert examples[0]["box_labels"].tolist() == [1, 2]


def test_the_area_is_that_of_the_outline_where_it_is_given(folder):
    rows = [GOOD[0] | {"area": 33.5}, GOOD[1] | {"area": None}, GOOD[2] | {"area": -1}]
    examples = CocoBoxes(*folder(document(rows)), SMALL)
    assert examples.target(0).areas.tolist() == [33.5, 160]
    assert examples.target(2).areas.tolist() == [1200]


def test_nothing_left_is_an_error(folder):
    with pytest.raises(DataError, match=r"no box is left.*1 box wholly outside"):
        faults(folder, [WRONG["outside"]])
    with pytest.raises(DataError, match="no box is left"):
        faults(folder, [WRONG["crowd"]])


def without(row, key):
    return {name: value for name, value in row.items() if name != key}


BROKEN = {
    "broken JSON": '{"images": [',
    "holds no sections": [1, 2],
    "no list of images": without(document(GOOD), "images"),
    "no list of annotations": document(GOOD) | {"annotations": {"0": 1}},
    "no list of categories": document(GOOD) | {"categories": None},
    "entry 1 of images has no proper width": document(
        GOOD, [image(1, 4, 4), without(image(2, 4, 4), "width")]
    ),
    "entry 0 of images has no proper id": document(GOOD, [image("a", 4, 4)]),
    "two of its images have the id 1": document(GOOD, [image(1, 4, 4), image(1, 5, 5)]),
    "image 1 has no width or height": document(GOOD, [image(1, 0, 4)]),
    "entry 0 of images": document(GOOD, [7]),
    "entry 3 of annotations has no proper bbox": document([*GOOD, without(GOOD[0], "bbox")]),
    "entry 1 of annotations has no proper bbox": document([GOOD[0], GOOD[1] | {"bbox": [1, 2, 3]}]),
    "entry 0 of annotations has no proper bbox": document([GOOD[0] | {"bbox": [1, "2", 3, 4]}]),
    "entry 0 of annotations has no proper image_id": document([without(GOOD[0], "image_id")]),
    "entry 0 of annotations has no proper category_id": document([GOOD[0] | {"category_id": True}]),
    "entry 0 of annotations has no proper attribute_ids": document(
        [GOOD[0] | {"attribute_ids": "red"}]
    ),
    "the id 7 in categories": document(GOOD, categories=[{"id": 7, "name": "a"}] * 2),
    "the id -1 in categories": document(GOOD, categories=[{"id": -1, "name": "a"}]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_not_in_the_form_is_named_with_a_remedy(folder, what):
    content = BROKEN[what] if isinstance(BROKEN[what], str) else json.dumps(BROKEN[what])
    with pytest.raises(DataError) as caught:
        read_annotations(folder(content)[1])
    assert what in caught.value.what and "instances.json" in caught.value.what
    assert caught.value.remedy


def test_a_missing_file_bytes_and_a_class_out_of_all_bounds(folder, tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_annotations(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="broken JSON"):
        read_annotations(tmp_path / "bytes.json")
    path = folder(document(GOOD, categories=[{"id": 10**9, "name": "a"}]))[1]
    with pytest.raises(DataError, match="numbered 1000000000"):
        read_annotations(path, official_ids=True)
    with pytest.raises(DataError, match="no list of attributes"):
        read_annotations(folder(document(GOOD))[1], attributes=True)


def test_pictures_that_are_missing_broken_or_of_another_size_are_skipped_and_told(folder):
    images, path = folder(document(GOOD))
    (images / "1.png").unlink()
    Image.new("RGB", (7, 7)).save(images / "2.png")
    examples = CocoBoxes(images, path, SMALL)
    with pytest.raises(CorruptSample, match="1.png does not exist"):
        examples[0]
    with pytest.raises(CorruptSample, match=r"has 7 x 7 pixels, its boxes are for 30 x 45"):
        examples[1]
    training = CocoBoxes(images, path, SMALL, training=True)
    fetched = fetch(Stream("detection", training, 8), range(8), 0)
    assert set(fetched.batch["picture_ids"].tolist()) == {3} and fetched.skipped
    (images / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match="corrupt samples in a row"):
        fetch(Stream("detection", training, 8), range(8), 0)


# What training shows.


def test_each_epoch_shows_each_picture_once_and_anew(folder):
    examples = CocoBoxes(*folder(document(GOOD)), SMALL, training=True, seed=5)
    assert examples.endless and len(examples) == 3
    seen = [examples[index] for index in range(60)]
    for first in range(0, 60, 3):
        assert sorted(one["picture_id"] for one in seen[first : first + 3]) == [1, 2, 3]
    assert len({one["image"].shape for one in seen if one["picture_id"] == 1}) > 5
    again = CocoBoxes(*folder(document(GOOD)), SMALL, training=True, seed=5)
    for index in (0, 7, 59):
        for name, value in seen[index].items():
            assert np.array_equal(value, again[index][name])
    other = CocoBoxes(*folder(document(GOOD)), SMALL, training=True, seed=6)
    assert any(other[i]["image"].shape != seen[i]["image"].shape for i in range(9))
    with pytest.raises(ValueError, match="without training"):
        examples.target(0)


def test_boxes_follow_all_changes(folder):
    examples = CocoBoxes(*folder(document(GOOD)), SMALL, training=True, seed=1)
    cut = 0
    for index in range(150):
        one = examples[index]
        height, width = one["image"].shape[:2]
        assert max(height, width) <= 64
        cut += one["picture_id"] == 1 and len(one["boxes"]) < 2
        for box, label in zip(one["boxes"].astype(float), one["box_labels"], strict=True):
            cx, cy, w, h = box * [width, height, width, height]
            corners = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            assert corners.min() > -1e-3 and (corners[2:] < [width + 1e-3, height + 1e-3]).all()
            if min(w, h) < 4:
                continue
            rows, columns = np.nonzero(one["image"][..., label] > 127)
            shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(corners - shown).max() <= 1.5
    assert cut > 3


def test_a_crop_lies_inside_and_takes_all_sides():
    draw = np.random.default_rng(0)
    regions = np.array([crop_region((50, 22), (16, 30), draw) for _ in range(600)])
    x0, y0, x1, y1 = regions.T
    assert x0.min() == 0 and x1.max() == 50 and y0.min() == 0 and y1.max() == 22
    assert set(x1 - x0) == set(range(16, 31)) and set(y1 - y0) == set(range(16, 23))


def test_flips_crops_and_sizes_come_as_often_as_said():
    draw = np.random.default_rng(0)
    picture, boxes = Image.new("RGB", (40, 40)), np.array([[0.0, 0, 10, 10]])
    plain = replace(SMALL, crop_share=0.0)
    seen = [coco.augmented(picture, boxes, plain, draw) for _ in range(600)]
    flips = sum(found[0, 0] > 0 for _, found, _ in seen)
    assert 250 < flips < 350
    sides = [shown.width for shown, _, _ in seen]
    assert set(sides) == {24, 32, 40} and min(map(sides.count, set(sides))) > 150
    none = replace(plain, flip_share=0.0)
    assert all(coco.augmented(picture, boxes, none, draw)[1][0, 0] == 0 for _ in range(50))


def test_imagenet_is_an_option(folder):
    path = folder(document(GOOD))
    one, other = CocoBoxes(*path, SMALL), CocoBoxes(*path, replace(SMALL, imagenet=True))
    plain, normal = (e.collate([e[0]])["image"] for e in (one, other))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = ((plain + 1) / 2 - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(normal, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("short_sides", ()),
        ("before_crop", (0, 30)),
        ("longest", 39),
        ("evaluation_side", 0),
        ("crop", (31, 40)),
        ("crop", (20, 16)),
        ("crop_share", 1.5),
        ("flip_share", -0.1),
    ],
)
def test_sizes_that_no_picture_can_have_are_refused(name, value):
    SMALL.check()
    CocoData().check()
    with pytest.raises(UserError, match=name):
        replace(SMALL, **{name: value}).check()
