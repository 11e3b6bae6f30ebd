import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.evaluation.metric import proportion
from minivl.visualize.arrangements import KINDS, arrangements, examples, first_is_right, margins

CAPTIONS = [[f"a {a} left of a {b}", f"a {b} left of a {a}"] for a, b in ("dc", "fg", "xy")]
RECALLS = {
    "any pictures": (proportion(9, 10, 0.1), proportion(10, 10, 0.1)),
    "the same things": (proportion(5, 10, 0.1), proportion(8, 10, 0.1)),
}


def scores(*groups):
    return np.array(groups, dtype=float)


SIMILARITY = scores([[0.9, 0.9], [0.8, 0.7]], [[0.6, 0.2], [0.5, 0.4]], [[0.1, 0.9], [0.3, 0.2]])
"""Pictures by captions: of six sentences, the first, third and fourth are right."""
BELIEFS = scores([[0.7, 0.0], [0.1, 0.95]], [[0.9, 0.0], [0.0, 0.9]], [[0.9, 0.0], [0.2, 0.9]])


def drawn(pictures, similarity=SIMILARITY, beliefs=BELIEFS, **options):
    images = pictures(6).reshape(3, 2, 12, 12, 3)
    return arrangements(images, CAPTIONS, similarity, beliefs, RECALLS, **options)


def test_headlines_count_who_finds_the_picture_of_a_sentence(pictures, texts, check_legible):
    figure = drawn(pictures)
    words = texts(figure)
    for line in (
        "Right picture of 2 by similarity: 3 of 6 sentences (50.0 %)",
        "Right picture of 2 by fusion: 6 of 6 sentences (100.0 %)",
        "Similarity errs, fusion does not: 3 of 6 sentences (50.0 %)",
        "Both are right: 3 of 6 sentences (50.0 %)",
    ):
        assert line in words
    assert "Both err" not in " ".join(words)
    check_legible(figure)


def test_four_arrangements_of_four_things_are_legible(pictures, check_legible, texts):
    long = "a light bulb at the top left, a hamburger at the top right, some grapes at the bottom "
    captions = [[f"{long} left and a tractor at the bottom right"] * 4] * 4
    right = np.tile(np.eye(4), (4, 1, 1))
    kinds = np.stack([right[0], np.roll(right[0], 1, 0)])
    similarity, beliefs = kinds[[1, 0, 0, 1]], kinds[[0, 0, 1, 1]]
    images = pictures(16).reshape(4, 4, 12, 12, 3)
    figure = arrangements(images, captions, similarity, beliefs, RECALLS, shown=4)
    check_legible(figure)
    assert sum(word.endswith(": 4 of 16 sentences (25.0 %)") for word in texts(figure)) >= 4


def test_the_bars_of_a_sentence_stand_under_its_pictures(pictures, texts):
    """Shown is sentence 5: similarity prefers the other picture, fusion its own."""
    figure = drawn(pictures, shown=1)
    said = "“a y left of a x”"
    assert said in texts(figure)
    images = [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes if axes.images]
    assert images == [4, 5]
    bars = [axes.patches[1] for axes in figure.axes if len(axes.patches) == 2 and
            axes.get_ylim() == (0, 1)]  # fmt: skip
    assert [bar.get_width() for bar in bars] == pytest.approx([0.9, 0.2, 0.0, 0.9])
    colours = [tuple(round(255 * c) for c in bar.get_facecolor()[:3]) for bar in bars]
    wrong, grey, other, right = colours
    assert grey == other and len({wrong, grey, right}) == 3
    assert texts(figure).count("✓") == 1
    told = f"{said}: similarity 0.20, 0.90; fusion 90 %, 0 % (own picture first)"
    assert told in figure.caption.alt


def test_recalls_stand_with_their_intervals_and_a_bag_of_words(pictures, texts):
    words = texts(drawn(pictures))
    for metric in (one for both in RECALLS.values() for one in both):
        low, high = 100 * metric.low, 100 * metric.high
        assert f"{100 * metric.value:.1f} % [{low:.1f}–{high:.1f}]" in words
    assert any("bag of words can reach: 50 %" in word for word in words)
    assert "R@1 in the same things: 50.0 %" in drawn(pictures).caption.alt


def test_a_tie_is_no_success():
    assert not first_is_right(np.ones((2, 3, 3))).any()
    assert first_is_right(SIMILARITY).tolist() == [True, False, True, True, False, False]
    assert margins(SIMILARITY)[:3] == pytest.approx([0.1, -0.2, 0.1])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(-1, 1)), min_size=1))
def test_each_kind_that_occurs_is_shown_by_its_median(rows):
    right, lead = np.array([row[:2] for row in rows]).T, np.array([row[2] for row in rows])
    found = examples(right, lead, len(KINDS))
    assert [kind for kind, _ in found] == sorted(
        {number for number, (_, how) in enumerate(KINDS) for row in right.T if tuple(row) == how}
    )
    for kind, number in found:
        own = (right.T == KINDS[kind][1]).all(axis=1)
        assert own[number] and lead[number] == np.sort(lead[own])[own.sum() // 2]
    assert examples(right, lead, 1) == found[:1]


def test_numbers_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="3 groups of 2 pictures"):
        drawn(pictures, beliefs=BELIEFS[:2])
    with pytest.raises(ValueError, match="3 groups of 2 pictures"):
        arrangements(pictures(6).reshape(3, 2, 12, 12, 3), CAPTIONS[:2], SIMILARITY, BELIEFS, {})
