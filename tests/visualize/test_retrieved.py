import numpy as np
import pytest
from matplotlib.colors import to_hex

from minivl.visualize.retrieved import (
    pick_examples,
    ranking,
    retrieved_captions,
    retrieved_pictures,
)
from minivl.visualize.style import GREEN, VERMILLION

CAPTIONS = [f"caption {i}" for i in range(40)]


def test_best_first_and_at_a_tie_the_wrong_one():
    similarity = np.array([[0.1, 0.9, 0.5], [0.7, 0.7, 0.7]])
    relevant = np.array([[True, False, False], [True, False, False]])
    assert ranking(similarity, relevant).tolist() == [[1, 2, 0], [1, 2, 0]]


@pytest.mark.parametrize(
    "hits, total, expected_right",
    [(20, 40, 3), (40, 40, 6), (0, 40, 0), (39, 40, 5), (1, 40, 1), (2, 3, 2)],
)
def test_half_right_half_wrong_where_there_are_enough(hits, total, expected_right):
    right = np.zeros(total, dtype=bool)
    right[np.random.default_rng(0).permutation(total)[:hits]] = True
    shown = pick_examples(right, 6)
    assert len(set(shown.tolist())) == len(shown) == min(6, total)
    assert right[shown].sum() == expected_right
    assert (np.diff(shown) > 0).all()


def test_examples_are_spread_over_the_pool():
    assert pick_examples(np.ones(100, dtype=bool), 4).tolist() == [0, 25, 50, 75]


def world(n=40, shift=7, wrong=10):
    """Query i finds i, except the first `wrong`, which find i + shift first."""
    similarity = np.random.default_rng(1).uniform(0, 0.5, size=(n, n))
    np.fill_diagonal(similarity, 0.8)
    for i in range(wrong):
        similarity[i, i] = -1.0
        similarity[(i + shift) % n, i] = 0.9
    return similarity


def frames(axes):
    return [to_hex(p.get_edgecolor()).upper() for p in axes.patches]


def test_pictures_for_captions_right_and_wrong(pictures, texts, check_legible):
    n = 40
    relevant = np.eye(n, dtype=bool)
    figure = retrieved_pictures(world(), pictures(n), CAPTIONS, relevant, queries=4, top=3)
    check_legible(figure)
    words = texts(figure)
    assert "The picture found first is wrong for 10 of 40 captions (25.0 %)" in words
    assert "shown: 2 right, 2 wrong; best match first" in words
    # Wrong queries 0 and 5: three wrong pictures and the true one beyond, at the last place.
    assert words.count("true: place 40") == 2
    row = [(int(a.images[0].get_array()[0, 0, 0]), frames(a)) for a in figure.axes[:4]]
    assert row[0] == (7, [VERMILLION]) and row[3] == (0, [GREEN])
    colours = [frames(axes)[0] for axes in figure.axes]
    assert colours.count(GREEN) == 4 and colours.count(VERMILLION) == 3 * 4 - 2


def test_the_true_one_is_added_only_where_it_is_not_among_the_first(pictures, texts):
    # For every query, candidate 0 is the true one and comes third.
    similarity = np.tile([[0.1], [0.2], [0.3], [0.0]], 4)
    relevant = np.zeros((4, 4), dtype=bool)
    relevant[0] = True

    def found(draw, similarity, relevant, top):
        return texts(draw(similarity, pictures(4), CAPTIONS[:4], relevant, top=top))

    assert found(retrieved_pictures, similarity, relevant, 2).count("true: place 3") == 4
    assert "true: place 3" not in found(retrieved_pictures, similarity, relevant, 3)
    for top in (2, 3):
        assert found(retrieved_captions, similarity.T, relevant.T, top).count("3.") == 4


def test_an_equal_caption_is_a_hit(pictures, texts):
    similarity = np.array([[0.1, 0.9], [0.9, 0.1]])
    everything = np.ones((2, 2), dtype=bool)
    for draw in (retrieved_pictures, retrieved_captions):
        figure = draw(similarity, pictures(2), ["a cat", "a cat"], everything)
        assert any("wrong for 0 of 2" in text for text in texts(figure))


def test_captions_for_pictures(pictures, texts, check_legible):
    n = 40
    relevant = np.eye(n, dtype=bool)
    figure = retrieved_captions(world().T, pictures(n), CAPTIONS, relevant, queries=4, top=3)
    check_legible(figure)
    words = texts(figure)
    assert "The caption found first is wrong for 10 of 40 pictures (25.0 %)" in words
    bold = [t.get_text() for t in figure.texts if t.get_fontweight() == "bold"]
    assert {"caption 0", "caption 5"} <= set(bold) and "caption 7" in words
    assert words.count("40.") == 2, "a true caption beyond the first three keeps its rank"
    assert words.count("✓") == 4


def test_the_two_directions_are_not_mixed_up(pictures, texts):
    similarity = np.array([[0.9, 0.8, 0.7], [0.1, 0.2, 0.3], [0.0, 0.0, 0.8]])
    arguments = (similarity, pictures(3), CAPTIONS[:3], np.eye(3, dtype=bool))
    assert any("wrong for 1 of 3 captions" in t for t in texts(retrieved_pictures(*arguments)))
    similarity[2, 0] = 0.9
    assert any("wrong for 2 of 3 pictures" in t for t in texts(retrieved_captions(*arguments)))


def test_more_captions_than_pictures(pictures, check_legible):
    similarity = np.random.default_rng(0).normal(size=(3, 6))
    relevant = np.repeat(np.eye(3, dtype=bool), 2, axis=1)
    words = [f"{i}: " + "a very long caption that never ends and goes on " * 4 for i in range(6)]
    check_legible(retrieved_pictures(similarity, pictures(3), words, relevant))
    check_legible(retrieved_captions(similarity, pictures(3), words, relevant))


def test_shapes_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="2 pictures and 3 captions"):
        retrieved_pictures(np.zeros((3, 2)), pictures(2), CAPTIONS[:3], np.zeros((3, 2), bool))
    with pytest.raises(ValueError, match="relevant"):
        retrieved_captions(np.zeros((2, 3)), pictures(2), CAPTIONS[:3], np.zeros((2, 2), bool))
