import pytest

from minivl.visualize.blanks import Guess
from minivl.visualize.pair_words import Seen, words_with_and_without


def guess(rank, answer="cat"):
    words = ["dog", "cow", "bat", "rat", "pig"]
    if rank < 5:
        words[rank] = answer
    return Guess("a", "on the left", answer, tuple(words), (0.4, 0.3, 0.1, 0.05, 0.01), rank)


@pytest.fixture
def found(pictures):
    """Six pairs: four are right with the picture, one is right without."""
    ranks = [(0, 0), (0, 3), (0, 9), (0, 2), (1, 4), (30, 7)]
    return [
        Seen(image, guess(seeing), guess(blind))
        for image, (seeing, blind) in zip(pictures(6), ranks, strict=True)
    ]


def test_headlines_count_both_sides_of_all_pairs(found, texts):
    words = texts(words_with_and_without(found, shown=2))
    assert "Right with the picture: 4 of 6 captions (66.7 %)" in words
    assert "Right without the picture: 1 of 6 captions (16.7 %)" in words


def test_each_pair_has_two_lists_that_are_marked_right_or_wrong(found, texts, check_legible):
    figure = words_with_and_without(found, shown=6)
    words = texts(figure)
    assert words.count("a _____ on the left") == 6
    assert (words.count("✓"), words.count("✗")) == (5, 7)
    # The hidden word has a tick where it comes first, and its place where it is not listed.
    assert words.count("cat ✓") == 5 and words.count("cat") == 4
    assert {"✗ hidden: cat (place 10)", "✗ hidden: cat (place 31)"} <= set(words)
    check_legible(figure)


def test_half_of_the_shown_are_right_with_the_picture(found, texts):
    figure = words_with_and_without(found, shown=4)
    assert len([axes for axes in figure.axes if axes.images]) == 4
    shown = [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes if axes.images]
    assert shown == [0, 2, 4, 5], "two of the four right ones, and both wrong ones"
    assert "dog with the picture" in figure.caption.alt and "(cat)" in figure.caption.alt


def test_one_pair_is_enough(found, check_legible):
    check_legible(words_with_and_without(found[-1:]))
