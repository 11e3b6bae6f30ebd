import numpy as np
import pytest

from minivl.visualize.named import named_pictures


def test_right_and_wrong_are_framed_and_counted(pictures, texts, check_legible):
    guesses, truths = ["dog", "cat", "a very long name indeed", "bus"], ["dog", "dog", "cat", "bus"]
    figure = named_pictures(pictures(4), guesses, truths)
    check_legible(figure)
    words = texts(figure)
    assert "Named rightly: 2 of 4 pictures (50.0 %)" in words
    marks = [axes.texts[0].get_text() for axes in figure.axes]
    assert marks == ["✓", "✗", "✗", "✓"]
    assert words.count("is: dog") == 1 and "is: cat" in words and "is: bus" not in words
    assert "cat, but it is dog" in figure.caption.alt


@pytest.mark.parametrize("n", [1, 7, 40])
def test_any_number_of_pictures(n, pictures, check_legible):
    truths = [f"thing {i % 5}" for i in range(n)]
    figure = named_pictures(pictures(n), ["thing 0"] * n, truths, shown=12)
    check_legible(figure)
    assert len(figure.axes) == min(n, 12)


def test_lengths_must_agree(pictures):
    with pytest.raises(ValueError, match="3 pictures, 2 guesses, 3 names"):
        named_pictures(pictures(3), ["a", "b"], ["a", "b", "c"])


def test_the_true_pixels_are_shown(pictures):
    figure = named_pictures(pictures(3), ["a"] * 3, ["a"] * 3)
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes]
    assert shown == [0, 1, 2] and isinstance(figure.axes[0].images[0].get_array(), np.ndarray)
