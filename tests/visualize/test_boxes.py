"""Figures of boxes: the right picture in the right place, and a notebook that is redrawn."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivl.visualize.boxes import GrowingBoxes, boxes_alone, boxes_found, growing_boxes, spread
from minivl.visualize.found import Boxes, Example

LONG = "hot air balloon of a very long name"


def boxes(*rows, notes=()):
    """(name, score, x0, y0, x1, y1) each."""
    corners = np.array([row[2:] for row in rows], float).reshape(-1, 4)
    return Boxes(
        corners, tuple(row[0] for row in rows), np.array([row[1] for row in rows]), tuple(notes)
    )


TRUE = ("cat", 1, 0, 0, 4, 4), (LONG, 1, 6, 6, 10, 10)
TRUTH = boxes(*TRUE)
NONE = boxes(*[("cat", 0.02, 3, 3, 8, 8)] * 3)
HALF = boxes(("cat", 0.9, 0, 0, 4, 4), (LONG, 0.7, 1, 1, 5, 5), ("cat", 0.8, 0, 0, 4, 4))
ALL = boxes(*[(name, 0.99, *corners) for name, _, *corners in TRUE])


@pytest.fixture
def examples(pictures):
    return [Example(*one) for one in zip(pictures(3), (HALF, NONE, ALL), [TRUTH] * 3, strict=True)]


def shades(figure):
    """What each panel shows, by its place: (column, row) in inches -> the picture's value."""
    return {
        (round(axes.get_position().x0, 3), round(axes.get_position().y0, 3)):
        int(axes.images[0].get_array()[0, 0, 0])
        for axes in figure.axes if axes.images
    }  # fmt: skip


def test_each_picture_twice_and_each_group_counted(examples, texts, check_legible):
    groups = {"known": examples, "never seen": examples[:1]}
    figure = boxes_found(groups, abreast=2)
    check_legible(figure)
    told = texts(figure)
    assert "known: 3 of 6 things found, 2 boxes wrong" in told
    assert "never seen: 1 of 2 things found, 2 boxes wrong" in told
    found = shades(figure)
    assert sorted(found.values()) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert len({row for _, row in found}) == 3 and len({column for column, _ in found}) == 4
    assert "picture 2: cat not found" in figure.caption.alt
    assert "wrongly cat again 80 %" in figure.caption.alt and figure.caption.text


def test_a_row_a_picture_and_a_column_a_step(pictures, texts, check_legible):
    images = list(pictures(2))
    history = {400: [ALL, HALF], 1: [NONE, NONE], 100: [HALF, NONE]}
    figure = growing_boxes(images, history, [TRUTH, TRUTH])
    check_legible(figure)
    told = [text for text in texts(figure) if text.startswith("step")]
    assert told == ["step 1", "step 100", "step 400"], "in order"
    counts = [text for text in texts(figure) if text.endswith("of 4 found")]
    assert counts == ["0 of 4 found", "1 of 4 found", "3 of 4 found"]
    two = texts(growing_boxes(images, history, [TRUTH, TRUTH], columns=2))
    assert {"step 1", "step 400"} <= set(two) and "step 100" not in two
    found = shades(figure)
    assert len(found) == 2 * 4
    by_row = {row: {shade for (_, at), shade in found.items() if at == row} for _, row in found}
    assert [by_row[row] for row in sorted(by_row, reverse=True)] == [{0}, {1}]
    assert "step 400: 3 of 4 things found, 2 boxes wrong" in figure.caption.alt
    assert f"At the end, picture 1: cat ✓ 99 %, {LONG} ✓ 99 %" in figure.caption.alt


def test_many_steps_fit_and_a_missing_picture_is_an_error(pictures, check_legible, texts):
    history = {2**power: [HALF] for power in range(12)}
    figure = growing_boxes(pictures(1), history, [TRUTH], columns=6)
    check_legible(figure)
    assert figure.get_figwidth() < 9.3
    assert "step 1" in texts(figure) and "step 2,048" in texts(figure)
    with pytest.raises(ValueError):
        growing_boxes(pictures(2), history, [TRUTH])


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=40), st.integers(2, 8))
def test_steps_are_spread(steps, count):
    steps = sorted(steps)
    chosen = spread(steps, count)
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(steps)
    assert len(chosen) == min(count, len(steps))
    assert chosen[0] == steps[0] and chosen[-1] == steps[-1]


def test_doublings_are_not_all_from_before_anything_is_learned():
    steps = [*(2**power for power in range(11)), 2000]
    assert spread(steps, 6) == [1, 64, 256, 512, 1024, 2000]
    assert spread(steps[:10], 6) == [1, 32, 64, 128, 256, 512]


@pytest.mark.parametrize("noted", [False, True])
def test_figures_say_what_their_marks_mean(noted, examples, texts):
    notes = ["small", "red", ""] if noted else []
    image, found, truth = examples[0]
    found = Boxes(found.boxes, found.names, found.scores, tuple(notes))
    below = " ".join(texts(boxes_found({"known": [Example(image, found, truth)]})))
    assert "“Not found”: no box of that name" in below and "grey: of a thin box" in below
    assert "Orange" in below and "Red" not in below
    assert ("Behind the percentage" in below) == noted
    live = GrowingBoxes([image], [truth])
    live.add(1, [found])
    for figure in (live.picture(), growing_boxes([image], {1: [found]}, [truth])):
        assert "“Not found”: no box of that name" in " ".join(texts(figure))
    assert "how sure the model is of the name" in " ".join(texts(boxes_alone(image, found)))


# Live.


def test_outside_of_a_notebook_nothing_is_shown_and_all_is_kept(pictures, capsys, check_legible):
    live = GrowingBoxes(pictures(2), [TRUTH, TRUTH])
    live.add(10, [NONE, HALF])
    live.add(20, [HALF, ALL])
    assert live.shown is None and capsys.readouterr().out == ""
    figure = live.picture()
    check_legible(figure)
    assert "step 20: 3 of 4 things found, 2 boxes wrong" in figure.texts[0].get_text()
    curves = {line.get_label(): line for line in figure.axes[-1].lines}
    assert curves["found"].get_xdata().tolist() == [10, 20]
    assert curves["found"].get_ydata().tolist() == [1, 3]
    assert curves["wrong"].get_ydata().tolist() == [2, 2]
    assert curves["all 4 things"].get_ydata()[0] == 4
    check_legible(growing_boxes(live.images, live.history, live.truths))


def test_a_notebook_shows_one_picture_and_redraws_it(pictures, monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown[-1].append(figure)

    def display(figure, display_id):
        assert display_id is True
        shown.append([figure])
        return Handle()

    import IPython.display

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", display)
    live = GrowingBoxes(pictures(1), [TRUTH])
    for step, found in ((1, NONE), (2, HALF), (4, ALL)):
        live.add(step, [found])
    (drawn,) = shown
    assert [figure.texts[0].get_text().split(",")[0] for figure in drawn] == [
        "step 1: 0 of 2 things found",
        "step 2: 1 of 2 things found",
        "step 4: 2 of 2 things found",
    ]


def test_five_pictures_take_two_rows(pictures, check_legible):
    live = GrowingBoxes(pictures(5), [TRUTH] * 5)
    live.add(1, [HALF] * 5)
    check_legible(live.picture())
