import numpy as np
import pytest

from minivl.visualize.directions import shared_out, two_directions

HAND = np.log([[3.0, 3.0], [1.0, 1.0]])


def test_rows_and_columns_of_the_hand_example():
    np.testing.assert_allclose(shared_out(HAND, 1), [[1 / 2, 1 / 2], [1 / 2, 1 / 2]])
    np.testing.assert_allclose(shared_out(HAND, 0), [[3 / 4, 3 / 4], [1 / 4, 1 / 4]])


def test_large_logits_do_not_overflow():
    np.testing.assert_allclose(shared_out(np.array([[1000.0, 0.0]]), 1), [[1.0, 0.0]])


def test_every_number_and_both_losses_are_written(texts):
    words = texts(two_directions(HAND))
    assert words.count("1.10") == 2 and words.count("0.00") == 2
    assert words.count("0.50") == 4 and words.count("0.75") == words.count("0.25") == 2
    assert "mean of −ln framed: 0.693" in words and "mean of −ln framed: 0.837" in words


def test_the_diagonal_is_framed_in_each_panel():
    for axes in two_directions(np.zeros((3, 3))).axes:
        centres = {tuple(np.round(np.add(p.get_xy(), 0.46), 6)) for p in axes.patches}
        assert centres == {(0, 0), (1, 1), (2, 2)}


def test_alt_text_tells_the_directions_apart():
    alt = two_directions(HAND).caption.alt
    assert "0.50 and 0.50 of the rows" in alt and "0.75 and 0.25 of the columns" in alt


@pytest.mark.parametrize("n", [2, 3, 4])
def test_legible(n, check_legible):
    check_legible(two_directions(-10 * np.random.default_rng(0).normal(size=(n, n))))


@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (5, 5)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="n from 2 to 4"):
        two_directions(np.zeros(shape))
