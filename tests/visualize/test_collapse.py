import math

import numpy as np
import pytest

from minivl.visualize.collapse import PANELS, collapse_curves


def lines(own, of_mean):
    return [
        {"step": step, "teacher_entropy": own, "entropy_of_mean": of_mean,
         "mutual_information": of_mean - own}
        for step in (1, 2, 3)
    ]  # fmt: skip


@pytest.fixture
def figure():
    return collapse_curves(
        {
            "healthy": lines(1.0, 4.0),
            "no centring": lines(0.0, 0.0),
            "no sharpening": [{"step": 1}],
        },
        64,
    )


def test_a_panel_a_monitor_and_a_line_a_run(figure, texts, check_legible):
    assert len(figure.axes) == len(PANELS)
    for axes, value in zip(figure.axes, (1.0, 4.0, 3.0), strict=True):
        healthy, collapsed, silent, _ = axes.lines
        assert np.allclose(healthy.get_ydata(), value) and np.allclose(collapsed.get_ydata(), 0)
        assert np.isnan(silent.get_ydata()).all()
    assert {"healthy", "no centring", "no sharpening", "step", "nats"} <= set(texts(figure))
    check_legible(figure)


def test_the_level_of_no_opinion_is_drawn(figure, texts):
    assert texts(figure).count("ln 64") == 3
    for axes in figure.axes:
        assert axes.lines[-1].get_ydata()[0] == pytest.approx(math.log(64))
        low, high = axes.get_ylim()
        assert low < 0 and high > math.log(64)


def test_the_words_tell_where_each_run_ends(figure):
    alt = figure.caption.alt
    assert "healthy: entropy of one answer 1.00, entropy of the mean answer 4.00" in alt
    assert "no sharpening: nothing logged" in alt
