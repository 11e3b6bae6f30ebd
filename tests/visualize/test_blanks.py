import pytest

from minivl.visualize.blanks import BLANK, Guess, blanks
from minivl.visualize.style import GREEN


def guess(rank, answer="cat", before="the", after="sat on a mat"):
    words = ["dog", "cow", "bat", "rat", "pig"]
    if rank < 5:
        words[rank] = answer
    return Guess(before, after, answer, tuple(words), (0.4, 0.3, 0.1, 0.05, 0.01), rank)


def test_half_of_the_texts_shown_are_right_and_the_headline_counts_all(tmp_path):
    guesses = [guess(0) for _ in range(30)] + [guess(7) for _ in range(10)]
    figure = blanks(guesses, shown=6)
    words = [text.get_text() for text in figure.texts]
    assert any("30 of 40 texts (75.0 %)" in text for text in words)
    assert "shown: 3 right, 3 wrong" in words
    assert sum(f"the {BLANK} sat" in text for text in words) == 6
    assert words.count("cat ✓") == 3 and words.count("✗ hidden: cat (place 8)") == 3
    assert len(figure.axes) == 30
    lit = [
        axes
        for axes in figure.axes
        if any(p.get_facecolor()[:3] == rgb(GREEN) for p in axes.patches)
    ]
    assert len(lit) == 3
    assert "the _____ sat on a mat" in figure.caption.alt and "(cat)" in figure.caption.alt


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_a_hidden_word_that_does_not_come_first_has_no_tick():
    figure = blanks([guess(2)], shown=1)
    words = [text.get_text() for text in figure.texts]
    assert "cat" in words and not any("✓" in word for word in words)
    (own,) = [text for text in figure.texts if text.get_text() == "cat"]
    assert own.get_color() == GREEN


def test_figures_of_different_texts_have_titles_of_their_own():
    assert blanks([guess(0)], title="Definitions").caption.title == "Definitions"
    assert blanks([guess(0)]).caption.title == "Sentences filled in"


def test_bars_are_as_long_as_the_model_is_sure():
    figure = blanks([guess(2)], shown=1)
    lengths = [axes.patches[1].get_width() for axes in figure.axes]
    assert lengths == pytest.approx([0.4, 0.3, 0.1, 0.05, 0.01])


@pytest.mark.parametrize("rank", [0, 4, 5, 1000])
def test_any_rank_and_hostile_texts_are_drawn(rank):
    figure = blanks([guess(rank, "$x$", "$" * 30, "a_b " * 60)])
    figure.canvas.draw()
    assert figure.get_figheight() < 4
