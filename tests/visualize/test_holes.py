import numpy as np

from minivl.visualize.holes import GREY, filled_in, holed
from minivl.visualize.style import read_caption


def pictures(count, side, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def test_hidden_patches_are_grey_and_the_others_as_they_were():
    (image,) = pictures(1, 8)
    hidden = np.zeros((4, 2), dtype=bool)
    hidden[1, 0] = True
    out = holed(image, hidden)
    assert (out[2:4, :4] == GREY).all()
    out[2:4, :4] = image[2:4, :4]
    assert np.array_equal(out, image)


def test_each_picture_is_a_row_of_five_with_its_count(tmp_path):
    hidden = [np.zeros((4, 4), dtype=bool) for _ in range(3)]
    hidden[0][1:3, 1:3] = hidden[1][0, 0] = True  # the third hides nothing
    drawn = [pictures(3, 8, seed) for seed in range(3)]
    figure = filled_in(pictures(3, 16), hidden, drawn, [3, 0, 0])
    assert len(figure.axes) == 15
    words = " ".join(text.get_text() for text in figure.texts)
    assert "3 of 5 hidden patches (60.0 %)" in words and "0 of 0 right" in words
    # The outline of a block of 2 x 2 patches has eight sides, of a single patch four.
    sides = [sum(len(c.get_segments()) for c in axes.collections) for axes in figure.axes]
    assert sides == [0, 8, 8, 8, 8, 0, 4, 4, 4, 4] + [0] * 5
    figure.savefig(tmp_path / "holes.png")
    caption = read_caption(tmp_path / "holes.png")
    assert "3 of 5 hidden patches" in caption.alt and "best" in caption.text
