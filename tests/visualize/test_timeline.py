import pytest

from minivl.visualize.timeline import timeline, when

EVENTS = (
    ("late", 2021, 3, "dual encoder", "400 million\npairs"),
    ("early", 2021, 2, "dual encoder", "more pairs,\nand noisier"),
    ("alone", 2018, 10, "one modality", "a note"),
    ("third", 2022, 1, "encoder-decoder", "queries for\nmany tasks"),
)


def dots(axes):
    """Places of the dots, in the order in which they were drawn."""
    return [tuple(points.get_offsets()[0]) for points in axes.collections]


def test_dots_stand_at_their_months_and_lanes():
    (axes,) = timeline(EVENTS).axes
    (early, late, alone, third) = dots(axes)
    assert third[0] - early[0] == pytest.approx(2.0 * 11 / 12)  # two inches a year
    assert late[0] - early[0] == pytest.approx(2.0 / 12)
    assert early[1] == late[1] > alone[1] > third[1], "lanes in the order in which they come"


def test_neighbours_of_a_lane_write_above_and_below():
    (axes,) = timeline(EVENTS).axes
    height = {text.get_text(): text.get_position()[1] for text in axes.texts}
    lane = dots(axes)[0][1]
    assert height["early"] > lane > height["late"]


def test_years_stand_at_their_first_of_january(texts):
    figure = timeline(EVENTS)
    assert {"2019", "2020", "2021", "2022"} <= set(texts(figure))
    assert "2018" not in texts(figure) and "2023" not in texts(figure)
    assert when(2021, 1) == pytest.approx(2021 + 0.5 / 12)


def test_legible_with_names_close_together(check_legible):
    check_legible(timeline(EVENTS))
    check_legible(timeline(EVENTS[2:3]))


def test_the_courses_timeline_is_legible(check_legible):
    from minivl.course.published import milestones

    figure = timeline(milestones())
    check_legible(figure)
    assert "dual and fusion: ALBEF 2021-07, FLAVA 2021-12" in figure.caption.alt
