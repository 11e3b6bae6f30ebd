"""Texts as ALBEF's code prepares them: hand cases from its dataset/utils.py and tokenizer."""

import pytest
import torch

from minivl.data.official_text import (
    OfficialWordPiece,
    official_masks,
    pre_caption,
    pre_question,
)
from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.errors import UserError


@pytest.mark.parametrize(
    ("text", "cleaned"),
    {
        "A man's dog, (brown); it runs!": "a mans dog brown it runs",
        'two-tone/red "car" #5: 100% ~ new*': "two tone red car 5 100% new",
        "<person> and <PERSON> sit": "person and person sit",
        "  many   spaces \n\n here\t\there \n": "many spaces here here",
        "a -- b": "a b",
        "line\n": "line",
        "end \n ": "end",
        "a\nb": "a\nb",
        "": "",
        "?!": "",
        "Épée & $": "épée & $",
    }.items(),
)
def test_pre_caption(text, cleaned):
    assert pre_caption(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    {
        "What's in the man's hand?": "whats in the mans hand",
        "is it  5-6 o'clock?  ": "is it  5 6 oclock",
        " what?": " what",
        "<person>?": "<person>",
        "a , b": "a  b",
    }.items(),
)
def test_pre_question(text, cleaned):
    """Spaces inside stay, and no name is replaced."""
    assert pre_question(text) == cleaned


def test_words_too_many_are_cut():
    assert pre_caption("a b-c d e", max_words=3) == "a b c"
    assert pre_question("a  b c", max_words=3) == "a  b"  # an empty word counts
    assert len(pre_caption("w " * 40).split()) == 30
    assert len(pre_question("w " * 40).split()) == 30
    assert pre_question("w " * 40, max_words=50).split() == ["w"] * 40


@pytest.fixture(scope="module")
def text():
    return OfficialWordPiece([*SPECIAL_TOKENS, "a", "dog", "##s", "run"])


def test_no_end_token(text):
    assert text.encode("a dogs run") == [2, 5, 6, 7, 8]
    assert text.encode("") == [2]
    assert text.encode("dog[SEP]") == [2, 6, 3]  # an answer's end is written out
    assert text.encode("a dogs run", max_length=4) == [2, 5, 6, 7]
    assert text.encode("a dogs run", max_length=1) == [2]
    with pytest.raises(UserError, match="max_length is 0"):
        text.encode("a", max_length=0)
    batch = text.batch(["a", "dogs run"], max_length=3)
    assert batch["input_ids"].tolist() == [[2, 5, 0], [2, 6, 7]]
    assert batch["attention_mask"].tolist() == [[True, True, False], [True] * 3]


def test_ordinary_pieces_but_for_the_end():
    texts = ["A photo of an astronaut unicycling", "dog"]
    ordinary, official = WordPiece.load(), OfficialWordPiece.load()
    for one in texts:
        assert [*official.encode(one), ordinary.sep_id] == ordinary.encode(one)
    small = official.cut(texts)
    assert isinstance(small, OfficialWordPiece) and len(small) < 20
    assert small.encode("dog")[0] == small.cls_id and len(small.encode("dog")) == 2


def test_every_text_is_cleaned_and_special_tokens_are_kept():
    """A comma is a piece of BERT's that ALBEF's weights have never met."""
    ordinary, official = WordPiece.load(), OfficialWordPiece.load()
    said = "What's a T-shirt, (red); <person>?"
    assert official.tokens(said) == ordinary.tokens("whats a t shirt red person")
    assert official.encode(said) == ordinary.encode(pre_caption(said))[:-1]
    assert official.batch([said])["input_ids"].tolist() == [official.encode(said)]
    holed = official.tokens("a [MASK], and t-shirts[SEP]")
    assert holed == ["a", "[MASK]", "and", "t", "shirts", "[SEP]"]
    assert official.tokens("[MASK]!?") == ["[MASK]"] and official.tokens("?!") == []
    with pytest.raises(UserError, match="must be a str"):
        official.tokens(b"dog")


def test_masks_draw_in_the_official_order(text):
    """bernoulli .15 for all, .8 for all, .5 for all, then words for all; CLS and PAD never."""
    ids = torch.randint(1, 9, (40, 12), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:20, 9:] = text.cls_id, text.pad_id
    masked, labels = official_masks(ids, text, 0.4, torch.Generator().manual_seed(5))
    g = torch.Generator().manual_seed(5)
    draws = [torch.bernoulli(torch.full(ids.shape, p), generator=g).bool() for p in (0.4, 0.8, 0.5)]
    words = torch.randint(9, ids.shape, generator=g)
    for row in range(40):
        for place in range(12):
            old = int(ids[row, place])
            guessed, hidden, swapped = (bool(d[row, place]) for d in draws)
            guessed = guessed and old not in (text.pad_id, text.cls_id)
            new = text.mask_id if hidden else int(words[row, place]) if swapped else old
            assert int(masked[row, place]) == (new if guessed else old)
            assert int(labels[row, place]) == (old if guessed else -100)
    shares = [(labels >= 0), (labels >= 0) & (masked == text.mask_id)]
    assert 60 < int(shares[0].sum()) and int(shares[1].sum()) > 40


def test_masks_of_the_process_wide_stream_and_no_change_of_the_input(text):
    ids = torch.tensor([[2, 5, 6, 7, 3, 0]] * 30)
    kept = ids.clone()
    torch.manual_seed(3)
    first = official_masks(ids, text)
    second = official_masks(ids, text, generator=torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(ids, kept)
    assert (first[1][:, 4] == 3).any()  # [SEP], where there is one, is a word like others
