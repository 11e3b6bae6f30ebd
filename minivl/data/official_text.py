"""Texts as ALBEF's published weights have met them: cleaned, cut, and without [SEP].

Li et al. 2021 (arXiv 2107.07651) do not say how they prepare texts; their code does. Whoever gives
the published weights commas, or an end token, asks them in a language that they have not learned.
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.errors import UserError
from minivl.objectives.masking import IGNORE

SIGNS = re.compile(r"""[,.'!?"()*#:;~]""")
"""Deleted, so that "what's" becomes "whats"."""

RETRIEVAL_LENGTH = 30
"""Longest caption in word pieces, with [CLS], when retrieval is fine-tuned and measured."""

_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")


def pre_caption(caption: str, max_words: int = 30) -> str:
    """Lower case, no signs, single spaces, at most so many words: captions and statements.

    A hyphen and a slash part words. Names of people, "<person>" in Conceptual Captions, become the
    word.
    """
    text = without_signs(caption).replace("<person>", "person")
    text = re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:max_words])


def pre_question(question: str, max_words: int = 30) -> str:
    """As `pre_caption`, but spaces inside and in front stay, and each of them ends a word.

    For VQA; the official test lets 50 words pass.
    """
    return " ".join(without_signs(question).rstrip(" ").split(" ")[:max_words])


def without_signs(text: str) -> str:
    """Lower case, signs deleted, a hyphen and a slash as spaces."""
    return SIGNS.sub("", text.lower()).replace("-", " ").replace("/", " ")


class OfficialWordPiece(WordPiece):
    """The word pieces of BERT as ALBEF reads them: of a cleaned text, [CLS] pieces, without [SEP].

    Whatever a text is for, it is cleaned as a caption is; answers of VQA are not in the official
    code. Where a text is to end visibly, as they are, [SEP] is written into it.
    """

    def tokens(self, text: str) -> list[str]:
        """The pieces of what `pre_caption` leaves; special tokens written in the text stay."""
        if isinstance(text, str):
            parts = _SPECIAL.split(text)
            cleaned = (part if part in SPECIAL_TOKENS else pre_caption(part) for part in parts)
            text = " ".join(cleaned)
        return super().tokens(text)

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """[CLS] pieces as ids; a text that is too long loses its last pieces."""
        if max_length is not None and max_length < 1:
            raise UserError(f"max_length is {max_length}", "[CLS] alone needs 1")
        return super().encode(text, None if max_length is None else max_length + 1)[:-1]

    def cut(self, texts: Iterable[str]) -> "OfficialWordPiece":
        """As WordPiece's, in this order."""
        return OfficialWordPiece(super().cut(texts).vocab)


def official_masks(
    input_ids: Tensor,
    text: WordPiece,
    probability: float = 0.15,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Hide words with the official code's draws in the official order: equal seeds, equal masks.

    input_ids (b, t) on the CPU -> input_ids (b, t) with holes, and labels (b, t): the original id
    where a word is to be guessed, -100 elsewhere. [SEP], where there is one, may be hidden; a word
    swapped in may be any piece, [PAD] among them. `mask_tokens` has the same law (BERT, section
    3.1), in other draws.
    """

    def coin(share: float) -> Tensor:
        return torch.bernoulli(torch.full(input_ids.shape, share), generator=generator).bool()

    selected = coin(probability) & (input_ids != text.pad_id) & (input_ids != text.cls_id)
    hidden = coin(0.8) & selected
    swapped = coin(0.5) & selected & ~hidden
    words = torch.randint(len(text), input_ids.shape, generator=generator)
    corrupted = torch.where(swapped, words, input_ids).masked_fill(hidden, text.mask_id)
    return corrupted, input_ids.masked_fill(~selected, IGNORE)
