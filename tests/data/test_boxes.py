"""Boxes of scenes against the pixels they are drawn at, batches, and boxes that follow pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minivl.data.boxes import (
    NONE,
    SceneBoxes,
    clipped,
    collate_boxes,
    cropped,
    fitted,
    flipped,
    fractions,
    resized,
)
from minivl.data.examples import SPLITS, SceneSource, to_tensor
from minivl.data.stream import Stream, fetch


@pytest.fixture(scope="module")
def scenes(source: SceneSource):
    return SceneBoxes(source, "train", 3, attributes=True)


def example(height, width, boxes, labels=None, index=0):
    boxes = np.array(boxes, float).reshape(-1, 4)
    return {
        "image": np.full((height, width, 3), 10 * index + 5, np.uint8),
        "boxes": fractions(boxes, (height, width)),
        "box_labels": np.array(labels or range(len(boxes)), np.int64),
        "picture_id": index,
        "size": (2 * height, 2 * width),
    }


# Scenes.


def test_boxes_are_where_the_things_are_drawn(source, scenes):
    for index in range(30):
        drawn, one, target = scenes.scene(index), scenes[index], scenes.target(index)
        masks = source.renderer.masks(drawn)
        assert np.array_equal(one["image"], source.renderer.image(drawn))
        assert len(drawn.things) == len(one["boxes"]) == len(one["box_labels"])
        assert np.array_equal(target.labels, one["box_labels"])
        for thing, mask, box, label, corners in zip(
            drawn.things, masks, one["boxes"], one["box_labels"], target.boxes, strict=True
        ):
            cx, cy, w, h = 96 * box.astype(float)
            assert [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2] == pytest.approx(corners)
            x0, y0, x1, y1 = corners.astype(int)
            assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0
            # Resizing a drawing may leave its outermost row or column all but transparent.
            assert not mask[:, :x0].any() and mask[:, x0 : x0 + 3].any()
            assert mask[y1 - 3 : y1].any() and not mask[y1:].any()
            assert scenes.classes[label] == thing.name


def test_classes_and_attributes_have_the_same_numbers_on_every_split(source, scenes):
    assert len(set(scenes.classes)) == len(scenes.classes) == 48
    assert scenes.attribute_names[:2] == ("large", "small")
    assert set(scenes.attribute_names[2:]) >= {"red", "green", "blue"}
    for split in SPLITS:
        other = SceneBoxes(source, split, 0)
        assert other.classes == scenes.classes and other.attribute_names == scenes.attribute_names
        for index in range(10):
            for thing, label in zip(
                other.scene(index).things, other[index]["box_labels"], strict=True
            ):
                assert other.classes[label] == thing.name
        assert "attribute_labels" not in other[0]


def test_attributes_are_the_facts_of_the_scene(scenes):
    coloured = 0
    for index in range(60):
        things = scenes.scene(index).things
        for thing, (size, colour) in zip(things, scenes[index]["attribute_labels"], strict=True):
            assert scenes.attribute_names[size] == thing.size
            assert (colour == NONE) == (thing.colour is None)
            coloured += colour != NONE and scenes.attribute_names[colour] == thing.colour
    assert coloured > 20


def test_an_example_is_a_function_of_seed_and_index(source, scenes):
    again = SceneBoxes(source, "train", 3, attributes=True)
    for index in (0, 5, 10**6):
        for name, value in scenes[index].items():
            assert np.array_equal(value, again[index][name])
    other = SceneBoxes(source, "train", 4)
    assert any(len(other[i]["boxes"]) != len(scenes[i]["boxes"]) for i in range(10))
    assert scenes.endless
    with pytest.raises(TypeError, match="endless"):
        len(scenes)


def test_a_stream_makes_the_batch_of_detection(scenes):
    batch = fetch(Stream("detection", scenes, 8), range(8), 0).batch
    longest = max(len(scenes[index]["boxes"]) for index in range(8))
    shapes = {name: tuple(value.shape) for name, value in batch.items()}
    assert shapes == {
        "image": (8, 3, 96, 96),
        "boxes": (8, longest, 4),
        "box_labels": (8, longest),
        "attribute_labels": (8, longest, 2),
        "picture_ids": (8,),
        "sizes": (8, 2),
    }
    integers = {"box_labels", "attribute_labels", "picture_ids", "sizes"}
    for name, value in batch.items():
        assert value.dtype == (torch.int64 if name in integers else torch.float32)
    for row in range(8):
        n = len(scenes[row]["boxes"])
        assert (batch["box_labels"][row] != NONE).tolist() == [i < n for i in range(longest)]
        assert not batch["boxes"][row, n:].any()
        assert (batch["attribute_labels"][row, n:] == NONE).all()
    assert torch.equal(batch["image"], to_tensor(np.stack([scenes[i]["image"] for i in range(8)])))


# Batches.


def test_smaller_pictures_stand_at_the_top_left_of_the_frame():
    examples = [example(4, 6, [[0, 0, 3, 2], [3, 2, 6, 4]]), example(5, 3, [], index=1)]
    batch = collate_boxes(examples)
    assert batch["image"].shape == (2, 3, 5, 6)
    mask = batch["pixel_mask"]
    assert mask.dtype == torch.bool and mask.shape == (2, 5, 6)
    assert mask[0, :4].all() and mask[1, :, :3].all() and mask.sum() == 24 + 15
    assert not batch["image"][~mask[:, None].expand(-1, 3, -1, -1)].any()
    assert batch["image"][0, :, :4].unique().tolist() == pytest.approx([5 / 127.5 - 1])
    # Fractions are of the picture's own sides, sizes of the original.
    assert batch["boxes"][0].tolist() == [[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]]
    assert batch["box_labels"].tolist() == [[0, 1], [NONE, NONE]]
    assert batch["sizes"].tolist() == [[8, 12], [10, 6]]
    assert "attribute_labels" not in batch


def test_a_batch_of_empty_scenes_has_one_place_and_no_box():
    examples = [example(4, 4, [], index=i) | {"attribute_labels": np.zeros((0, 3), np.int64)}
                for i in range(2)]  # fmt: skip
    batch = collate_boxes(examples)
    assert batch["boxes"].shape == (2, 1, 4) and not batch["boxes"].any()
    assert batch["box_labels"].tolist() == [[NONE], [NONE]]
    assert (batch["attribute_labels"] == NONE).all()
    assert "pixel_mask" not in batch


def test_attributes_fill_up_to_the_longest():
    rows = (np.array([[1], [2]]), np.array([[3, 4, 5]]))
    examples = [example(4, 4, [[0, 0, 1, 1]] * len(row)) | {"attribute_labels": row}
                for row in rows]  # fmt: skip
    labels = collate_boxes(examples)["attribute_labels"]
    assert labels.tolist() == [[[1, NONE, NONE], [2, NONE, NONE]], [[3, 4, 5], [NONE] * 3]]


def test_imagenet_mean_and_deviation_are_taken_out():
    draw = np.random.default_rng(0)
    examples = [example(5, 4, []), example(3, 4, [])]
    for one in examples:
        one["image"] = draw.integers(256, size=one["image"].shape, dtype=np.uint8)
    batch = collate_boxes(examples, imagenet=True)
    for row, one in zip(batch["image"].numpy(), examples, strict=True):
        height = len(one["image"])
        expected = (one["image"] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        assert row[:, :height] == pytest.approx(expected.transpose(2, 0, 1), abs=1e-5)
        assert not row[:, height:].any()


# Boxes that follow.

side = st.integers(8, 60)


@st.composite
def pictured(draw):
    """A black picture, a red rectangle in it, and its box."""
    width, height = draw(side), draw(side)
    x0, y0 = draw(st.integers(0, width - 4)), draw(st.integers(0, height - 4))
    x1, y1 = draw(st.integers(x0 + 3, width)), draw(st.integers(y0 + 3, height))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y0:y1, x0:x1, 0] = 255
    return Image.fromarray(pixels), np.array([[x0, y0, x1, y1]], float)


def red(image):
    """Corners of what is more than half red."""
    rows, columns = np.nonzero(np.asarray(image)[..., 0] > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@settings(max_examples=60, deadline=None)
@given(pictured())
def test_a_flipped_box_covers_its_pixels_and_twice_is_nothing(picture):
    image, boxes = picture
    once = flipped(image, boxes)
    assert np.array_equal(red(once[0]), once[1][0])
    back, same = flipped(*once)
    assert np.array_equal(np.asarray(back), np.asarray(image)) and np.array_equal(same, boxes)


@settings(max_examples=60, deadline=None)
@given(pictured(), side, side)
def test_a_resized_box_covers_its_pixels(picture, width, height):
    image, boxes = picture
    before = fractions(boxes, (image.height, image.width))
    scale = min(width / image.width, height / image.height)
    image, boxes = resized(image, boxes, (width, height))
    assert image.size == (width, height)
    # No box changes as a fraction of its picture.
    assert fractions(boxes, (height, width)) == pytest.approx(before, abs=1e-6)
    if scale * 3 >= 1.5:  # thinner, less than half of any pixel may be red
        assert np.abs(red(image) - boxes[0]).max() <= 1


@settings(max_examples=60, deadline=None)
@given(pictured(), st.data())
def test_a_cropped_box_covers_what_is_left_of_its_pixels(picture, data):
    image, boxes = picture
    x0 = data.draw(st.integers(0, image.width - 2))
    y0 = data.draw(st.integers(0, image.height - 2))
    x1 = data.draw(st.integers(x0 + 1, image.width))
    y1 = data.draw(st.integers(y0 + 1, image.height))
    part, left, kept = cropped(image, boxes, (x0, y0, x1, y1))
    assert part.size == (x1 - x0, y1 - y0)
    there = (np.asarray(part)[..., 0] > 0).any()
    assert kept.tolist() == [there] and len(left) == there
    if there:
        assert np.array_equal(red(part), left[0])


def test_clipping_keeps_what_has_an_area():
    boxes = np.array([[-5, -5, 5, 5], [10, 0, 20, 5], [0, 0, 0, 5], [2, 2, 99, 99]], float)
    inside, kept = clipped(boxes, (10, 8))
    assert kept.tolist() == [True, False, False, True]
    assert inside[kept].tolist() == [[0, 0, 5, 5], [2, 2, 10, 8]]
    assert boxes[0, 0] == -5


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((640, 480), 800, 1333, (1067, 800)),
        ((480, 640), 800, 1333, (800, 1067)),
        ((1000, 200), 800, 1333, (1333, 267)),
        ((5000, 1), 480, 1333, (1333, 1)),
        ((7, 7), 7, 7, (7, 7)),
    ],
)
def test_the_shorter_side_fits_unless_the_longer_one_does_not(size, short, longest, expected):
    assert fitted(size, short, longest) == expected
