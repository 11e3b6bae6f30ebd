import numpy as np
import pytest

from minivl.visualize.assignments import assignments

COST = np.array([[1, 2], [2, 9], [8, 8.0]])
WAYS = {"greedy": [(0, 0), (2, 1)], "cheapest in all": [(0, 1), (1, 0)]}


def test_sums_and_numbers_are_those_of_the_table(texts, check_legible):
    figure = assignments(COST, WAYS, ("dog", "cat"))
    check_legible(figure)
    words = texts(figure)
    assert "together 9.00" in words and "together 4.00" in words
    assert words.count("2.00") == 4 and words.count("dog") == 2
    assert "query 1 with dog, together 4.00" in figure.caption.alt


def test_frames_are_around_the_pairs():
    figure = assignments(COST, {"one": WAYS["greedy"]})
    framed = [p for p in figure.axes[0].patches if p.get_linewidth() > 2]
    assert [(int(p.get_y()), int(p.get_x())) for p in framed] == [(0, 0), (2, 1)]


def test_nobody_is_taken_twice():
    with pytest.raises(ValueError, match="twice"):
        assignments(COST, {"both": [(0, 0), (0, 1)]})


@pytest.mark.parametrize("shape", [(4, 1), (5, 4)])
def test_legible(shape, check_legible):
    cost = -10 - np.arange(np.prod(shape), dtype=float).reshape(shape)
    check_legible(assignments(cost, {"a": [(0, 0)], "b": [(1, 0)]}))
