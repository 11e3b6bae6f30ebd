"""Phrases with exact boxes, and ways to look whose score is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from minivl.data.examples import SceneData, SceneSource
from minivl.data.pack import Pack
from minivl.evaluation.grounding_albef import (
    SPLITS,
    choosing,
    evaluate_grounding,
    look_for,
    names_apart,
    phrase,
    places_of_name,
    pointing_at,
)

COUNT = 130
"""More than two batches."""


@pytest.fixture(scope="module")
def source():
    return SceneSource(Pack.load(), SceneData(image_size=48, objects=(1, 3)))


def boxes_drawn(images, asked, which):
    """Maps (n, 48, 48) that are warm on the boxes of the chosen things of each picture."""
    maps = torch.zeros(len(asked), 48, 48)
    for heat, one in zip(maps, asked, strict=True):
        for number in which(one):
            x0, y0, x1, y1 = one.boxes[number]
            heat[y0:y1, x0:x1] = 1.0
    return maps


def oracle(images, asked):
    return {
        "": boxes_drawn(images, asked, lambda one: [one.target]),
        "things": boxes_drawn(images, asked, lambda one: range(len(one.boxes))),
        "wrong": boxes_drawn(images, asked, lambda one: [one.target - 1]),
        "nothing": torch.zeros(len(asked), 6, 6),
    }


def test_phrases_name_things_that_can_be_told_apart(source):
    world = source.world("train", (2, 3))
    for index in range(200):
        one = phrase(world, 5, index)
        thing = one.scene.things[one.target]
        assert one.words.endswith(thing.name) and one.name == thing.name
        assert one.sentence.split().count(thing.name.split()[0]) >= 1
        assert all(one.absent.split(" ", 1)[-1] != other.name for other in one.scene.things)
        assert len(one.boxes) == len(one.scene.things) > 1
        x, y, w, h = thing.box
        assert one.boxes[one.target].tolist() == [x, y, x + w, y + h]
    assert phrase(world, 5, 7) == phrase(world, 5, 7) != phrase(world, 6, 7)
    assert {phrase(world, 5, index).target for index in range(50)} == {0, 1, 2}


def test_a_name_inside_another_one_is_not_asked_for(source):
    drawn = phrase(source.world("train", (2, 2)), 0, 0).scene
    names = [("dog", "hot dog", False), ("hot dog", "dog", False), ("dog", "dogma", True)]
    for first, second, expected in names:
        things = [replace(t, name=n) for t, n in zip(drawn.things, (first, second), strict=True)]
        assert names_apart(replace(drawn, things=tuple(things))) is expected


def test_a_world_without_two_names_is_refused(source):
    world = source.world("train", (2, 2))
    same = tuple(tuple(replace(s, name="dog") for s in drawings) for drawings in world.sprites)
    with pytest.raises(ValueError, match="no scene with two things"):
        phrase(replace(world, sprites=same), 0, 0)


def test_a_name_is_found_among_the_pieces():
    pieces = ["[CLS]", "a", "cat", "##nip", "and", "a", "cat", "on", "the", "left", "[SEP]"]
    assert places_of_name(pieces, ["cat"]) == [6]
    assert places_of_name(pieces, ["cat", "##nip"]) == [2, 3]
    assert places_of_name(pieces, ["dog"]) == [] == places_of_name(pieces[:4], ["cat"])


def test_every_name_stands_in_its_sentence(source):
    for split in SPLITS:
        for index in range(100):
            one = phrase(source.world(split, (2, 3)), 0, index)
            pieces = source.text.tokens(one.sentence)
            places = places_of_name(pieces, source.text.tokens(one.name))
            assert source.text.decode(source.text.encode(one.name)) == one.name.lower()
            assert [pieces[i] for i in places] == source.text.tokens(one.name)


def test_who_knows_the_box_is_right_and_who_sees_nothing_is_right_by_chance(source):
    found = evaluate_grounding(source, oracle, COUNT)
    ways = ("", "_things", "_wrong", "_nothing", "_centre", "_uniform")
    assert set(found) == {
        f"{split}/scene-grounding/{name}{way}"
        for split in SPLITS
        for name in ("box", "pointing")
        for way in ways
    }
    for split in SPLITS:
        of = {key.rsplit("/", 1)[1]: metric for key, metric in found.items() if split in key}
        assert of["box"].value == of["pointing"].value == 1 and of["box"].n == COUNT
        assert of["box_wrong"].value == of["pointing_wrong"].value == 0
        assert of["box_nothing"].value == pytest.approx(of["box"].chance)
        for way in ("nothing", "uniform"):  # other grids, other centres
            assert of[f"pointing_{way}"].value == pytest.approx(of[f"pointing_{way}"].chance)
        assert of["box"].low > of["box_uniform"].high
        # Warm on all things alike: right where the thing is the largest, or a bit of luck.
        assert of["box_things"].value < 0.9
    assert found["compositions/scene-grounding/box"].chance == pytest.approx(1 / 2)
    assert 1 / 3 < found["validation/scene-grounding/box"].chance < 1 / 2


def test_ways_are_found_batch_by_batch_in_order(source):
    sizes = []

    def numbered(images, asked):
        sizes.append(len(asked))
        assert images.shape == (len(asked), 48, 48, 3) and images.dtype == np.uint8
        for image, one in zip(images, asked, strict=True):
            assert (image == source.renderer.image(one.scene)).all()
        first = sum(sizes[:-1])
        heat = torch.arange(first, first + len(asked)).float()
        return {"": heat[:, None, None].expand(-1, 2, 3)}

    asked, maps = look_for(source, "validation", numbered, COUNT)
    assert sizes == [64, 64, 2] and len(asked) == COUNT
    assert maps[""][:, 1, 2].tolist() == list(range(COUNT))
    assert maps["centre"].shape == maps["uniform"].shape == (COUNT, 2, 3)
    centre = maps["centre"][0]
    assert centre.argmax(dim=1).tolist() == [1, 1] and torch.equal(centre, centre.flip(0, 1))


def test_a_map_of_few_cells_is_enlarged_before_boxes_are_scored(source):
    asked = [phrase(source.world("validation", (2, 2)), 3, index) for index in range(40)]
    maps = torch.zeros(40, 6, 6)
    for heat, one in zip(maps, asked, strict=True):
        x0, y0, x1, y1 = one.boxes[one.target]
        heat[(y0 + y1) // 16, (x0 + x1) // 16] = 1.0
    assert choosing(maps, asked).value > 0.95
    assert pointing_at(maps, asked).value > 0.95
    assert choosing(maps.flip(1, 2), asked).value < 0.3
