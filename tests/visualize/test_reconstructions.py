import numpy as np
import pytest

from minivl.visualize.reconstructions import psnr, reconstructions
from minivl.visualize.style import Caption


def test_psnr_by_hand():
    black = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    grey = black + np.uint8(51)  # a fifth of the range: 14 dB
    assert psnr(grey, black) == pytest.approx(20 * np.log10(5))
    assert psnr(black, black) == pytest.approx(20 * np.log10(510))
    both = np.stack([black[0], grey[0]])
    assert psnr(both, black) == pytest.approx(10 * np.log10(5) + 10 * np.log10(510))


def test_each_picture_stands_in_a_row_with_what_was_drawn_of_it(pictures, texts, check_legible):
    columns = [("step 100\nτ = 0.98", pictures(3) + np.uint8(7)), ("step 1,000\nτ = 0.062",
               pictures(3) + np.uint8(1))]  # fmt: skip
    figure = reconstructions(pictures(3), columns)
    check_legible(figure)
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes]
    assert shown == [0, 1, 2, 7, 8, 9, 1, 2, 3]
    assert len({round(axes.get_position().x0, 4) for axes in figure.axes}) == 3
    words = texts(figure)
    assert "31.2 dB" in words and "48.1 dB" in words and len(words) == 5
    assert "step 1,000 τ = 0.062: 48.1 dB" in figure.caption.alt


def test_captions_are_kept_and_an_empty_alt_filled(pictures):
    figure = reconstructions(pictures(1), [("a", pictures(1))], caption=Caption("T", "", "how"))
    assert figure.caption.title == "T" and figure.caption.text == "how"
    assert figure.caption.alt.startswith("1 pictures")
    figure = reconstructions(pictures(1), [], caption=Caption("T", "mine"))
    assert figure.caption.alt == "mine" and len(figure.axes) == 1


def test_pictures_of_another_shape_are_refused(pictures):
    with pytest.raises(ValueError, match="late: pictures"):
        reconstructions(pictures(3), [("late", pictures(2))])
