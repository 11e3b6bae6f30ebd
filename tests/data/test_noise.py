import dataclasses
from collections import Counter

import numpy as np
import pytest

from minivl.data.captions import KINDS, caption
from minivl.data.examples import SceneData, SceneExamples, SceneSource
from minivl.data.noise import (
    AFTER,
    AWAY,
    BEFORE,
    NoiseData,
    NoisyCaptions,
    invent,
    with_less,
    with_more,
)
from minivl.data.nouns import noun_phrase
from minivl.data.scenes import mirrored
from minivl.errors import UserError


def scenes_of(pack, seed=0, split="train", **data):
    return SceneExamples(SceneSource(pack, SceneData(image_size=32, **data)), split, seed)


@pytest.fixture(scope="module")
def scenes(pack):
    return scenes_of(pack, twin_share=0.0)


@pytest.fixture(scope="module")
def twins(pack):
    """Every odd picture is the mirrored twin of the one before, where it can be."""
    return scenes_of(pack, twin_share=1.0)


def told(scenes, count=400, **shares):
    captions = NoisyCaptions(scenes, NoiseData(**shares))
    return [captions.told(index) for index in range(count)]


def test_without_noise_captions_are_true(scenes):
    for index, one in enumerate(told(scenes, 50)):
        assert one.kind == "none" and one.said == one.clean == scenes.caption(index)


def test_what_is_done_and_what_is_true_are_known(scenes):
    for index, one in enumerate(told(scenes, wrong=0.3, missing=0.3, extra=0.3)):
        assert one.clean == scenes.caption(index)
        assert (one.said == one.clean) == (one.kind == "none")
        if one.kind == "wrong":
            assert one.said == scenes.caption(index + AWAY)


def test_as_many_captions_are_spoilt_as_told(scenes, monkeypatch):
    monkeypatch.setattr(scenes, "caption", str)  # no two alike
    shares = {"wrong": 0.2, "missing": 0.3, "extra": 0.15}
    captions = NoisyCaptions(scenes, NoiseData(**shares))
    count = 8000
    found = Counter(captions.drawn(index) for index in range(count))
    for kind, share in (shares | {"none": 0.35}).items():
        # Groups of four are exchanged together.
        allowed = 4 * (share * (1 - share) / (count / 4)) ** 0.5
        assert found[kind] / count == pytest.approx(share, abs=allowed), kind


@pytest.mark.parametrize("kind", ["wrong", "missing", "extra"])
def test_all_captions_can_be_spoilt_in_one_way(scenes, kind):
    kinds = Counter(one.kind for one in told(scenes, 200, **{kind: 1.0}))
    assert set(kinds) <= {kind, "none"} and kinds[kind] >= 190  # equal captions are exchanged


def test_what_is_wrong_is_another_picture_s_of_the_same_wording(pack):
    scenes = scenes_of(pack, captions=KINDS)
    for index, one in enumerate(told(scenes, 100, wrong=1.0)):
        other = scenes.scene(index + AWAY)
        assert one.said == caption(other, KINDS[index // 2 % len(KINDS)])
        assert other.things != scenes.scene(index).things


def test_a_batch_does_not_hold_the_truth_of_what_is_wrong_in_it(scenes):
    """Else the true caption would be among the wrong ones, and taught to be wrong."""
    captions, found = told(scenes, 1024, wrong=0.4), []
    for first in range(0, 1024, 64):
        batch = captions[first : first + 64]
        said = {one.said for one in batch}
        found += [one.clean in said for one in batch if one.kind == "wrong"]
    assert len(found) > 300
    assert sum(found) < 0.05 * len(found)  # by chance two pictures are of the same things


def test_no_picture_gets_its_mirrored_twins_caption(twins):
    """It would be right but for the order, everywhere: no noise, but another language."""
    spoilt, exchanged = told(twins, 200, wrong=1.0), 0
    for first in range(0, 200, 2):
        pair, others = spoilt[first : first + 2], twins.scene(first + AWAY)
        if (twin := mirrored(others)) is not None:
            assert [one.said for one in pair] == [caption(s, "places") for s in (others, twin)]
            exchanged += 1
    assert exchanged > 50


@pytest.mark.parametrize("wording", KINDS)
def test_a_thing_is_left_out(pack, wording):
    scenes = scenes_of(pack, objects=(1, 4), captions=(wording,))
    for index, one in enumerate(told(scenes, 80, missing=1.0)):
        things = scenes.scene(index).things
        if len(things) == 1:
            assert one.said == noun_phrase(things[0].name)
            continue
        fewer = [
            dataclasses.replace(scenes.scene(index), things=things[:i] + things[i + 1 :])
            for i in range(len(things))
        ]
        assert one.said in {caption(shown, wording) for shown in fewer}


@pytest.mark.parametrize("wording", KINDS)
def test_what_is_not_there_is_named_or_empty_words_are_said(pack, wording):
    scenes = scenes_of(pack, objects=(1, 4), captions=(wording,))
    names = {drawings[0].name for drawings in scenes.world.sprites}
    invented = filled = 0
    for index, one in enumerate(told(scenes, 150, extra=1.0)):
        before, after = one.said.removesuffix(one.clean), one.said.removeprefix(one.clean)
        if before.strip() in BEFORE or after.strip() in AFTER:
            filled += 1
            continue
        present = {thing.name for thing in scenes.scene(index).things}
        assert any(name in one.said for name in names - present)
        invented += 1
    assert filled > 40 and invented > 15


def test_an_invented_thing_is_no_giveaway(scenes):
    """It stands where a thing of the layout could, is not there, and makes no reserved pair."""
    draw, world = np.random.default_rng(0), scenes.world
    for index in range(200):
        shown = scenes.scene(index)
        thing = invent(shown, world, draw)
        present = {one.concept for one in shown.things}
        assert thing.concept not in present
        assert not any(frozenset((thing.concept, other)) in world.reserved for other in present)
        taken = {one.place for one in shown.things}
        opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
        if len(shown.things) == 1 and "middle" not in taken:
            assert thing.place == opposite[shown.things[0].place]
        elif len(shown.things) == 2:
            assert thing.place in taken
        x, y, width, height = thing.box
        assert min(x, y) >= 0 and max(x + width, y + height) <= shown.image_size


def test_a_world_without_another_thing_says_empty_words(scenes):
    shown = next(s for s in map(scenes.scene, range(50)) if len(s.things) == 1)
    only = [d for d in scenes.world.sprites if d[0].concept == shown.things[0].concept]
    world = dataclasses.replace(scenes.world, sprites=tuple(only))
    draw = np.random.default_rng(0)
    assert invent(shown, world, draw) is None
    clean = caption(shown, "places")
    assert all(clean in with_more(shown, "places", world, draw) for _ in range(20))


def test_which_thing_is_left_out_is_drawn(pack):
    scenes = scenes_of(pack, objects=(2, 2))
    shown, draw = scenes.scene(0), np.random.default_rng(0)
    assert len({with_less(shown, "places", draw) for _ in range(20)}) == 2


def test_noise_follows_from_seed_and_index(pack, scenes):
    shares = {"wrong": 0.3, "missing": 0.3, "extra": 0.3}
    assert told(scenes, 60, **shares) == told(scenes, 60, **shares)
    other = scenes_of(pack, seed=1, twin_share=0.0)
    kinds = [[one.kind for one in told(some, 60, **shares)] for some in (scenes, other)]
    assert kinds[0] != kinds[1]


@pytest.mark.parametrize(
    "wrong", [{"wrong": -0.1}, {"missing": -1.0}, {"extra": -0.5}, {"wrong": 0.6, "extra": 0.6}]
)
def test_shares_that_are_none_are_refused(wrong):
    NoiseData(wrong=0.5, missing=0.25, extra=0.25).check()
    with pytest.raises(UserError, match=next(iter(wrong))):
        NoiseData(**wrong).check()
