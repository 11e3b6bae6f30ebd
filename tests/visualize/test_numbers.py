import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from minivl.visualize.numbers import Grid, number_grids, number_texts

WEIGHTS = np.array([[0.75, 0.25], [0.5, 0.5]])


def cells(axes):
    """Face colours of the cells, row by row, without the border."""
    return [to_rgb(patch.get_facecolor()) for patch in axes.patches
            if isinstance(patch, Rectangle) and patch.get_fill()]  # fmt: skip


def test_each_number_stands_in_its_cell():
    (axes,) = number_grids([Grid("w", WEIGHTS)]).axes
    assert {(t.get_text(), *t.get_position()) for t in axes.texts} == {
        ("0.75", 0.5, 0.5), ("0.25", 1.5, 0.5), ("0.50", 0.5, 1.5), ("0.50", 1.5, 1.5),
    }  # fmt: skip
    assert axes.get_ylim() == (2, 0), "the first row is on top"


def test_larger_is_darker_and_groups_have_their_colours():
    (axes,) = number_grids([Grid("w", WEIGHTS - 0.25)]).axes
    light = [sum(colour) for colour in cells(axes)]
    assert light[1] == 3 > light[2] == light[3] > light[0]
    (axes,) = number_grids([Grid("w", WEIGHTS, groups=np.array([[0, 1], [0, 1]]))]).axes
    colours = cells(axes)
    assert colours[0] == colours[2] != colours[1] == colours[3]


def test_signs_stand_between(texts):
    grids = [Grid("a", WEIGHTS), Grid("b", WEIGHTS), Grid("c", WEIGHTS)]
    assert texts(number_grids(grids)).count("→") == 2
    assert {"×", "="} <= set(texts(number_grids(grids, signs=["×", "="])))
    with pytest.raises(ValueError, match="3 grids need 2 signs, got 1"):
        number_grids(grids, signs=["×"])


def test_legible_with_names_and_unequal_heights(check_legible):
    tall = Grid("weights of\neach query", np.random.default_rng(0).random((5, 7)),
                [f"block {i}, head 12" for i in range(5)], ["→ a ←", *"bcdefg"])  # fmt: skip
    short = Grid("a much longer title than the matrix is wide", np.array([[-12.5], [3.25]]))
    check_legible(
        number_grids([tall, short, Grid("c", WEIGHTS, ["one", "two"])], signs=["×", "and"])
    )


def test_short_matrices_stand_in_the_middle():
    tall, short = number_grids([Grid("a", np.ones((5, 1))), Grid("b", np.ones((1, 1)))]).axes
    middles = [axes.get_position().y0 + axes.get_position().height / 2 for axes in (tall, short)]
    assert middles[0] == pytest.approx(middles[1])


def test_numbers_of_a_matrix_are_rounded_alike():
    assert number_texts(np.array([[3.0000001, -0.0]]), 2) == [["3", "0"]]
    mixed = number_texts(np.array([[0.756, -0.001], [2, -1.5]]), 2)
    assert mixed == [["0.76", "0.00"], ["2.00", "-1.50"]]


def test_alt_text_reads_the_rows():
    figure = number_grids([Grid("the\nweights", WEIGHTS)], title="Two tokens")
    assert "the weights: 0.75, 0.25 / 0.50, 0.50" in figure.caption.alt
    assert figure.caption.title == "Two tokens"
