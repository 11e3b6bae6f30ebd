import pytest
from matplotlib.colors import to_rgb

from minivl.evaluation.metric import proportion
from minivl.visualize.baselines import OTHERS, baselines, rows_of
from minivl.visualize.style import BLUE, INK, VERMILLION

GROUPS = {
    "definitions": [("the model", 0.2, True), ("a table", 0.4, False), ("constant", 0.05, False)],
    "captions": [("the model", 0.7, True), ("constant", 0.25, False)],
}


def bars(figure):
    """(length, colour) of each row's bar, the pale full one behind it left out."""
    return [(axes.patches[1].get_width(), axes.patches[1].get_facecolor()) for axes in figure.axes]


def test_bars_are_as_long_as_the_shares_and_the_models_are_blue():
    found = bars(baselines("Named rightly", GROUPS))
    assert [length for length, _ in found] == pytest.approx([0.2, 0.4, 0.05, 0.7, 0.25])
    expected = [BLUE, OTHERS, OTHERS, BLUE, OTHERS]
    assert [colour[:3] for _, colour in found] == [to_rgb(colour) for colour in expected]


def test_a_number_that_beats_the_model_is_red():
    figure = baselines("Named rightly", GROUPS)
    inks = {t.get_text(): t.get_color() for t in figure.texts if t.get_text().endswith(" %")}
    assert inks == {"20 %": INK, "40 %": VERMILLION, "5 %": INK, "70 %": INK, "25 %": INK}


def test_every_word_is_legible_and_the_numbers_are_told(check_legible):
    figure = baselines("Named rightly", GROUPS)
    check_legible(figure)
    assert "definitions: the model 20 %, a table 40 %, constant 5 %" in figure.caption.alt


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(value):
    with pytest.raises(ValueError, match="between 0 and 1"):
        baselines("Named rightly", {"all": [("the model", value, True)]})


def test_rows_come_from_an_evaluation_and_rivals_only_where_measured():
    metrics = {
        "glosses/mlm/accuracy": proportion(20, 100, 0.05),
        "glosses/mlm/by_neighbours": proportion(40, 100, 0.05),
        "captions/mlm/accuracy": proportion(70, 100, 0.25),
    }
    kinds = {"glosses": "definitions", "captions": "captions"}
    groups = rows_of(metrics, "mlm", kinds, by_neighbours="a table")
    assert groups["definitions"] == [
        ("the model", 0.2, True),
        ("a table", 0.4, False),
        ("always the most frequent", 0.05, False),
    ]
    assert [name for name, _, _ in groups["captions"]] == ["the model", "always the most frequent"]


def test_a_rival_that_is_never_right_has_a_row():
    metrics = {
        "a/mim/accuracy": proportion(1, 10, 0.1),
        "a/mim/by_nearest": proportion(0, 10, 0.1),
    }
    rows = rows_of(metrics, "mim", {"a": "all"}, by_nearest="copying")["all"]
    assert ("copying", 0.0, False) in rows
