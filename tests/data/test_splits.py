"""The committed partition: complete, disjoint, honest about houses, and equal to its rule."""

from minivl.data.examples import SPLITS
from minivl.data.nouns import everyday_name
from minivl.data.scenes import scene
from minivl.data.splits import Splits, make_splits


def test_the_committed_file_is_what_the_rule_draws(pack):
    assert Splits.load(pack) == make_splits(pack)


def test_microsofts_sets_never_straddle_a_split(pack):
    splits = Splits.load(pack)
    house = {name: vendor.family for name, vendor in pack.vendors.items()}
    train = {house[v] for v in splits.train_vendors}
    test = {house[v] for v in splits.test_vendors}
    assert not train & test
    assert {v for v in house if house[v] == "microsoft"} == {"fluent", "fluent_flat", "fluent_3d"}


def test_photographs_are_split_once(pack):
    splits = Splits.load(pack)
    parts = splits.train_photos, splits.validation_photos, splits.test_photos
    names = [name for part in parts for name in part]
    assert sorted(names) == sorted(name for name, _ in pack.photos)
    assert len(names) == len(set(names))
    assert all(len(part) >= 14 for part in parts)


def test_concepts(pack):
    splits = Splits.load(pack)
    assert not set(splits.seen_concepts) & set(splits.heldout_concepts)
    assert set(splits.course_concepts) <= set(splits.seen_concepts)
    assert len(set(splits.course_concepts)) == 48
    share = len(splits.heldout_concepts) / (
        len(splits.heldout_concepts) + len(splits.seen_concepts)
    )
    assert 0.09 < share < 0.16
    names = [everyday_name(pack.concept(c).name) for c in splits.course_concepts]
    assert len(set(names)) == 48


def test_training_never_shows_what_is_kept_for_the_test(source):
    splits, world = source.splits, source.world("train")
    photos, pairs = set(splits.train_photos), splits.reserved
    colours = set(splits.reserved_colours)
    for index in range(400):
        drawn = scene(world, 0, index)
        assert drawn.photo in photos
        concepts = [t.concept for t in drawn.things]
        assert not any(frozenset((a, b)) in pairs for a in concepts for b in concepts if a != b)
        assert all(t.vendor not in splits.test_vendors for t in drawn.things)
        assert all((t.colour, t.concept) not in colours for t in drawn.things)


def test_each_test_split_shows_what_it_says(source):
    splits = source.splits
    for index in range(100):
        unseen = scene(source.world("twemoji"), 0, index)
        assert all(t.vendor == "twemoji" for t in unseen.things)
        assert unseen.photo in splits.test_photos
        known = scene(source.world("validation"), 0, index)
        assert all(t.vendor in splits.train_vendors for t in known.things)
        assert known.photo in splits.validation_photos
        new = scene(source.world("compositions"), 0, index)
        assert frozenset(t.concept for t in new.things) in splits.reserved
    assert set(SPLITS) == {"train", "validation", "twemoji", "compositions"}
