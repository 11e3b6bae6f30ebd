"""What counts as found, and that each box is drawn as what it is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minivl.data.boxes import Target
from minivl.objectives.detection import box_iou
from minivl.visualize.found import (
    FOUND_KEY,
    Boxes,
    Example,
    draw_box,
    draw_found,
    draw_truth,
    hits,
    key_height,
    row_height,
    spoken,
    tally,
    told,
    verdicts,
    write_key,
    wrong_lines,
)
from minivl.visualize.style import GREEN, VERMILLION, Picture

CLASSES = ("cat", "dog", "tree")


def boxes(*rows, notes=()):
    """(name, score, x0, y0, x1, y1) each."""
    corners = np.array([row[2:] for row in rows], float).reshape(-1, 4)
    return Boxes(
        corners, tuple(row[0] for row in rows), np.array([row[1] for row in rows]), tuple(notes)
    )


TRUTH = boxes(("cat", 1, 0, 0, 4, 4), ("dog", 1, 6, 6, 10, 10))


def test_a_thing_is_found_once_by_name_and_place():
    found = boxes(
        ("cat", 0.6, 0, 0, 4, 4),  # the surer one has found it already
        ("cat", 0.9, 0, 0, 4, 3),
        ("dog", 0.9, 0, 0, 4, 4),  # another name
        ("dog", 0.8, 8, 8, 12, 12),  # another place
        ("dog", 0.3, 6, 6, 10, 8),  # just a half
    )
    assert hits(found, TRUTH).tolist() == [-1, 0, -1, -1, 1]
    said, mistakes = verdicts(found, TRUTH)
    assert said == ["✓ 90 %", "30 %"]
    assert mistakes == [("dog", "90 %"), ("dog", "80 %"), ("cat again", "60 %")]


def test_of_two_things_of_a_name_the_better_covered_is_found():
    truth = boxes(("cat", 1, 0, 0, 4, 4), ("cat", 1, 1, 0, 5, 4))
    found = boxes(("cat", 0.9, 1, 0, 5, 4), ("cat", 0.8, 1, 0, 5, 4))
    assert hits(found, truth).tolist() == [1, 0]


def test_nothing_there_nothing_found_and_no_area():
    none, flat = boxes(), boxes(("cat", 0.9, 2, 2, 2, 2))
    assert hits(none, TRUTH).shape == (0,)
    assert hits(TRUTH, none).tolist() == [-1, -1]
    assert hits(flat, TRUTH).tolist() == [-1] and hits(flat, flat).tolist() == [-1]
    image = np.zeros((12, 12, 3), np.uint8)
    assert spoken([Example(image, none, none)]) == "picture 1: nothing"


@given(st.data())
def test_no_thing_is_found_twice_and_each_hit_fits(data):
    side = st.floats(0, 1, width=32)

    def drawn(count):
        rows = []
        for _ in range(data.draw(st.integers(0, count))):
            (x0, x1), (y0, y1) = (sorted((data.draw(side), data.draw(side))) for _ in range(2))
            name = data.draw(st.sampled_from(CLASSES[:2]))
            rows.append((name, data.draw(side), x0, y0, x1 + 0.1, y1 + 0.1))
        return boxes(*rows)

    found, truth = drawn(6), drawn(4)
    which = hits(found, truth)
    taken = which[which >= 0].tolist()
    assert len(set(taken)) == len(taken)
    overlap = box_iou(torch.from_numpy(found.boxes), torch.from_numpy(truth.boxes)).numpy()
    same = np.array([[a == b for b in truth.names] for a in found.names], bool)
    good = (overlap >= 0.5) & same.reshape(overlap.shape)
    for number, thing in enumerate(which):
        assert thing < 0 or good[number, thing]
    # Whoever is left without a thing could only have had those of surer ones.
    for number in np.flatnonzero(which < 0):
        for thing in np.flatnonzero(good[number]):
            (other,) = np.flatnonzero(which == thing)
            assert found.scores[other] >= found.scores[number]


def test_only_what_is_said_counts():
    image = np.zeros((12, 12, 3), np.uint8)
    found = boxes(("cat", 0.5, 0, 0, 4, 4), ("tree", 0.5, 0, 0, 4, 4), ("dog", 0.6, 6, 6, 10, 10))
    assert tally([Example(image, found, TRUTH)] * 2) == (2, 4, 0)
    assert told([Example(image, found, TRUTH)]) == "1 of 2 things found, 0 boxes wrong"
    one_wrong = boxes(("tree", 0.51, 0, 0, 4, 4))
    assert told([Example(image, one_wrong, TRUTH)]) == "0 of 2 things found, 1 box wrong"


def test_boxes_come_from_models_and_from_files():
    lists = {"boxes": [[0, 0, 4, 4], [1, 1, 2, 2]], "scores": [0.5, 0.25], "labels": [1, 7]}
    tensors = {name: torch.tensor(values) for name, values in lists.items()}
    for found in (lists, tensors):
        one = Boxes.found(found, CLASSES, ["red", ""])
        assert one.names == ("dog", "class 7"), "more classes than names"
        assert one.boxes.tolist() == lists["boxes"] and one.scores.tolist() == [0.5, 0.25]
        assert one.called(0) == "red dog" and one.called(1) == "class 7"
    empty = Boxes.found({"boxes": [], "scores": [], "labels": []}, CLASSES)
    assert empty.boxes.shape == (0, 4)
    true = Boxes.true(Target(TRUTH.boxes, np.array([0, 1]), (12, 12)), CLASSES)
    assert true.names == TRUTH.names and true.scores.tolist() == [1, 1]


# Drawn.


@pytest.mark.parametrize("width", [3.0, 7.0, 8.9])
def test_a_key_stays_within_its_width_and_its_height(width, texts, check_legible):
    figure = Picture(figsize=(width + 0.3, 0.2 + key_height(FOUND_KEY, width)))
    write_key(figure, 0.15, 0.2, FOUND_KEY, width)
    check_legible(figure)
    assert " ".join(texts(figure)) == FOUND_KEY


@pytest.fixture
def page():
    return Picture(figsize=(4, 4))


def frames(axes):
    """Colour, dashed, alpha of the boxes on a picture."""
    return [
        (patch.get_edgecolor()[:3], patch.get_linestyle() not in ("-", "solid"), patch.get_alpha())
        for patch in axes.patches
    ]


def rgb(colour):
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def test_each_box_looks_like_what_it_is(page, pictures, texts):
    found = boxes(
        ("cat", 0.9, 0, 0, 4, 4),
        ("tree", 0.8, 6, 0, 10, 4),
        ("dog", 0.25, 6, 6, 10, 10),
    )
    draw_found(page, 0.2, 0.2, 2, Example(pictures(1)[0], found, TRUTH), wrong=2, named=True)
    thin, right, wrong = frames(page.axes[0])
    assert thin == (rgb("white"), False, pytest.approx(0.37))
    assert right == (rgb(GREEN), False, None)
    assert wrong == (rgb(VERMILLION), True, None)
    shown = texts(page)
    assert {"1", "✗", "1 cat ✓ 90 %", "2 dog 25 %", "✗ tree"} == set(shown)


def test_notes_are_said_with_what_was_found(page, pictures, texts):
    truth = boxes(("cat", 1, 0, 0, 4, 4), notes=["small red"])
    found = boxes(("cat", 0.9, 0, 0, 4, 4), ("dog", 0.8, 0, 0, 4, 4), notes=["large", "blue"])
    example = Example(pictures(1)[0], found, truth)
    draw_truth(page, 0.2, 0.2, 1.8, example)
    draw_found(page, 2.2, 0.2, 1.8, example, wrong=2)
    assert {"1 small red cat", "1 ✓ 90 %, large", "✗ blue dog"} <= set(texts(page))


def test_a_frame_surrounds_its_pixels(page, pictures):
    draw_truth(page, 0.2, 0.2, 2, Example(pictures(1)[0], TRUTH, TRUTH))
    (axes,) = page.axes
    assert [patch.get_bbox().extents.tolist() for patch in axes.patches] == [
        [-0.5, -0.5, 3.5, 3.5],
        [5.5, 5.5, 9.5, 9.5],
    ]
    draw_box(axes, [-5, 3, 40, 9], "white")
    assert axes.get_xlim() == (-0.5, 11.5) and axes.get_ylim() == (11.5, -0.5), "still the picture"


def test_marks_keep_apart_and_inside(page, pictures, check_legible):
    rows = [("tree", 0.9 - i / 100, -2, -2, 14, 14) for i in range(6)]
    example = Example(pictures(1)[0], boxes(*rows), boxes(("cat", 1, 0, 0, 1, 1)))
    draw_found(page, 0.2, 0.2, 2, example, wrong=1)
    marks = [text.get_position() for text in page.axes[0].texts]
    assert len(set(marks)) == len(marks) == 4, "a corner each, then none"
    assert all(-0.5 <= part <= 11.5 for mark in marks for part in mark)
    check_legible(page)


@pytest.mark.parametrize(
    ("count", "most", "lines"),
    [
        (0, 1, []),
        (1, 1, ["✗ tree"]),
        (2, 1, ["✗ 2 wrong"]),
        (2, 2, ["✗ tree", "✗ dog"]),
        (5, 2, ["✗ tree", "✗ 4 more wrong"]),
    ],
)
def test_mistakes_take_only_the_lines_they_may(count, most, lines, pictures):
    rows = [("dog" if i % 2 else "tree", 0.9 - i / 100, 0, 0, 4, 4) for i in range(count)]
    assert wrong_lines(Example(pictures(1)[0], boxes(*rows), TRUTH), most) == lines


def test_room_is_kept_for_every_line(pictures):
    image = pictures(1)[0]
    quiet, busy = boxes(), boxes(*[("tree", 0.9, i, 0, i + 1, 1) for i in range(9)])
    low, more, most = (
        row_height(1.2, [Example(image, found, TRUTH)], wrong)
        for found, wrong in ((quiet, 2), (busy, 1), (busy, 2))
    )
    assert low < more < most
    wide = row_height(1.2, [Example(image[:6], quiet, TRUTH)], 2)
    assert low - wide == pytest.approx(0.6), "a picture half as high"
