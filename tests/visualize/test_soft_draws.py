import numpy as np
import pytest

from minivl.visualize.soft_draws import SHOWN, soft_draws, soft_draws_slider, winners

EVEN = np.full((20, 3), 1 / 3)
SURE = np.eye(3)[[0, 0, 0, 2]]
CHANCES = [0.6, 0.3, 0.1]


def bars(figure):
    """Shares of every bar, by its place: {(left, bottom): [widths]}."""
    return [[patch.get_width() for patch in axes.patches] for axes in figure.axes]


def test_winners_are_counted_a_draw():
    np.testing.assert_allclose(winners(SURE), [0.75, 0, 0.25])


def test_bars_are_the_probabilities_some_draws_their_mean_and_the_winners():
    draws = np.concatenate([EVEN, np.eye(3)[[1]]])
    shown = bars(soft_draws(CHANCES, {1.0: draws}))
    assert len(shown) == SHOWN + 3
    np.testing.assert_allclose(shown[0], CHANCES)
    np.testing.assert_allclose(shown[1], EVEN[0])
    np.testing.assert_allclose(shown[-2], draws.mean(axis=0))
    np.testing.assert_allclose(shown[-1], [20 / 21, 1 / 21, 0])


def test_fewer_draws_than_lines_leave_lines_empty():
    shown = bars(soft_draws(CHANCES, {0.5: SURE}))
    assert len(shown) == 1 + 4 + 2
    np.testing.assert_allclose(shown[-1], [0.75, 0, 0.25])


def test_each_temperature_has_a_column_with_its_title(texts, check_legible):
    figure = soft_draws(CHANCES, {2.0: EVEN, 1 / 16: SURE})
    check_legible(figure)
    words = texts(figure)
    assert "temperature 2" in words and "temperature 0.0625" in words
    assert words.count("mean of all draws") == 1 and "1.00" in words
    assert len({round(axes.get_position().x0, 4) for axes in figure.axes}) == 2
    assert "at temperature 2 the largest share of a draw is 0.33" in figure.caption.alt
    assert "at temperature 0.0625 the largest share of a draw is 1.00" in figure.caption.alt


def test_numbers_stand_only_where_they_fit(texts):
    assert "0.10" not in texts(soft_draws([0.9, 0.1], {1.0: np.array([[0.9, 0.1]])}))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"draws \(20, 3\) at temperature 1 of 2 codes"):
        soft_draws([0.5, 0.5], {1.0: EVEN})
    with pytest.raises(ValueError, match="k at most 7"):
        soft_draws(np.full(9, 1 / 9), {1.0: np.full((2, 9), 1 / 9)})


def test_the_slider_draws_anew_at_its_temperature():
    asked = []

    def draw(temperature):
        asked.append(temperature)
        return EVEN if temperature > 1 else SURE

    slider, view = soft_draws_slider(CHANCES, draw).children
    before = bytes(view.value)
    assert before.startswith(b"\x89PNG") and asked == [1.0]
    slider.value = 4.0
    assert asked[-1] == 4.0 and bytes(view.value) != before
    slider.value = 1.0
    assert bytes(view.value) == before
