import itertools

import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from minivl.visualize.distillation import COLUMNS, distillation


@pytest.fixture(scope="module")
def figure():
    figure = distillation()
    figure.draw_without_rendering()
    return figure


def test_legible(figure, texts, check_legible):
    check_legible(figure)
    assert {"all crops", "running mean", "no gradient"} <= set(texts(figure))


def test_words_stay_inside_their_boxes_and_boxes_apart(figure):
    (axes,) = figure.axes
    boxes = [p.get_window_extent() for p in axes.patches if isinstance(p, FancyBboxPatch)]
    assert len(boxes) == 7
    for one, other in itertools.combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        assert min(across, min(one.y1, other.y1) - max(one.y0, other.y0)) <= 0
    held = 0
    for word in axes.texts:
        inside = word.get_window_extent()
        middle = (inside.x0 + inside.x1) / 2, (inside.y0 + inside.y1) / 2
        for around in boxes:
            if around.contains(*middle):
                held += 1
                assert around.x0 < inside.x0 and inside.x1 < around.x1, word.get_text()
                assert around.y0 < inside.y0 and inside.y1 < around.y1, word.get_text()
    assert held == 7


def test_the_running_mean_leads_from_student_to_teacher(figure):
    arrows = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    ends = [patch._posA_posB for patch in arrows]  # where matplotlib keeps both ends
    down = [(start, end) for start, end in ends if start[0] == end[0] == COLUMNS[1]]
    assert len(down) == 1 and down[0][0][1] > down[0][1][1]
    assert "running mean" in figure.caption.alt and "no gradient passes" in figure.caption.alt
