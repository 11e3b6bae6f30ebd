import pytest

from minivl.visualize.soft_rows import soft_rows

NAMES = ["a cat", "a boat", "a key"]
LABEL, TEACHER = [0, 1, 0], [0.6, 0.3, 0.1]


def lengths(axes):
    return [round(bar.get_width(), 6) for bar in axes.patches]


def starts(axes):
    return [round(bar.get_x(), 6) for bar in axes.patches]


def test_the_target_piles_the_teachers_part_on_the_labels():
    figure = soft_rows(NAMES, LABEL, TEACHER, alpha=0.4)
    label, teacher, target = figure.axes
    assert lengths(label) == LABEL and lengths(teacher) == TEACHER
    assert lengths(target) == [0, 0.6, 0, 0.24, 0.12, 0.04]
    assert starts(target)[3:] == [0, 0.6, 0]
    assert [text.get_text() for text in target.texts] == ["0.24", "0.72", "0.04"]
    assert "α = 0.4" in target.get_title(loc="left")
    assert "a boat: label 1.00, teacher 0.30, target 0.72" in figure.caption.alt
    assert figure.caption.title and figure.caption.text


@pytest.mark.parametrize(("alpha", "expected"), [(0, LABEL), (1, TEACHER)])
def test_at_the_ends_one_of_them_is_all(alpha, expected):
    target = soft_rows(NAMES, LABEL, TEACHER, alpha).axes[2]
    assert [float(text.get_text()) for text in target.texts] == expected


def test_the_first_candidate_stands_on_top():
    axes = soft_rows(NAMES, LABEL, TEACHER, 0.4).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    assert axes.yaxis_inverted()


def test_every_candidate_needs_two_shares():
    with pytest.raises(ValueError, match="3 candidates need as many shares"):
        soft_rows(NAMES, LABEL[:2], TEACHER[:2], 0.4)
