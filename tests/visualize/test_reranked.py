import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.visualize.reranked import before_and_after, examples, scored

GREY = np.full((8, 8, 3), 120, np.uint8)
CAPTIONS = ("a cat", "a dog", "a bus")


def texts(figure):
    return [text.get_text() for text in figure.texts]


@pytest.fixture
def figure():
    """Picture 0 is mended, 1 made wrong, 2 right both times."""
    similarity = np.array([[0.5, 0.6, 0.1], [0.1, 0.9, 0.3], [0.2, 0.1, 0.9]])
    scores = np.array([[3.0, 1.0, -100.0], [-100.0, 0.5, 1.0], [-2.0, -100.0, 4.0]])
    return before_and_after(similarity, scores, [GREY] * 3, CAPTIONS, np.eye(3, dtype=bool), top=2)


def test_the_headlines_count_both_stages_and_what_changed(figure):
    lines = texts(figure)
    assert lines[0] == "First caption right by similarity: 2 of 3 pictures (66.7 %)"
    assert lines[1] == "First caption right after fusion: 2 of 3 pictures (66.7 %)"
    assert lines[2] == "mended: 1; made wrong: 1"


def test_each_picture_has_both_rankings(figure):
    lines = texts(figure)
    assert lines.count("by similarity") == lines.count("after fusion") == 3
    start = lines.index("by similarity")
    said = [line for line in lines[start:] if line in CAPTIONS]
    assert said == ["a dog", "a cat", "a cat", "a dog", "a dog", "a bus", "a bus", "a dog",
                    "a bus", "a cat", "a bus", "a cat"]  # fmt: skip
    assert "“a cat”: “a dog” before, “a cat” after" in figure.caption.alt
    assert figure.caption.title and figure.caption.text


def test_bars_measure_what_was_scored():
    assert scored(np.array([-100.0, 2.0, 5.0, -100.0])).tolist() == [2, 2, 5, 2]
    assert scored(np.zeros(3)).tolist() == [0, 0, 0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30), count=st.integers(0, 6))
def test_examples_rise_and_none_is_shown_twice(rows, count):
    before, after = np.array(rows, dtype=bool).reshape(-1, 2).T
    chosen = examples(before, after, count)
    assert len(chosen) == min(count, len(rows)) == len(set(chosen.tolist()))
    assert (np.diff(chosen) > 0).all()


def test_rare_changes_are_shown_among_many_that_stay():
    before = np.ones(200, dtype=bool)
    after = before.copy()
    before[17], after[120] = False, False
    assert {17, 120} <= set(examples(before, after, 4).tolist())


def test_scores_of_other_shapes_are_refused():
    truth = np.eye(3, dtype=bool)
    with pytest.raises(ValueError, match="3 pictures and 3 captions"):
        before_and_after(np.zeros((3, 3)), np.zeros((3, 2)), [GREY] * 3, CAPTIONS, truth)
