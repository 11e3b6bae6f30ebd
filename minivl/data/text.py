"""Sentences to numbers and back: the WordPiece tokenizer of BERT (uncased).

A text is cleaned, split into words and signs, and each word is cut from the left into the longest
pieces that the vocabulary knows. Devlin et al. 2018 (arXiv 1810.04805), Wu et al. 2016.

"an astronaut, unicycling"  ->  an  astronaut  ,  un  ##ic  ##y  ##cl  ##ing

What counts as a letter, an accent or a sign is read from Python's Unicode tables, as in BERT's
first release. Libraries with tables of 2015 see some hundred rare accents and signs differently
that Unicode added later; the vocabulary has none of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from minivl.data.pack import Pack
from minivl.errors import DataError, UserError

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Padding, unknown word, start of a text, end of a text, hidden word."""

LONGEST_WORD = 100
"""A longer word is one [UNK]: nobody wrote it to be read."""

CJK_BLOCKS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""Ideographs: written without spaces, so each is a word. Kana and Hangul are not among them."""

_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")


class WordPiece:
    """A tokenizer over a vocabulary; a piece's id is its position.

    `load()` gives the one of bert-base-uncased, `cut(texts)` a small one for a small world.
    """

    def __init__(self, vocab: Sequence[str]):
        self.vocab = tuple(vocab)
        self._ids = {piece: index for index, piece in enumerate(self.vocab)}
        missing = [token for token in SPECIAL_TOKENS if token not in self._ids]
        if missing or len(self._ids) != len(self.vocab):
            what = f"lacks {', '.join(missing)}" if missing else "holds a piece twice"
            raise DataError(f"the vocabulary {what}", "take the vocabulary of bert-base-uncased")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self._ids[token] for token in SPECIAL_TOKENS
        )

    @classmethod
    def load(cls, pack: Pack | None = None) -> WordPiece:
        """The tokenizer of bert-base-uncased, 30,522 pieces, from the data pack."""
        return cls((pack or Pack.load()).vocab())

    def cut(self, texts: Iterable[str]) -> WordPiece:
        """A tokenizer of the special tokens and only those pieces that occur in the texts.

        It cuts these texts into the same pieces as this one does. The special tokens come first,
        [PAD] = 0; the other pieces keep their order.

        Raises DataError for a text with a word that this vocabulary does not know.
        """
        used: set[str] = set()
        for text in texts:
            pieces = self.tokens(text)
            if "[UNK]" in pieces:
                raise DataError(f"no pieces for a word of {text!r}", "leave the text out")
            used.update(pieces)
        rest = (piece for piece in self.vocab if piece in used and piece not in SPECIAL_TOKENS)
        return WordPiece((*SPECIAL_TOKENS, *rest))

    def __len__(self) -> int:
        return len(self.vocab)

    def tokens(self, text: str) -> list[str]:
        """The pieces of a text, without [CLS] and [SEP].

        A special token written out in the text, such as [MASK], is that token. Control characters
        and lone surrogates are dropped. Raises UserError for anything that is not a str.
        """
        if not isinstance(text, str):
            raise UserError(f"a text must be a str, not {type(text).__name__}", "pass one sentence")
        found: list[str] = []
        for part in _SPECIAL.split(text):
            if part in SPECIAL_TOKENS:
                found.append(part)
            else:
                found += (piece for word in words(part) for piece in self._pieces(word))
        return found

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """[CLS] pieces [SEP] as ids. A text that is too long loses pieces before [SEP]."""
        ids = [self._ids[piece] for piece in self.tokens(text)]
        if max_length is not None:
            if max_length < 2:
                raise UserError(f"max_length is {max_length}", "[CLS] and [SEP] alone need 2")
            ids = ids[: max_length - 2]
        return [self.cls_id, *ids, self.sep_id]

    def batch(
        self, texts: Sequence[str], max_length: int | None = None, pad_to: int | None = None
    ) -> dict[str, torch.Tensor]:
        """Encode and pad to the longest text, or to `pad_to` where every batch must be alike.

        input_ids: (batch, tokens) int64; attention_mask: (batch, tokens) bool, True = a token.
        Raises UserError for a text longer than `pad_to`.
        """
        import torch

        if isinstance(texts, str):
            raise UserError("batch() got one text, not several", "put it in a list")
        rows = [self.encode(text, max_length) for text in texts]
        input_ids, attention_mask = pad_batch(rows, self.pad_id)
        longest = input_ids.shape[1]
        room = 0 if pad_to is None else pad_to - longest
        if room < 0:
            raise UserError(
                f"a text of {longest} pieces does not fit pad_to={pad_to}", "set max_length as well"
            )
        return {
            "input_ids": torch.nn.functional.pad(input_ids, (0, room), value=self.pad_id),
            "attention_mask": torch.nn.functional.pad(attention_mask, (0, room)),
        }

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, in lower case, without special tokens; signs stand where print has them.

        Raises UserError for an id outside the vocabulary.
        """
        text = ""
        for index in map(int, ids):
            if not 0 <= index < len(self.vocab):
                raise UserError(f"no piece has the id {index}", f"ids go from 0 to {len(self) - 1}")
            piece = self.vocab[index]
            if piece not in SPECIAL_TOKENS:
                text += piece[2:] if piece.startswith("##") else f" {piece}"
        text = re.sub(r" (?=[,.;:!?)])|(?<=\() ", "", text)
        return re.sub(r"(?<=\w) ([-'’]) (?=\w)", r"\1", text).strip()

    def _pieces(self, word: str) -> list[str]:
        return ["[UNK]"] if len(word) > LONGEST_WORD else word_pieces(word, self._ids)


def word_pieces(word: str, vocab: Container[str], unknown: str = "[UNK]") -> list[str]:
    """Cut a word from the left into the longest pieces of the vocabulary.

    A piece inside a word is written with ## before it. A word with a part that no piece covers is
    unknown as a whole. Wu et al. 2016, section 4.1, as BERT does it.
    """
    pieces: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if mark + word[start:end] in vocab), None)
        if end is None:
            return [unknown]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def pad_batch(rows: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids as one rectangle: short rows are filled up behind.

    -> input_ids (rows, longest) int64; attention_mask (rows, longest) bool, True = a real token.
    """
    import torch

    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    longest = max(map(len, rows), default=0)
    padded = [[*row, *[pad_id] * (longest - len(row))] for row in rows]
    input_ids = torch.tensor(padded, dtype=torch.int64).reshape(len(rows), longest)
    return input_ids, torch.arange(longest) < lengths[:, None]


def words(text: str) -> Iterator[str]:
    """Lower-case words and single signs of a text, without accents."""
    for chunk in _plain(_spaced(text)).split(" "):
        for is_sign, characters in groupby(chunk, _is_sign):
            if is_sign:
                yield from characters
            else:
                yield "".join(characters)


def _spaced(text: str) -> str:
    """Without control characters, every kind of white space a space, ideographs apart."""
    return "".join(map(_cleaned, text))


@lru_cache(maxsize=65536)
def _cleaned(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
        return " "
    # Unassigned ("Cn") stays: it may be a sign that is newer than the tables.
    if category in ("Cc", "Cf", "Co", "Cs") or character == "\ufffd":
        return ""
    if any(first <= ord(character) <= last for first, last in CJK_BLOCKS):
        return f" {character} "
    return character


def _plain(text: str) -> str:
    """Without accents (non-spacing marks), in lower case."""
    apart = unicodedata.normalize("NFD", text)
    # Letter by letter: lower() on a whole word would turn a Greek sigma at its end into another.
    return "".join(c.lower() for c in apart if unicodedata.category(c) != "Mn")


@lru_cache(maxsize=65536)
def _is_sign(character: str) -> bool:
    """Punctuation, and every ASCII sign, "$" and "^" too."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")
