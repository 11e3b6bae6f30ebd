import numpy as np
import pytest

from minivl.visualize.found import Boxes
from minivl.visualize.query_places import query_places

BOXES = np.array([[0, 0, 10, 10], [20, 20, 60, 60], [0, 0, 0, 0]], float)


def told(scores, boxes=BOXES):
    return Boxes(boxes, ("dog",) * len(boxes), np.array(scores))


def test_only_what_is_believed_is_drawn():
    figure = query_places([told([0.9, 0.8, 0.1]), told([0.2, 0.8, 0.1])], 64)
    dots = [[len(c.get_offsets()) for c in axes.collections] for axes in figure.axes]
    assert dots == [[1, 0], [0, 2], [0, 0]]
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[5 / 64, 5 / 64]]


def test_words_say_how_often_and_where(texts):
    figure = query_places([told([0.9, 0.8, 0.1]), told([0.2, 0.8, 0.1])], 64)
    assert "speaks in 50 %" in texts(figure) and "speaks in 100 %" in texts(figure)
    assert "query 2 speaks in 100 %, its middle at 0.62, 0.62" in figure.caption.alt
    assert "query 3 never speaks" in figure.caption.alt
    below = " ".join(texts(figure))
    assert "Orange: large, a quarter of the picture's area" in below
    assert "“Speaks in”: the share of pictures" in below


@pytest.mark.parametrize("queries", [1, 6, 12, 13])
def test_legible(queries, check_legible):
    boxes = np.random.default_rng(0).uniform(0, 64, (queries, 4))
    check_legible(query_places([told(np.linspace(0, 1, queries), boxes)] * 3, 64))
