import numpy as np
import pytest

from minivl.visualize.lines import line_chart

WORDS = {"title": "Search", "xlabel": "pictures", "ylabel": "seconds"}


def test_lines_hold_their_values_and_differ_in_more_than_colour(texts):
    figure = line_chart([1, 2, 3], {"slow": [3, 6, 9], "fast": [1, 1, 1]}, **WORDS)
    slow, fast = figure.axes[0].lines
    assert slow.get_xdata().tolist() == [1, 2, 3] and slow.get_ydata().tolist() == [3, 6, 9]
    assert slow.get_linestyle() != fast.get_linestyle() and slow.get_color() != fast.get_color()
    assert {"slow", "fast", "Search", "pictures", "seconds"} <= set(texts(figure))
    assert "slow goes from 3 to 9" in figure.caption.alt


def test_axes_may_be_logarithmic():
    plain, logarithmic = (
        line_chart([1, 10], {"a": [1, 2]}, logarithmic=flag, **WORDS).axes[0]
        for flag in (False, True)
    )
    assert (plain.get_xscale(), plain.get_yscale()) == ("linear", "linear")
    assert (logarithmic.get_xscale(), logarithmic.get_yscale()) == ("log", "log")


def test_a_level_is_drawn_and_named(texts):
    figure = line_chart([1, 2], {"a": [1, 2]}, level=(0.125, "guessing"), **WORDS)
    assert set(figure.axes[0].lines[-1].get_ydata()) == {0.125}
    assert "guessing" in texts(figure)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_legible(check_legible, logarithmic):
    x = list(range(1, 40))
    series = {name: [i * (k + 1) for i in x] for k, name in enumerate(("one line", "other line"))}
    check_legible(line_chart(x, series, level=(3, "a level"), logarithmic=logarithmic, **WORDS))


def test_gaps_and_wrong_lengths():
    figure = line_chart([1, 2, 3], {"a": [np.nan, 2, 4], "b": [np.nan] * 3}, **WORDS)
    assert "a goes from 2 to 4" in figure.caption.alt and "b goes" not in figure.caption.alt
    with pytest.raises(ValueError, match="a has 2 values for 3 places"):
        line_chart([1, 2, 3], {"a": [1, 2]}, **WORDS)


def test_long_names_go_into_fewer_columns_under_the_title():
    names = ["neighbours, known artists", "neighbours, unseen artist", "attention on the thing"]
    figure = line_chart(
        [0, 1, 2], {name: [1, 2, 3] for name in names},
        level=(2, "neighbours by raw pixels, known artists"), **WORDS,
    )  # fmt: skip
    figure.canvas.draw()
    axes, page = figure.axes[0], figure.bbox
    legend, title = axes.get_legend().get_window_extent(), axes.title.get_window_extent()
    assert legend.x1 <= page.x1 and not legend.overlaps(title)
    assert axes.get_window_extent().width > 0.7 * page.width
