import numpy as np
import pytest

from minivl.data.noise import Told
from minivl.visualize.noisy_captions import SAID, noisy_captions

GREY = np.full((8, 8, 3), 120, np.uint8)
TOLD = [
    Told("none", "a cat", "a cat"),
    Told("wrong", "a bus", "a cow"),
    Told("missing", "a dog", "a dog on the left and a key on the right"),
    Told("extra", "a bell for sale", "a bell"),
    Told("wrong", "a fish", "a zebra"),
    Told("titled", "R16 sibmission", "R16 sibmission"),
]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_each_kind_is_named_and_only_spoilt_captions_have_a_truth():
    figure = noisy_captions(np.stack([GREY] * 6), TOLD)
    shown = texts(figure)
    assert len(figure.axes) == 6
    for one in TOLD:
        mark, words, _ = SAID[one.kind]
        assert f"{mark} {words}" in shown and one.said in shown
    assert sum(text.startswith("true: ") for text in shown) == 4
    assert "true: a cow" in shown and "true: a cat" not in shown
    alt = figure.caption.alt
    assert "“a bus”: another picture's; true would be “a cow”." in alt
    assert "“R16 sibmission”: what somebody called it." in alt
    assert "“a cat”: as it should be." in alt and figure.caption.title and figure.caption.text


def test_each_row_has_two():
    heights = [
        noisy_captions(np.stack([GREY] * n), TOLD[:n]).get_figheight() for n in (1, 2, 3, 4, 5)
    ]
    assert heights[0] == heights[1] < heights[2] == heights[3] < heights[4]


def test_nothing_lies_on_anything_else():
    figure = noisy_captions(np.stack([GREY] * 6), TOLD)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_every_picture_needs_its_words():
    with pytest.raises(ValueError, match="2 pictures, but 1 captions"):
        noisy_captions(np.stack([GREY] * 2), TOLD[:1])
