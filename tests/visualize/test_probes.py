import pytest

from minivl.visualize.probes import probe_bars

SHARES = {"untrained": [0.21, 0.23], "paints pixels": [0.4, 0.3], "names codes": [0.5]}


def test_bars_are_means_and_dots_are_runs():
    axes = probe_bars(SHARES, chance=1 / 48).axes[0]
    assert [patch.get_width() for patch in axes.patches] == pytest.approx([22, 35, 50])
    dots = [line.get_xdata().tolist() for line in axes.lines[:-1]]
    assert dots == [pytest.approx([21, 23]), pytest.approx([40, 30])]
    assert axes.lines[-1].get_xdata()[0] == pytest.approx(100 / 48), "guessing"
    assert axes.get_xlim()[1] > 50


def test_names_stand_at_their_bars_from_top_to_bottom(texts, check_legible):
    figure = probe_bars(SHARES, chance=1 / 48)
    check_legible(figure)
    words = texts(figure)
    assert [word for word in words if word in SHARES] == list(SHARES)
    assert "35.0 %" in words and "dotted: guessing, 2.1 %" in words
    places = {text.get_text(): text.get_position()[1] for text in figure.texts}
    assert places["untrained"] > places["paints pixels"] > places["names codes"]
    low, high = figure.axes[0].get_ylim()
    assert low > high, "the first row is above"


def test_words_say_what_the_bars_show():
    caption = probe_bars(SHARES, chance=0.5, title="k-NN").caption
    assert caption.title == "k-NN"
    assert "paints pixels: 35.0 %" in caption.alt and "Guessing: 50.0 %" in caption.alt


@pytest.mark.parametrize("shares", [{}, {"untrained": []}])
def test_nothing_measured_is_refused(shares):
    with pytest.raises(ValueError, match="nothing was measured"):
        probe_bars(shares, chance=0.1)
