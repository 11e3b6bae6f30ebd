import json
import re

import pytest
import torch

from minivl.errors import UserError
from minivl.visualize.blanks import Guess
from minivl.visualize.hide_a_word import (
    LONGEST,
    WIDEST,
    broken,
    every_word,
    guesses,
    hide_a_word,
    room,
)
from minivl.visualize.style import GREEN, VERMILLION

VOCAB = ("[MASK]", "a", "dog", "cat", "sleeps", "runs")


def guess(answer="dog", rank=0, words=("dog", "cat", "cow", "rat", "pig")):
    return Guess("", "", answer, tuple(words), (0.5, 0.2, 0.1, 0.05, 0.01), rank)


def data_of(html):
    return json.loads(re.search(r"^const data = (.*);$", html, re.MULTILINE)[1])


def test_guesses_by_hand():
    scores = torch.tensor([[0.0, 3, 1, 2, 0, 0], [0, 0, 2, 3, 1, 0]])
    first, second = guesses(scores, [1, 2], VOCAB, top=3)
    assert (first.answer, first.words, first.rank) == ("a", ("a", "cat", "dog"), 0)
    assert (second.answer, second.words, second.rank) == ("dog", ("cat", "dog", "sleeps"), 1)
    assert first.shares == pytest.approx(scores[0].softmax(0)[[1, 3, 2]].tolist())


def test_equal_scores_know_nothing_and_a_small_vocabulary_is_shown_whole():
    (only,) = guesses(torch.zeros(1, 3), [1], VOCAB, top=5)
    assert only.rank == 2 and len(only.words) == 3


def test_one_row_of_scores_a_word():
    with pytest.raises((ValueError, RuntimeError)):
        guesses(torch.zeros(2, 6), [1, 2, 3], VOCAB)


def test_the_data_hold_each_word_and_its_guesses():
    viewer = hide_a_word([[guess(), guess("cat", 1)], [guess("<b>", 9)]])
    sentences = data_of(viewer.html)["sentences"]
    assert [[one["word"] for one in sentence] for sentence in sentences] == [
        ["dog", "cat"],
        ["<b>"],
    ]
    assert sentences[0][1]["rank"] == 1 and sentences[0][0]["shares"][0] == 0.5
    assert "<b>" not in viewer.html.split("const data")[1].split("\n")[0], "it would end the script"


def test_the_still_marks_what_is_found_and_what_is_missed(check_legible):
    figure = every_word([[guess(), guess("cat", 1), guess("owl", 40)]])
    check_legible(figure)
    looks = {text.get_text(): text.get_color() for text in figure.texts}
    assert looks["dog ✓"] == looks["cat ✓"] == GREEN
    assert looks["owl"] == VERMILLION
    assert any("1 of 3 words (33.3 %)" in text for text in looks)
    assert "owl (dog, cat, cow)" in figure.caption.alt


def test_long_sentences_are_broken_and_long_words_cut(check_legible):
    sentence = [guess("incomprehensibilities" if i == 3 else "dog", i % 6) for i in range(30)]
    lines = broken(sentence)
    assert sum(lines, []) == sentence and len(lines) > 1
    assert all(sum(map(room, line)) <= WIDEST for line in lines)
    figure = every_word([sentence, sentence[:1]])
    check_legible(figure)
    assert all(len(text.get_text()) <= LONGEST + 2 for text in figure.texts[2:])


@pytest.mark.parametrize("sentences", [[], [[]], [[guess()], []]])
def test_nothing_to_hide(sentences):
    with pytest.raises(UserError, match="no word to hide"):
        hide_a_word(sentences)
