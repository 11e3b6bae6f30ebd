"""Exercise 01.3, word_pieces: a word is cut into the longest pieces that the vocabulary knows."""

import itertools
from collections.abc import Callable

from minivl.course.compare import difference
from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import told

VOCAB = ("un", "u", "n", "##n", "aff", "##aff", "able", "##able")

DEAD_END = ("a", "ab", "##bc")
"""The longest start of "abc" leaves a rest that no piece covers; a shorter start would not."""


def _as_reference(word_pieces: Callable) -> str | None:
    """The tokenizer behind BertTokenizer, on every word of at most four syllables."""
    from tokenizers.models import WordPiece

    ids = {piece: number for number, piece in enumerate((*VOCAB, "[UNK]"))}
    reference = WordPiece(ids, unk_token="[UNK]")
    for length in range(1, 5):
        for syllables in itertools.product(("u", "n", "aff", "able", "x"), repeat=length):
            word = "".join(syllables)
            expected = [token.value for token in reference.tokenize(word)]
            got = word_pieces(word, VOCAB)
            if difference(got, expected):
                return told(f"{word!r}; {VOCAB}", f"{expected}", f"{got}")
    return None


def _any_container(word_pieces: Callable) -> str | None:
    for vocab in (set(VOCAB), dict.fromkeys(VOCAB, 0), list(VOCAB)):
        got = word_pieces("unable", vocab)
        if difference(got, ["un", "##able"]):
            given = f"'unable', the vocabulary as a {type(vocab).__name__}"
            return told(given, "['un', '##able']", f"{got}")
    return None


def _cutting(
    *, shortest: bool = False, mark: str = "##", partly: bool = False, fixed: bool = False
) -> Callable:
    """word_pieces with something done differently."""

    def word_pieces(word, vocab, unknown="[UNK]"):
        unknown = "[UNK]" if fixed else unknown
        pieces, start = [], 0
        while start < len(word):
            prefix = mark if start else ""
            ends = range(start + 1, len(word) + 1)
            known = [end for end in ends if prefix + word[start:end] in vocab]
            if not known:
                return [*pieces, unknown] if partly else [unknown]
            end = known[0] if shortest else known[-1]
            pieces.append(prefix + word[start:end])
            start = end
        return pieces

    return word_pieces


def _backtracking(word, vocab, unknown="[UNK]"):
    def rest(start):
        if start == len(word):
            return []
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocab and (after := rest(end)) is not None:
                return [piece, *after]
        return None

    pieces = rest(0)
    return [unknown] if pieces is None else pieces


WORD_PIECES = Exercise(
    target="minivl.data.text.word_pieces",
    number="01.3",
    minutes=15,
    difficulty=2,
    source="Wu et al. 2016, section 4.1; Devlin et al. 2018",
    hints=(
        "Try the longest start of the word first and shorten it until the vocabulary knows it.",
        'After the first piece look up `"##" + rest`, again the longest first.',
        "If a rest has no piece at all, return `[unknown]`: the whole word is unknown. Never go "
        "back to shorten an earlier piece.",
    ),
    checks=(
        Case("three pieces", lambda: ("unaffable", VOCAB), ["un", "##aff", "##able"]),
        Case("a letter that no piece covers", lambda: ("unx", VOCAB), ["[UNK]"]),
        Case("no letters", lambda: ("", VOCAB), []),
        Case("one piece", lambda: ("able", VOCAB), ["able"]),
        Case("another sign for unknown", lambda: ("xun", VOCAB, "<unk>"), ["<unk>"]),
        Case("a dead end", lambda: ("abc", DEAD_END), ["[UNK]"]),
        Property("any container as vocabulary", _any_container),
        Property("equal to BERT's tokenizer on 780 words", _as_reference),
    ),
    variants=(
        Variant(
            "shortest first",
            _cutting(shortest=True),
            "You take the shortest piece that fits. Start from the whole rest and shorten it.",
        ),
        Variant(
            "no ##",
            _cutting(mark=""),
            "Inside a word pieces carry the mark ##: 'able' alone is another token.",
        ),
        Variant(
            "partly unknown",
            _cutting(partly=True),
            "You kept the pieces before the gap. In BERT one letter without a piece makes the "
            "whole word unknown.",
        ),
        Variant(
            "unknown unused",
            _cutting(fixed=True),
            "You return '[UNK]' whatever the caller asks for. Return the argument `unknown`.",
        ),
        Variant(
            "goes back",
            _backtracking,
            "You go back and try a shorter piece where the rest does not fit. BERT is greedy: the "
            "longest piece is taken for good, even if the word becomes unknown.",
        ),
    ),
)
