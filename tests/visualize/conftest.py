"""Figures are judged without eyes: words inside the page, and no word on another."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

sys.path.insert(0, str(Path(__file__).parent))  # for `flava_toy`


def words_of(figure):
    # Numbers along an axis exist also beyond its ends, where matplotlib does not draw them.
    axes = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = {id(text) for axis in axes for tick in axis.get_major_ticks() for text in
             (tick.label1, tick.label2)}  # fmt: skip
    words = (t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible())
    return [t for t in words if id(t) not in ticks]


@pytest.fixture
def texts():
    """texts(figure) -> every visible string on it."""
    return lambda figure: [t.get_text() for t in words_of(figure)]


@pytest.fixture
def check_legible():
    """check_legible(figure) fails where words overlap, leave the page or are tiny."""

    def check(figure):
        figure.draw_without_rendering()
        words = words_of(figure)
        boxes = [t.get_window_extent() for t in words]
        page = figure.bbox
        for word, box in zip(words, boxes, strict=True):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1
            assert inside, f"{word.get_text()!r} leaves the page"
            assert word.get_fontsize() >= 8, f"{word.get_text()!r} is tiny"
        for (a, box_a), (b, box_b) in itertools.combinations(zip(words, boxes, strict=True), 2):
            across = min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0)
            down = min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0)
            assert min(across, down) < 2, f"{a.get_text()!r} overlaps {b.get_text()!r}"

    return check


@pytest.fixture
def pictures():
    """pictures(n) -> (n, 12, 12, 3) uint8, picture i filled with the value i."""
    return lambda n: np.stack([np.full((12, 12, 3), i, dtype=np.uint8) for i in range(n)])
