import numpy as np
import pytest

from minivl.visualize.picture_words import picture_words


@pytest.fixture
def tiles():
    """Tile i: 2 x 2 pixels of brightness 10 i, its first pixel white."""
    found = np.repeat(np.arange(20, dtype=np.uint8) * 10, 12).reshape(20, 2, 2, 3)
    found[:, 0, 0] = 255
    return found


def test_words_are_numbers_on_their_tiles(pictures, tiles, texts, check_legible):
    tokens = np.array([[3, 0, 19], [7, 7, 1]])
    figure = picture_words(pictures(1)[0], tokens, tiles, pictures(2)[1])
    check_legible(figure)
    image, drawn, mosaic = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    assert image.max() == 0 and drawn.min() == 1
    assert mosaic.shape == (4, 6, 3)
    assert mosaic[1, :, 0].tolist() == [30, 30, 0, 0, 190, 190]
    assert mosaic[2, :, 0].tolist() == [255, 70, 255, 70, 255, 10]
    words = texts(figure)
    assert [word for word in words if word.isdigit()] == ["3", "0", "19", "7", "7", "1"]
    assert "2 × 3 words of 20: 26 bits" in words
    assert "5 different codes" in figure.caption.alt


def test_numbers_that_do_not_fit_are_left_out(pictures, tiles, texts, check_legible):
    figure = picture_words(pictures(1)[0], np.zeros((32, 32), dtype=int), tiles, pictures(1)[0])
    check_legible(figure)
    assert "numbers left out" in texts(figure) and "0" not in texts(figure)
