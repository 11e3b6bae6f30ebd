"""Diagrams: every word inside its box, no box on another, arrows where they are meant to be."""

import itertools

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from minivl.visualize.blocks import block_orders
from minivl.visualize.diagram import arrow, box, canvas, pale
from minivl.visualize.families import families
from minivl.visualize.style import BLUE, Picture

SENTENCE = "a slice of cake on the left and a bowl of noodles on the right"


def boxes_of(axes):
    return [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]


@pytest.fixture(params=["families", "blocks"])
def diagram(request, pictures):
    return families(pictures(1)[0], SENTENCE) if request.param == "families" else block_orders()


def test_legible(diagram, check_legible):
    check_legible(diagram)


def test_words_stay_inside_their_boxes_and_boxes_apart(diagram):
    diagram.draw_without_rendering()
    found = 0
    for axes in diagram.axes:
        extents = [patch.get_window_extent() for patch in boxes_of(axes)]
        for one, other in itertools.combinations(extents, 2):
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            down = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(across, down) <= 0
        for word in axes.texts:
            inside = word.get_window_extent()
            middle = ((inside.x0 + inside.x1) / 2, (inside.y0 + inside.y1) / 2)
            around = [e for e in extents if e.contains(*middle)]
            for extent in around:
                found += 1
                assert extent.x0 < inside.x0 and inside.x1 < extent.x1, word.get_text()
                assert extent.y0 < inside.y0 and inside.y1 < extent.y1, word.get_text()
    assert found >= 8


def test_families_show_the_picture_and_the_sentence_three_times(pictures, texts):
    figure = families(pictures(3)[2], SENTENCE)
    shown = [axes.images[0].get_array() for axes in figure.findobj() if getattr(axes, "images", 0)]
    assert len(shown) == 3 and all((image == 2).all() for image in shown)
    assert sum(text.startswith("“a slice of") for text in texts(figure)) == 3
    for title in ("Dual encoder", "Fusion encoder", "Encoder-decoder"):
        assert title in texts(figure) and title in figure.caption.alt


def test_norms_stand_in_the_branch_or_on_the_road():
    pre, post = block_orders().axes
    place = {
        axes: {word.get_text(): word.get_position() for word in axes.texts} for axes in (pre, post)
    }
    for number, layer in ((1, "attention"), (2, "mlp")):
        assert place[pre][f"norm{number}"][0] == place[pre][layer][0]
        assert place[pre][f"norm{number}"][1] < place[pre][layer][1]
        assert place[post][f"norm{number}"][0] < place[post][layer][0]
        assert place[post][f"norm{number}"][1] > place[post][layer][1]


def test_canvas_measures_in_inches():
    figure = Picture(figsize=(4, 3), dpi=100)
    axes = canvas(figure, 1, 0.5, 2, 2)
    assert np.allclose(axes.transData.transform([(0, 0), (2, 2)]), [[100, 50], [300, 250]])


def test_an_arrow_goes_through_its_points():
    axes = canvas(Picture(figsize=(2, 2)), 0, 0, 2, 2)
    arrow(axes, [(0, 0), (0, 1), (1, 1)])
    (line,) = axes.lines
    assert np.transpose(line.get_data()).tolist() == [[0, 0], [0, 1]]
    (head,) = (patch for patch in axes.patches if isinstance(patch, FancyArrowPatch))
    reach = head.get_path().get_extents()
    assert np.allclose((reach.x0, reach.x1), (0, 1), atol=0.03)
    assert np.allclose((reach.y0 + reach.y1) / 2, 1, atol=0.01)
    box(axes, (1, 1), (0.5, 0.2), "here", BLUE)
    assert np.allclose(boxes_of(axes)[-1].get_bbox().bounds, (0.75, 0.9, 0.5, 0.2))


def test_pale_is_between_white_and_the_colour():
    assert pale(BLUE, 0) == (1, 1, 1)
    assert np.allclose(pale(BLUE, 1), (0, 0x72 / 255, 0xB2 / 255))
