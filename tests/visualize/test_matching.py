import numpy as np
import pytest

from minivl.visualize.matching import matching_figure, verdicts
from minivl.visualize.style import GREEN, VERMILLION

SENTENCES = [[f"{kind} {i}" for i in range(4)] for kind in ("own", "twin", "other")]
BELIEFS = np.array([[0.9, 0.5, 0.2, 0.7], [0.9, 0.1, 0.3, 0.6], [0.1, 0.2, 0.3, 0.49]])


def rgb(colour):
    return pytest.approx([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def test_yes_is_right_for_its_own_sentence_only():
    assert verdicts(BELIEFS).tolist() == [
        [True, False, False, True],  # exactly one half is no yes
        [False, True, True, False],
        [True, True, True, True],
    ]


def test_headlines_count_each_kind_over_all_pairs(pictures, texts, check_legible):
    figure = matching_figure(pictures(4), SENTENCES, BELIEFS, shown=2)
    words = texts(figure)
    for line in (
        "Own sentence, yes: 2 of 4 pairs (50.0 %)",
        "Mirrored sentence, no: 2 of 4 pairs (50.0 %)",
        "Foreign sentence, no: 4 of 4 pairs (100.0 %)",
    ):
        assert line in words
    assert len([axes for axes in figure.axes if axes.images]) == 2
    check_legible(figure)


def test_each_belief_has_a_bar_a_number_and_a_mark(pictures, texts):
    figure = matching_figure(pictures(4)[:1], [row[:1] for row in SENTENCES], BELIEFS[:, :1])
    bars = [axes.patches[1] for axes in figure.axes if len(axes.patches) == 2]
    assert [bar.get_width() for bar in bars] == pytest.approx([0.9, 0.9, 0.1])
    colours = [bar.get_facecolor()[:3] for bar in bars]
    assert colours == [rgb(GREEN), rgb(VERMILLION), rgb(GREEN)]
    words = texts(figure)
    assert [w for w in words if w in "✓✗"] == ["✓", "✗", "✓"]
    assert words.count("90 %") == 2 and "twin 0" in words
    assert "mirrored: “twin 0” 90 %" in figure.caption.alt


def test_numbers_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="4 pictures"):
        matching_figure(pictures(4), SENTENCES, BELIEFS[:, :3])
    with pytest.raises(ValueError, match="3 pictures"):
        matching_figure(pictures(3), SENTENCES, BELIEFS[:, :3])
