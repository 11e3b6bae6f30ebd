"""Sentences that are true of their scene, and that people would say."""

from dataclasses import replace

import pytest

from minivl.data.captions import CONVERSE, KINDS, PLACE_PHRASES, SCENERY, caption, captions
from minivl.data.nouns import everyday_name, noun_phrase
from minivl.data.scenes import Scene, Thing, relation, scene

DOG = Thing("1", "dog", "noto", "left", "large", "brown", (2, 10, 20, 20))
OWL = Thing("2", "owl", "noto", "right", "small", None, (30, 12, 12, 12))
TWO = Scene(0, 0, 48, "p", "sea", (0, 0, 1, False), None, (DOG, OWL))
ONE = replace(TWO, things=(replace(DOG, place="middle"),))


def test_the_five_captions_by_hand():
    assert captions(TWO) == (
        "a dog on the left and an owl on the right",
        "there are a dog and an owl at sea",
        "a dog left of an owl",
        "a small owl right of a large dog",
        "a large brown dog and a small owl at sea",
    )
    assert captions(ONE) == (
        "a dog in the middle",
        "there is a dog at sea",
        "a dog at sea",
        "a picture of a large dog",
        "a large brown dog at sea",
    )


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [
        ("popcorn", "popcorn"),
        ("grapes", "some grapes"),
        ("scissors", "some scissors"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("hourglass", "an hourglass"),
        ("apple", "an apple"),
        ("T-Rex", "a T-Rex"),
        ("x-ray", "an x-ray"),
    ],
)
def test_articles(noun, phrase):
    assert noun_phrase(noun) == phrase


def test_adjectives_decide_the_article():
    assert noun_phrase("owl", "small") == "a small owl"
    assert noun_phrase("dog", "orange") == "an orange dog"
    assert noun_phrase("grapes", "small", "") == "some small grapes"


def test_a_colour_never_contradicts_the_name():
    thing = replace(DOG, name="green apple", colour="green")
    assert caption(replace(ONE, things=(thing,)), "attributes") == "a large green apple at sea"


def test_plurals_take_are():
    thing = replace(DOG, name="grapes")
    assert caption(replace(ONE, things=(thing,)), "existence") == "there are some grapes at sea"


def test_everyday_names():
    assert everyday_name("automobile") == "car"
    assert everyday_name("dog face") == "dog"
    assert everyday_name("trumpet") == "trumpet"


def test_all_captions_are_true_of_the_graph(source):
    """Place, relation and number said in a sentence are those of the graph, on real scenes."""
    world = source.world("train")
    for index in range(300):
        drawn = scene(world, 5, index)
        said = dict(zip(KINDS, captions(drawn), strict=True))
        for thing in drawn.things:
            phrase = f"{noun_phrase(thing.name)} {PLACE_PHRASES[thing.place]}"
            assert phrase in said["places"]
            assert thing.name in said["existence"]
        if len(drawn.things) > 1:
            a, b = drawn.things[:2]
            assert f"{a.name} {relation(a, b)} " in said["relation"]
            assert relation(b, a) == CONVERSE[relation(a, b)]
            assert f"{b.name} {relation(b, a)} " in said["converse"]
        assert all(
            "  " not in sentence and sentence == sentence.strip() for sentence in said.values()
        )


def test_every_photograph_has_a_phrase_for_its_place(pack):
    assert {place for _, place in pack.photos} <= set(SCENERY)
