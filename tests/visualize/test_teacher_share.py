import math

import pytest

from minivl.visualize.teacher_share import teacher_share

ALPHAS = (0, 0.4, 1)
RECALLS, ENTROPIES = [[0.3, 0.5], [0.6, 0.8], [0.0, 0.02]], [[1, 2], [2, 3], [4, 4]]


def drawn(**changed):
    asked = {"alphas": ALPHAS, "recalls": RECALLS, "entropies": ENTROPIES}
    return teacher_share(**asked | changed, chance=0.002, candidates=100)


def line(axes):
    return axes.get_lines()[0].get_ydata().tolist()


def test_lines_join_the_means_and_dots_are_runs():
    figure = drawn()
    above, below = figure.axes
    assert line(above) == pytest.approx([0.4, 0.7, 0.01])
    assert line(below) == pytest.approx([1.5, 2.5, 4])
    for axes, runs in ((above, RECALLS), (below, ENTROPIES)):
        dots = [one.get_ydata().tolist() for one in axes.get_lines()[1:3]]
        assert dots == [list(one) for one in zip(*runs, strict=True)]
    assert [tick.get_text() for tick in below.get_xticklabels()] == ["0", "0.4", "1"]


def test_what_says_nothing_is_marked():
    figure = drawn()
    levels = [one.get_ydata()[0] for axes in figure.axes for one in axes.get_lines()[3:]]
    assert levels == pytest.approx([0.002, math.log(100)])
    assert "ln 100 = 4.61" in figure.axes[1].texts[0].get_text()
    assert figure.axes[1].get_ylim()[1] > math.log(100)


def test_the_words_say_the_numbers():
    caption = drawn().caption
    assert "70.0 % at 0.4" in caption.alt and "4.00 at 1" in caption.alt
    assert caption.title and caption.text


@pytest.mark.parametrize("changed", [{"alphas": (0, 1)}, {"entropies": [[1], [2], [4]]}])
def test_every_run_has_both(changed):
    with pytest.raises(ValueError, match="as many rows of runs"):
        drawn(**changed)
