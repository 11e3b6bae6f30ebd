import pytest

from minivl.visualize.trade import Measured, trade_off

POINTS = [
    Measured("patch 4", 8.0, 0.62, 0.55, 0.69),
    Measured("patch 8", 1.0, 0.60, 0.53, 0.67),
    Measured("patch 16", 0.4, 0.35, 0.28, 0.42),
]


def test_points_stand_at_cost_and_share(texts, check_legible):
    figure = trade_off(POINTS, chance=1 / 12, cost="ms a picture")
    check_legible(figure)
    (axes,) = figure.axes
    placed = [tuple(bars[0].get_xydata()[0]) for bars in axes.containers]
    assert placed == [(p.cost, 100 * p.value) for p in POINTS]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "ms a picture"
    assert {"patch 4", "patch 8", "patch 16", "guessing"} <= set(texts(figure))
    assert "patch 16: 35 % at 0.4" in figure.caption.alt


def test_intervals_are_drawn():
    (axes,) = trade_off(POINTS[:1], chance=0.1, cost="s").axes
    (segment,) = axes.containers[0][2][0].get_segments()
    assert segment[:, 1] == pytest.approx([55, 69])


def test_no_cost_no_place():
    with pytest.raises(ValueError, match="above 0"):
        trade_off([Measured("free", 0.0, 0.5, 0.4, 0.6)], chance=0.1, cost="s")
