import numpy as np

from minivl.visualize.found import Boxes
from minivl.visualize.to_find import to_find

ONE = Boxes(np.array([[1.0, 1, 6, 9]]), ("dog",), np.ones(1))
TWO = Boxes(np.array([[0.0, 0, 4, 4], [5, 5, 12, 12]]), ("cat", "tree"), np.ones(2))
NONE = Boxes(np.zeros((0, 4)), (), np.ones(0))


def test_every_thing_is_named_under_its_picture(texts, check_legible, pictures):
    figure = to_find(pictures(3), [ONE, TWO, NONE])
    check_legible(figure)
    words = texts(figure)
    assert {"1 dog", "1 cat", "2 tree"} <= set(words)
    alt = figure.caption.alt
    assert "picture 1: dog; picture 2: cat, tree; picture 3: nothing" in alt


def test_boxes_are_drawn_in_their_own_picture(pictures):
    figure = to_find(pictures(2), [ONE, TWO])
    assert [len(axes.patches) for axes in figure.axes] == [1, 2]
