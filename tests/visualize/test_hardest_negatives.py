import numpy as np
import pytest

from minivl.visualize.hardest_negatives import hardest_negatives, likeliest, percent

CAPTIONS = (
    "a dog on the left",
    "a cat on the left",
    "a dog on the right",
    "a cow at the top",
    "a watermelon at the top and a yellow butterfly at the bottom",
)
WEIGHTS = np.array(
    [
        [0, 0.5, 0.3, 0.198, 0.002],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0.25, 0.25, 0.25, 0, 0.25],
        [0.7, 0.1, 0.1, 0.1, 0],
    ]
)


def drawn(pictures, **options):
    options = {"rows": [0, 1, 2, 4]} | options
    return hardest_negatives(pictures(5), CAPTIONS, WEIGHTS, WEIGHTS, **options)


def test_the_likeliest_come_first_and_the_impossible_never():
    assert likeliest(WEIGHTS[0], 3) == [1, 2, 3]
    assert likeliest(WEIGHTS[1], 3) == [0]
    assert likeliest(WEIGHTS[2], 3) == []


def test_bars_are_as_long_as_the_probabilities(pictures):
    figure = drawn(pictures, rows=[0])
    bars = [axes.patches[1].get_width() for axes in figure.axes if len(axes.patches) == 2]
    assert bars == pytest.approx([0.5, 0.3, 0.198, 0.002])


def test_thumbs_are_the_likeliest_pictures(pictures):
    figure = drawn(pictures, rows=[4])
    shown = [int(axes.images[0].get_array().max()) for axes in figure.axes if axes.images]
    assert shown == [4, 0, 1, 2]


def test_words_are_legible_and_told(pictures, check_legible):
    figure = drawn(pictures)
    check_legible(figure)
    alt = figure.caption.alt
    assert "“a dog on the left”: “a cat on the left” 50 %, “a dog on the right” 30 %" in alt
    assert "1 other <1 %" in alt and "2 others" not in alt
    assert "“a dog on the right”: nobody" in alt


def test_a_small_share_is_not_rounded_to_nothing():
    assert [percent(share) for share in (0, 0.001, 0.005, 0.5)] == ["0 %", "<1 %", "<1 %", "50 %"]


@pytest.mark.parametrize(
    "weights", [np.zeros((5, 4)), np.full((5, 5), 0.3), -np.eye(5)], ids=["shape", "sum", "sign"]
)
def test_what_are_no_weights_is_refused(pictures, weights):
    with pytest.raises(ValueError, match="weights"):
        hardest_negatives(pictures(5), CAPTIONS, weights, WEIGHTS, rows=[0])
