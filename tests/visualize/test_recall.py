import numpy as np
import pytest

from minivl.visualize.curves import contrastive_level
from minivl.visualize.recall import learning, recall_against

LOSSES = np.linspace(4.9, 0.5, 200).tolist()
RECALLS = {"known": {0: 0.004, 100: 0.4, 200: 0.8}, "new": {0: 0.004, 100: 0.2, 200: 0.5}}


def draw(losses=LOSSES, recalls=RECALLS):
    return learning(losses, recalls, level=contrastive_level(128), chance=1 / 256)


def curves(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_recall_stands_at_its_steps_and_losses_at_theirs():
    top, bottom = draw().axes
    known = curves(bottom)["known"]
    assert list(known.get_xdata()) == [0, 100, 200]
    assert list(known.get_ydata()) == [0.004, 0.4, 0.8]
    assert list(top.lines[0].get_xdata())[:2] == [1, 2]
    assert list(top.lines[0].get_ydata()) == LOSSES


def test_both_panels_show_what_a_guesser_reaches(texts):
    figure = draw()
    levels = [[line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
              for axes in figure.axes]  # fmt: skip
    assert levels == [[np.log(128)], [1 / 256]]
    assert {"untrained: ln 128 = 4.85", "chance: 0.39 %"} <= set(texts(figure))


def test_alt_texts_say_the_numbers():
    alt = draw().caption.alt
    assert "from 4.9 to 0.5 in 200 steps" in alt and "new: 0.4 % at 0, 20.0 % at 100" in alt
    figure = recall_against("batch size", [2, 8], {"toy": [[0.2, 0.4], [0.5, 0.7]]}, chance=0.01)
    assert "toy: 30.0 % at 2, 60.0 % at 8" in figure.caption.alt
    assert figure.caption.title == "R@1 against batch size"


@pytest.mark.parametrize("steps", [1, 10, 200])
def test_learning_is_legible(steps, check_legible):
    check_legible(draw(LOSSES[:steps], {"a pool of pictures": {0: 0.1, steps: 0.9}}))
    check_legible(draw(LOSSES[:steps], {"a pool of pictures": {0: 0.0, steps: 0.0}}))


def test_the_line_joins_the_means_and_dots_are_runs():
    runs = [[0.2, 0.4], [0.5, 0.7], [0.8, 1.0]]
    axes = recall_against("temperature", [0.01, 0.1, 1], {"toy": runs}, chance=0.002).axes[0]
    np.testing.assert_allclose(curves(axes)["toy"].get_ydata(), [0.3, 0.6, 0.9])
    dots = [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "None"]
    assert dots == [[0.2, 0.5, 0.8], [0.4, 0.7, 1.0]]
    assert axes.get_xscale() == "log"


def test_settings_are_written_as_they_are(check_legible):
    figure = recall_against("share", [0, 0.1, 0.3], {"a": [1, 1, 1], "b": [0, 0, 0]}, chance=0.002,
                            log=False)  # fmt: skip
    axes = figure.axes[0]
    assert axes.get_xscale() == "linear"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "0.1", "0.3"]
    check_legible(figure)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extremes_are_seen(value, check_legible):
    figure = recall_against("batch size", [2, 8, 32, 128], {"toy": 4 * [value]}, chance=1 / 500)
    low, high = figure.axes[0].get_ylim()
    assert low < value < high
    check_legible(figure)
