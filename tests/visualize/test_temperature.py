import numpy as np
import pytest

from minivl.visualize.style import GREEN
from minivl.visualize.temperature import (
    closest,
    row_at_temperatures,
    softmax,
    temperature_slider,
)

CAPTIONS = [f"caption number {i}, not a short one, on the left" for i in range(40)]
COSINES = np.linspace(0.9, -0.9, 40)


def draw(pictures, temperatures=(1.0, 0.07, 0.01), true=2):
    return row_at_temperatures(pictures(1)[0], CAPTIONS, COSINES, true, temperatures)


def test_softmax_by_hand_and_without_overflow():
    np.testing.assert_allclose(softmax(np.log([3.0, 1.0]), 1.0), [0.75, 0.25])
    np.testing.assert_allclose(softmax(np.log([3.0, 1.0]), 0.5), [0.9, 0.1])
    np.testing.assert_allclose(softmax(np.array([1.0, 0.0]), 1e-6), [1.0, 0.0])


def test_best_first_and_the_true_one_always():
    assert closest(COSINES, 1) == [0, 1, 2, 3, 4]
    assert closest(COSINES, 30) == [0, 1, 2, 3, 30]
    assert closest(np.zeros(6), 0, 3) == [1, 2, 0], "a tie is no success"
    assert closest(np.array([0.1, 0.2]), 0) == [1, 0]


def test_shares_of_the_shown_and_of_the_others_add_to_one(pictures, texts):
    for temperature in (1.0, 0.07):
        figure = draw(pictures, [temperature])
        numbers = [float(t) for t in texts(figure) if t.replace(".", "").isdigit()]
        assert len(numbers) == 6 and sum(numbers) == pytest.approx(1.0, abs=0.03)
        assert "the other 35 together" in texts(figure)


def test_a_low_temperature_gives_all_to_the_closest(pictures, texts):
    words = texts(draw(pictures, [1e-4], true=0))
    assert words.count("1.00") == 1 and words.count("0.00") == 5


def test_only_the_true_one_is_green(pictures):
    words = {t.get_text(): t.get_color() for t in draw(pictures).texts}
    green = [text for text, colour in words.items() if colour == GREEN]
    assert len(green) == 1 and green[0].startswith("✓ caption number 2")


def test_legible(pictures, check_legible):
    check_legible(draw(pictures))
    check_legible(draw(pictures, [0.123456], true=39))


def test_alt_text_names_the_true_share(pictures):
    share = softmax(COSINES, 0.07)[2]
    assert f"gets {share:.2f} at temperature 0.07" in draw(pictures).caption.alt


def test_shapes_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="3 captions, 40 cosines"):
        row_at_temperatures(pictures(1)[0], CAPTIONS[:3], COSINES, 0, [1.0])
    with pytest.raises(ValueError, match="above 0"):
        draw(pictures, [0.0])


def test_the_slider_redraws(pictures):
    widget = temperature_slider(pictures(1)[0], CAPTIONS, COSINES, 2)
    slider, view = widget.children
    assert slider.value == pytest.approx(0.07)
    before = bytes(view.value)
    assert before.startswith(b"\x89PNG")
    slider.value = 0.5
    assert bytes(view.value).startswith(b"\x89PNG") and bytes(view.value) != before
    slider.value = 0.07
    assert bytes(view.value) == before
