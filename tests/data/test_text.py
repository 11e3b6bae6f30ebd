import shutil
import subprocess
import sys
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from minivl.data.pack import Pack
from minivl.data.text import CJK_BLOCKS, SPECIAL_TOKENS, WordPiece
from minivl.errors import DataError, UserError

SENTENCES = ["a dog on the left", "a rocket at the top and an unicyclist at the bottom", "woman’s"]


@pytest.fixture(scope="module")
def full(pack):
    return WordPiece.load(pack)


@pytest.fixture(scope="module")
def reference(full):
    return BertTokenizerFast(vocab={piece: index for index, piece in enumerate(full.vocab)})


CHANGED_KIND = "\u166d\u1734\u1885\u1886"


def settled(character):
    """Whether both Unicode tables must agree: the library's dates from 2015, Python's is newer.

    Excluded are characters that came after Unicode 3.2 and that either table may call a mark, a
    sign, a control character or a capital; four that changed their kind later; and ideographs
    of a block of which the library forgets the first 256.
    """
    old = unicodedata.ucd_3_2_0.category(character)
    new = unicodedata.category(character)
    if 0x2B820 <= ord(character) < 0x2B920 or character in CHANGED_KIND:
        return False
    return old != "Cn" or new[0] not in "MPC" and character.lower() == character


def some_of_every_kind():
    """Settled characters; of the numerous kinds every fiftieth."""
    numerous = ("Cn", "Co", "Lo")
    for code in range(sys.maxunicode + 1):
        if code % 50 == 0 or unicodedata.category(chr(code)) not in numerous:
            if not 0xD800 <= code <= 0xDFFF and settled(chr(code)):
                yield chr(code)


LETTERS = list(some_of_every_kind())


@pytest.fixture(scope="module")
def revealing():
    """Every character is a piece, so that a difference in cleaning cannot hide in an [UNK]."""
    edges = [chr(edge) for block in CJK_BLOCKS for edge in block]
    letters = list(dict.fromkeys([*LETTERS, *edges]))
    vocab = [*SPECIAL_TOKENS, "ab", "##ab", *letters, *("##" + letter for letter in letters)]
    return WordPiece(vocab), BertTokenizerFast(vocab={p: i for i, p in enumerate(vocab)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\r\n\u00a0\u3000 ",
        "A Dog, on the LEFT!",
        "unaffable unicycling",
        "Crème brûlée, naïve Åström, İstanbul, e\u0301te\u0301",
        "ΟΔΥΣΣΕΥΣ ΑΣ",
        "straße ﬁsh ½ x² Ǆ",
        "中文字 and かな カナ が 한국어 漢\u3400\U00020000",
        "a\u0000b\ufffdc\u200dd\u00ade\u0085f\u2028g\ue000h\x07",
        "$5.00+tax=^_^ `~|<>{}[]\\@#%&*",
        "don't — “quote” … ¿qué? ¡sí! «x»",
        "x-ray o'clock woman’s",
        "👩‍🚀 🐕 ☂️ a🐕b",
        "w" * 100,
        "w" * 101,
        "é" * 100,
        "the [MASK] sat[SEP]on [mask] [CLS][PAD] [UNK] [ MASK ] [[MASK]]",
        "##ing ## a##b",
        "नमस्ते สวัสดี שָׁלוֹם مَرْحَبًا",
    ],
)
def test_texts_are_cut_as_the_reference_cuts_them(full, reference, text):
    assert full.tokens(text) == reference.tokenize(text)
    assert full.encode(text) == reference(text)["input_ids"]


def test_every_settled_character_is_treated_as_by_the_reference(revealing):
    ours, theirs = revealing
    assert len(LETTERS) > 15_000
    texts = [f"ab{letter}ab" for letter in LETTERS]
    found = theirs(texts, add_special_tokens=False)["input_ids"]
    wrong = [t for t, ids in zip(texts, found, strict=True) if ours.encode(t)[1:-1] != ids]
    assert not wrong, ascii(wrong[:20])


def test_blocks_of_ideographs_end_where_the_reference_ends_them(revealing):
    ours, theirs = revealing
    edges = {edge + step for block in CJK_BLOCKS for edge in block for step in (-1, 0, 1)}
    for edge in edges - {0x2B81F + 1, 0x2B820 + 1}:  # see settled()
        assert ours.tokens(f"ab{chr(edge)}ab") == theirs.tokenize(f"ab{chr(edge)}ab"), hex(edge)


CHARACTERS = st.characters(exclude_categories=("Cs",)).filter(settled)
SNIPPETS = st.sampled_from(
    [*SPECIAL_TOKENS, " ", "ing", "un", "the", "Dog", "É", "##", "'", ",", "中", "\t", "Σ", "İ"]
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(text=st.lists(st.sampled_from(LETTERS) | CHARACTERS | SNIPPETS, max_size=25).map("".join))
def test_any_text_is_cut_as_the_reference_cuts_it(full, reference, revealing, text):
    assert full.encode(text) == reference(text)["input_ids"]
    ours, theirs = revealing
    assert ours.encode(text) == theirs(text)["input_ids"]


def test_a_batch_equals_the_references(full, reference):
    ours = full.batch(SENTENCES, max_length=8)
    theirs = reference(SENTENCES, padding=True, truncation=True, max_length=8, return_tensors="pt")
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert torch.equal(ours["attention_mask"], theirs["attention_mask"].bool())
    assert ours["input_ids"].dtype == torch.int64 and ours["attention_mask"].dtype == torch.bool


def test_a_batch_is_padded_to_its_longest_text_and_masked(full):
    batch = full.batch(["a dog", "a"])
    assert batch["input_ids"].tolist()[1][-1] == full.pad_id
    assert batch["attention_mask"].tolist() == [[True] * 4, [True] * 3 + [False]]
    assert full.batch([])["input_ids"].shape == (0, 0)
    assert full.batch(["", ""])["input_ids"].tolist() == [[full.cls_id, full.sep_id]] * 2


def test_a_batch_may_be_padded_further(full):
    batch = full.batch(["a dog", "a"], pad_to=6)
    assert batch["input_ids"].shape == (2, 6)
    assert batch["attention_mask"].sum(1).tolist() == [4, 3]
    assert (batch["input_ids"][~batch["attention_mask"]] == full.pad_id).all()
    assert full.batch(["a dog"] * 2, max_length=3, pad_to=3)["attention_mask"].all()
    with pytest.raises(UserError, match="4 pieces does not fit pad_to=3"):
        full.batch(["a", "a dog"], pad_to=3)


def test_the_mask_covers_a_pad_token_that_the_text_spells_out(full):
    assert full.batch(["a [PAD] dog"])["attention_mask"].all()


def test_truncation_keeps_the_end_token(full):
    ids = full.encode("a dog on the left", max_length=4)
    assert ids == [full.cls_id, *full.encode("a dog")[1:-1], full.sep_id]
    assert full.encode("a dog", max_length=4) == full.encode("a dog")
    assert full.encode("a dog", max_length=2) == [full.cls_id, full.sep_id]
    with pytest.raises(UserError, match="max_length is 1"):
        full.encode("a dog", max_length=1)


@pytest.mark.parametrize(
    "text", [*SENTENCES, "a dog, a cat and an x-ray (small).", "3 pizzas; who's there?", ""]
)
def test_captions_come_back(full, text):
    assert full.decode(full.encode(text)) == text
    assert full.decode(torch.tensor(full.encode(text))) == text


def test_decoding_leaves_special_tokens_out(full):
    ids = [full.cls_id, full.mask_id, *full.encode("dog")[1:-1], full.unk_id, full.sep_id, 0, 0]
    assert full.decode(ids) == "dog"
    for wrong in (-1, len(full)):
        with pytest.raises(UserError, match="no piece has the id"):
            full.decode([wrong])


def test_a_cut_vocabulary_cuts_its_texts_into_the_same_pieces(full):
    cut = full.cut([*SENTENCES, "[MASK]"])
    assert cut.vocab[:5] == SPECIAL_TOKENS
    assert (cut.pad_id, cut.unk_id, cut.cls_id, cut.sep_id, cut.mask_id) == (0, 1, 2, 3, 4)
    used = {piece for text in SENTENCES for piece in full.tokens(text)}
    assert set(cut.vocab[5:]) == used and len(cut) == 5 + len(used)
    for text in SENTENCES:
        assert cut.tokens(text) == full.tokens(text)
        assert cut.decode(cut.encode(text)) == text
    assert cut.tokens("a zebra") == ["a", "[UNK]"]


def test_a_cut_does_not_depend_on_the_order_of_texts(full):
    assert full.cut(SENTENCES).vocab == full.cut(iter(SENTENCES[::-1])).vocab


def test_a_cut_refuses_a_word_that_no_piece_can_say(full):
    with pytest.raises(DataError, match="no pieces for a word"):
        full.cut(["a \u1200 dog"])


def test_captions_of_the_scenes_never_meet_an_unknown_word(source):
    for index in range(200):
        sentence = source.examples("train", 3).caption(index)
        assert source.text.unk_id not in source.text.encode(sentence)


def test_lone_surrogates_are_dropped(full):
    assert full.tokens("a\ud800 dog\udfff") == ["a", "dog"]


@pytest.mark.parametrize("bad", [None, b"a dog", 3, ["a dog"]])
def test_other_types_are_refused_by_name(full, bad):
    with pytest.raises(UserError, match=type(bad).__name__):
        full.tokens(bad)


def test_one_text_is_not_a_batch(full):
    with pytest.raises(UserError, match="one text"):
        full.batch("a dog")


def test_a_bad_vocabulary_is_refused():
    with pytest.raises(DataError, match=r"lacks \[MASK\]"):
        WordPiece(SPECIAL_TOKENS[:4])
    with pytest.raises(DataError, match="twice"):
        WordPiece([*SPECIAL_TOKENS, "a", "a"])


def test_a_damaged_vocabulary_file_is_named(pack, tmp_path):
    shutil.copy(pack.root / "manifest.json", tmp_path)
    content = (pack.root / "vocab.txt.gz").read_bytes()
    for damaged in (content[:-9], content[:999] + b"x" + content[1000:]):
        (tmp_path / "vocab.txt.gz").write_bytes(damaged)
        with pytest.raises(DataError, match="vocab.txt.gz"):
            WordPiece.load(Pack.load(tmp_path))


def test_importing_needs_no_torch():
    code = "import sys, minivl.data.text; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_full_vocabulary_has_berts_ids(full):
    assert len(full) == 30_522
    special = (full.pad_id, full.unk_id, full.cls_id, full.sep_id, full.mask_id)
    assert special == (0, 100, 101, 102, 103)
