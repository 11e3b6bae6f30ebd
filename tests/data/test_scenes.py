"""The scene graph: reproducible, honest about places, and closed under mirroring."""

from dataclasses import replace

import numpy as np
import pytest

from minivl.data.scenes import (
    ACROSS,
    ALONE,
    PLACES,
    Sprite,
    World,
    arranged,
    mirrored,
    relation,
    scene,
)


def drawing(concept: str) -> tuple[Sprite, ...]:
    extents = {"a": (60, 60), "b": (20, 64), "c": (64, 12)}
    return (Sprite(concept, concept, "artist", "red", extents.get(concept, (40, 50))),)


WORLD = World(
    image_size=48,
    sprites=tuple(drawing(c) for c in "abcdefgh"),
    photos=(("one", "sea"), ("two", "city")),
    objects=(1, 4),
)
SCENES = [scene(WORLD, 7, index) for index in range(400)]


def test_a_scene_depends_on_seed_and_index_alone():
    assert scene(WORLD, 7, 123) == SCENES[123]
    assert scene(WORLD, 8, 123) != SCENES[123]
    assert len({s.things for s in SCENES}) > 390


def test_every_thing_lies_inside_the_region_of_its_place():
    for drawn in SCENES:
        for thing in drawn.things:
            x, y, w, h = thing.box
            regions = PLACES if len(drawn.things) > 1 else ALONE
            x0, x1, y0, y1 = (round(f * drawn.image_size) for f in regions[thing.place])
            assert w >= 3 and h >= 3
            assert x0 <= x and x + w <= x1 and y0 <= y and y + h <= y1


def test_things_never_overlap_and_never_repeat():
    for drawn in SCENES:
        covered = np.zeros((48, 48), int)
        for thing in drawn.things:
            x, y, w, h = thing.box
            covered[y : y + h, x : x + w] += 1
        assert covered.max() == 1
        concepts = [thing.concept for thing in drawn.things]
        assert len(set(concepts)) == len(concepts)


def test_numbers_of_things_and_places_all_occur():
    counts = np.bincount([len(s.things) for s in SCENES], minlength=5)
    assert (counts[1:] > 40).all() and counts[0] == 0
    assert {t.place for s in SCENES for t in s.things} == set(PLACES)


def test_the_twin_exchanges_sides_and_nothing_else():
    pairs = [(s, mirrored(s)) for s in SCENES]
    pairs = [(s, m) for s, m in pairs if m is not None]
    assert len(pairs) > 100
    for original, twin in pairs:
        assert mirrored(twin) == original
        assert (twin.photo, twin.crop) == (original.photo, original.crop)
        for thing, other in zip(original.things, reversed(twin.things), strict=True):
            assert other.place == ACROSS[thing.place]
            assert replace(other, place=thing.place, box=thing.box) == thing
        if len(original.things) == 2:
            one, two = original.things, twin.things
            assert one[0].place == two[0].place in ("left", "top")
            assert [t.concept for t in one] == [t.concept for t in reversed(two)]


def test_no_twin_where_nothing_or_too_much_would_change():
    for drawn in SCENES:
        if len(drawn.things) > 2 or drawn.things[0].place == "middle":
            assert mirrored(drawn) is None


def test_of_many_things_the_minimal_pair_has_two_exchanged_and_nothing_else():
    world = replace(WORLD, objects=(3, 4), twin_share=1.0)
    for k in range(100):
        original, twin = scene(world, 3, 2 * k), scene(world, 3, 2 * k + 1)
        assert (twin.photo, twin.crop, twin.light) == (
            original.photo,
            original.crop,
            original.light,
        )
        assert [t.place for t in twin.things] == [t.place for t in original.things]
        before = {t.concept: t for t in original.things}
        changed = [t for t in twin.things if t != before[t.concept]]
        assert len(changed) == 2
        one, other = changed
        assert one.place == before[other.concept].place
        assert other.place == before[one.concept].place
        for thing in changed:
            x0, x1, y0, y1 = (round(48 * side) for side in PLACES[thing.place])
            x, y, width, height = thing.box
            assert x0 <= x and x + width <= x1 + 1 and y0 <= y and y + height <= y1 + 1
            assert (width, height) == before[thing.concept].box[2:]


def test_an_arrangement_puts_each_thing_where_another_one_stood():
    four = next(s for s in SCENES if len(s.things) == 4)
    turned = arranged(four, (1, 2, 3, 0))
    assert [t.concept for t in turned.things] == [four.things[i].concept for i in (3, 0, 1, 2)]
    assert arranged(turned, (3, 0, 1, 2)) == four == arranged(four, range(4))


def test_twins_are_neighbours_at_the_stated_rate():
    world = replace(WORLD, objects=(2, 2), twin_share=0.5)
    twins = [
        scene(world, 3, 2 * k + 1) == replace(mirrored(scene(world, 3, 2 * k)), index=2 * k + 1)
        for k in range(400)
    ]
    assert 0.42 < np.mean(twins) < 0.58
    world = replace(world, twin_share=0.0)
    drawn = [scene(world, 3, i).things for i in range(10)]
    assert len(set(drawn)) == 10


def test_reserved_pairs_are_only_where_they_belong():
    reserved = frozenset({frozenset("ab"), frozenset("cd")})
    train = replace(WORLD, objects=(2, 4), reserved=reserved)
    test = replace(WORLD, objects=(2, 2), reserved=reserved, only_reserved=True)
    for index in range(200):
        inside = {t.concept for t in scene(train, 0, index).things}
        assert not any(pair <= inside for pair in reserved)
        assert frozenset(t.concept for t in scene(test, 0, index).things) in reserved


def test_an_impossible_world_says_so():
    world = replace(WORLD, objects=(2, 2), only_reserved=True)
    with pytest.raises(ValueError, match="no 2 concepts of 8"):
        scene(world, 0, 0)


def test_relations_read_off_box_centres():
    thing = SCENES[0].things[0]
    at = lambda x, y: replace(thing, box=(x, y, 4, 4))  # noqa: E731
    assert relation(at(0, 9), at(30, 12)) == "left of"
    assert relation(at(30, 9), at(0, 12)) == "right of"
    assert relation(at(9, 0), at(12, 30)) == "above"
    assert relation(at(9, 30), at(12, 0)) == "below"


def test_light_wanders_in_training_only_as_far_as_told():
    assert all(drawn.light is None for drawn in SCENES)
    lights = np.array([scene(replace(WORLD, light=1.0), 7, i).light for i in range(300)])
    contrast, brightness = lights[:, :3], lights[:, 3]
    assert 2**-1.5 <= contrast.min() < 0.6 and 1.7 < contrast.max() <= 2**1.5
    assert -64 <= brightness.min() < -50 and 50 < brightness.max() <= 64
