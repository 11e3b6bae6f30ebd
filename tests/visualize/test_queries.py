"""Each query with its own box and map; each word with its own bar."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from minivl.visualize.found import Boxes, Example
from minivl.visualize.queries import Looked, asked_where, query_attention
from minivl.visualize.style import GREEN, VERMILLION

TRUTH = Boxes(np.array([[0.0, 0, 6, 6]]), ("cat",), np.ones(1))


def example(image, scores, names):
    corners = np.array([[0.0, 0, 6, 6]] * len(scores))
    return Example(image, Boxes(corners, tuple(names), np.array(scores)), TRUTH)


def peaks(count, grid=4):
    """One map a query, bright in another cell each."""
    maps = np.full((count, grid, grid), 0.01)
    for number in range(count):
        maps[number, number // grid, number % grid] = 1.0
    return maps


def brightest(axes):
    """The cell of a 4 by 4 grid where a panel is brightest."""
    shown = axes.images[0].get_array().astype(float).sum(axis=2)
    cells = shown.reshape(4, shown.shape[0] // 4, 4, -1).mean(axis=(1, 3))
    return divmod(int(cells.argmax()), 4)


def test_the_surest_come_first_each_with_its_own_map(pictures, texts, check_legible):
    scores, names = [0.1, 0.9, 0.7, 0.3], ["dog", "cat", "cat", "cat"]
    figure = query_attention(example(pictures(1)[0], scores, names), peaks(4))
    check_legible(figure)
    told = [text for text in texts(figure) if text.startswith("query")]
    assert told == ["query 2: 90 %", "query 3: 70 %", "query 4", "query 1"]
    assert [brightest(axes) for axes in figure.axes[1:]] == [(0, 1), (0, 2), (0, 3), (0, 0)]
    said = [text for text in texts(figure) if text[0] in "✓✗n"]
    assert said == ["✓ cat", "✗ cat", "nothing", "nothing"]
    colours = [axes.patches[0].get_edgecolor()[:3] for axes in figure.axes[1:]]
    assert colours == [to_rgb(GREEN), to_rgb(VERMILLION), (1, 1, 1), (1, 1, 1)]
    for axes in figure.axes[1:]:
        (frame,) = axes.patches
        assert frame.get_bbox().extents.tolist() == [-0.5, -0.5, 5.5, 5.5], "the picture's pixels"
        assert axes.images[0].get_extent() == [-0.5, 11.5, 11.5, -0.5]
    assert "query 2 ✓ cat 90 %" in figure.caption.alt and figure.caption.text


def test_of_many_queries_some_are_shown(pictures, check_legible):
    scores = np.linspace(0, 1, 16)
    figure = query_attention(example(pictures(1)[0], scores, ["cat"] * 16), peaks(16), shown=7)
    check_legible(figure)
    assert len(figure.axes) == 1 + 7


def test_a_low_picture_keeps_its_shape(pictures, check_legible):
    low = np.zeros((6, 12, 3), np.uint8)
    figure = query_attention(example(low, [0.9], ["cat"]), peaks(1)[:, :2])
    check_legible(figure)
    width, height = figure.axes[1].get_window_extent().size
    assert width == pytest.approx(2 * height)


# A question.


def looked(image, blocks=2, words=("[CLS]", "where", "is", "the", "cat", "[SEP]")):
    maps = peaks(blocks) / peaks(blocks).sum() / 2
    said = np.tile(np.arange(1.0, len(words) + 1) / 100, (blocks, 1))
    said[-1] = said[-1][::-1] * 2
    return Looked(image, "where is the cat", words, "left", 0.93, ("left",), maps, said, soft=True)


def bars(axes):
    return [patch.get_width() for patch in axes.patches]


def test_words_and_bars_stand_side_by_side(pictures, texts, check_legible):
    figure = asked_where([looked(pictures(1)[0])])
    check_legible(figure)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 3 and [brightest(axes) for axes in shown[1:]] == [(0, 0), (0, 1)]
    words, first, second = (axes for axes in figure.axes if not axes.images)
    assert [text.get_text() for text in words.texts][1] == "where"
    assert words.get_position().y0 == first.get_position().y0 == second.get_position().y0
    assert words.get_ylim() == first.get_ylim()
    assert [text.get_text() for text in first.texts] == [f"{n} %" for n in range(1, 7)]
    longest = max(bars(second))
    assert np.array(bars(first)) / longest == pytest.approx(np.arange(1, 7) / 12)
    assert np.array(bars(second)) / longest == pytest.approx(np.arange(6, 0, -1) / 6)
    told = texts(figure)
    assert "words 21 %" in told and "words 42 %" in told and "says left (93 %) ✓" in told
    assert "block 2: picture 25 %, of the words most to “[CLS]” 12 %" in figure.caption.alt


def test_a_share_that_rounds_to_nothing_is_not_written(pictures):
    one = looked(pictures(1)[0])
    one.said[0, 2] = 0.004
    figure = asked_where([one])
    _, first, _ = (axes for axes in figure.axes if not axes.images)
    assert [text.get_text() for text in first.texts] == ["1 %", "2 %", "4 %", "5 %", "6 %"]


def test_a_wrong_answer_is_told_with_the_true_ones(pictures, texts):
    wrong = replace(looked(pictures(1)[0]), answer="right", right=("left", "top left"))
    figure = asked_where([wrong], title="verdicts")
    (line,) = [text for text in figure.texts if text.get_text().startswith("says")]
    assert line.get_text() == "says right (93 %) ✗ true: left or top left"
    assert line.get_color() == VERMILLION and figure.caption.title == "verdicts"


def below(figure, texts):
    """The last lines of a figure, in one."""
    return " ".join(texts(figure)).replace("\u00a0", " ")


def test_queries_say_what_their_marks_mean(pictures, texts):
    figure = query_attention(example(pictures(1)[0], [0.9], ["cat"]), peaks(1))
    told = below(figure, texts)
    assert "in the last block" in told and "Peak: the brightest cell" in told and "Frame:" in told
    assert "A map is a hint, no proof." in told


def test_questions_and_claims_say_what_their_marks_mean(pictures, texts, check_legible):
    asked = looked(pictures(1)[0])
    words = replace(looked(pictures(1)[0], words=("[CLS]",)), said=np.full((2, 1), 0.5))
    claim = replace(words, answer="neutral", right=("entailment",), soft=False)
    for one, is_claim in ((asked, False), (claim, True)):
        figure = asked_where([one])
        check_legible(figure)
        told = below(figure, texts)
        assert ("a yes or no of its own" in told) != is_claim
        assert ("of 100 % for all answers together" in told) == is_claim
        assert ("Grey in a picture: a part is hidden" in told) == is_claim
        assert ("the decoder sees only [CLS]" in told) == is_claim
        assert "A map is a hint, no proof." in told
    # What the task is decides how shares are read, not what its answers are called.
    assert "a yes or no of its own" in below(asked_where([replace(claim, soft=True)]), texts)
    assert "for all answers together" in below(asked_where([replace(asked, soft=False)]), texts)
    # `show` of one question cuts off the empty place beside it.
    right = max(text.get_window_extent().x1 for text in figure.texts)
    assert right < 0.55 * figure.bbox.x1
    four = asked_where([asked] * 4)
    assert max(text.get_window_extent().x1 for text in four.texts) > 0.8 * four.bbox.x1


@pytest.mark.parametrize("blocks", [1, 2, 3, 6, 12])
def test_questions_of_any_depth_and_length_fit(blocks, pictures, check_legible):
    words = ("[CLS]", *["incomprehensibilities"] * 14, "[SEP]")
    one = replace(looked(pictures(1)[0], blocks, words), question="where is it " * 20)
    few = looked(pictures(1)[0], blocks, ("[CLS]",))
    figure = asked_where([one, few, few])
    check_legible(figure)
    assert figure.get_figwidth() < 9.3
