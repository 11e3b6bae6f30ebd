import numpy as np
import pytest

from minivl.visualize.holes import GREY
from minivl.visualize.pair_holes import COLUMNS, holes_with_and_without


@pytest.fixture
def asked(pictures):
    """Two pairs whose pictures are 12 pixels wide, with 3 and 4 of 9 patches hidden."""
    hidden = [np.zeros((3, 3), dtype=bool) for _ in range(2)]
    hidden[0][0] = hidden[1][1:, 1:] = True
    drawn = [list(pictures(2) + 10 * (1 + column)) for column in range(3)]
    return list(pictures(2) + 100), ["a cat", "a dog on the left"], hidden, drawn


def test_each_pair_is_a_row_under_its_sentence(asked, texts, check_legible):
    figure = holes_with_and_without(*asked, [(1, 2), (0, 4)], (10, 30, 70))
    words = texts(figure)
    assert "Right codes with the sentence: 30 of 70 hidden patches (42.9 %)" in words
    assert "Right codes without it: 10 of 70 hidden patches (14.3 %)" in words
    assert {"“a cat”", "“a dog on the left”"} <= set(words)
    assert {title for title, _ in COLUMNS} <= set(words)
    notes = [word for word in words if word.endswith(" right")]
    assert notes == ["1 of 3 right", "2 of 3 right", "0 of 4 right", "4 of 4 right"]
    check_legible(figure)


def test_pictures_stand_in_the_order_of_the_columns(asked):
    figure = holes_with_and_without(*asked, [(0, 0), (0, 0)], (0, 0, 1))
    first = [axes.images[0].get_array()[-1, -1, 0] for axes in figure.axes]
    # The picture, with holes (its last patch hidden in the second row), then the three drawn.
    assert first == [100, 100, 10, 20, 30, 101, GREY, 11, 21, 31]
    outlined = [bool(axes.collections) for axes in figure.axes]
    assert outlined == 2 * [False, True, True, True, True]


def test_the_numbers_stand_under_what_they_count(asked):
    figure = holes_with_and_without(*asked, [(1, 2), (0, 4)], (10, 30, 70))
    (note,) = [text for text in figure.texts if text.get_text() == "1 of 3 right"]
    left = note.get_position()[0]
    assert left == pytest.approx(figure.axes[2].get_position().x0), "without the sentence"
