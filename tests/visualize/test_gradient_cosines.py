import numpy as np
import pytest

from minivl.visualize.gradient_cosines import gradient_cosines, told

NAMES = ("scene-detection", "scene-vqa", "gloss-kinds")
MATRIX = np.array([[0.9, 0.4, -0.3], [0.4, 0.8, 0.0], [-0.3, 0.0, 0.7]])


def test_words_name_the_extremes():
    words = told(MATRIX, NAMES)
    assert "most alike are scene-detection and scene-vqa with 0.40" in words
    assert "least alike scene-detection and gloss-kinds with -0.30" in words
    assert "0.80 on average" in words
    assert told(MATRIX[:1, :1], NAMES[:1]) == "with itself 0.90"


def test_each_cell_says_its_number(texts, check_legible):
    figure = gradient_cosines({"at the start": MATRIX, "at the end": MATRIX.T}, NAMES)
    check_legible(figure)
    words = texts(figure)
    assert words.count("0.40") == 4 and words.count("-0.30") == 4
    assert "scene-vqa 2" in words


def test_eight_tasks_are_legible(check_legible):
    names = [f"scene-sentences {n}" for n in range(8)]
    check_legible(gradient_cosines({"a": np.eye(8), "b": -np.eye(8)}, names))


def test_what_is_no_cosine_is_refused():
    with pytest.raises(ValueError, match="3 tasks"):
        gradient_cosines({"a": MATRIX[:2]}, NAMES)
    with pytest.raises(ValueError):
        gradient_cosines({"a": 3 * MATRIX}, NAMES)
