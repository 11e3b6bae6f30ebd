"""Texts to learn words from: WordNet's definitions, and the captions of generated scenes.

Every text, and what of it is hidden, follows from (seed, index) alone.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from minivl.data import questions
from minivl.data.captions import caption
from minivl.data.examples import SceneData, SceneSource, Split, every_text, world
from minivl.data.pack import Gloss, Pack
from minivl.data.scenes import scene
from minivl.data.splits import Splits
from minivl.data.stream import epoch_order
from minivl.data.text import SPECIAL_TOKENS, WordPiece, pad_batch
from minivl.errors import DataError, require_field

if TYPE_CHECKING:
    import torch

RUN = 256
"""Texts of like length, and captions of one kind, in a row."""

WINDOW = 8 * RUN
"""Glosses that are sorted by length."""

HELD_OUT = 0.05
"""Share of the different definitions that training never reads."""


@dataclass(frozen=True)
class TextData:
    """Which texts to read, and how much of them to hide. Every field is a flag."""

    glosses: Literal["definitions", "full"] = "definitions"
    """Of WordNet's glosses the definition alone, or its remarks and examples too."""
    topics: tuple[str, ...] = ()
    """Beginnings of WordNet's topics, such as noun.animal or verb; none: all."""
    vocabulary: Literal["cut", "full"] = "cut"
    """Only the commonest word pieces and those of captions, or all of bert-base-uncased."""
    vocabulary_size: int = 4000
    """How many of the commonest; glosses with a rarer piece are left out. Full: no effect."""
    max_length: int = 32
    """Longest text in word pieces, with [CLS] and [SEP]; the rest is cut off."""
    packed: bool = False
    """Join glosses, [SEP] between them, until max_length is full, as the papers join sentences."""
    caption_share: float = 0.25
    """Share of the batches that hold captions of scenes; the others hold glosses."""
    probability: float = 0.15
    """Share of the words that are to be guessed in training. BERT's is 0.15; more teach more in
    few steps (Wettig et al. 2023, arXiv 2202.08005)."""
    whole_words: bool = False
    """Choose words, all pieces of each together, where BERT chose pieces."""

    def check(self) -> None:
        """Refuse numbers that nothing can be read with (UserError)."""
        require_field(self, "vocabulary_size", self.vocabulary_size >= 50, "50 or more")
        require_field(self, "max_length", self.max_length >= 3, "3 or more")
        require_field(self, "caption_share", 0 <= self.caption_share <= 1, "a share from 0 to 1")
        asks = 0 < self.probability <= 1
        require_field(self, "probability", asks, "a share above 0, at most 1")


class TextSource:
    """Glosses, captions and the tokenizer that reads both: where texts come from."""

    def __init__(self, pack: Pack, data: TextData, scenes: SceneData):
        self.data = data
        self.text = WordPiece.load(pack)
        texts = {text: self.text.tokens(text) for text in chosen_glosses(pack.glosses(), data)}
        if data.vocabulary == "cut":
            texts = common(texts, data.vocabulary_size)
            captions = list(every_text(world(pack, Splits.load(pack), scenes, "train")))
            known = self.text.cut([*texts, *captions])
            # The tasks that a model learns later; what they lack is added, and nothing else.
            lacking = [text for text in questions.words() if "[UNK]" in known.tokens(text)]
            self.text = self.text.cut([*texts, *captions, *lacking])
        # One tokenizer for definitions and captions: a model that reads both has one vocabulary.
        self.scenes = SceneSource(pack, scenes, self.text)
        if len(texts) < 2:
            raise DataError(
                "no gloss is left to read", "choose other topics, or a larger vocabulary_size"
            )
        rows = {text: tuple(self.text.encode(text, data.max_length)) for text in texts}
        self.held_out = [row for text, row in rows.items() if share(text) < HELD_OUT]
        self.train = [row for text, row in rows.items() if share(text) >= HELD_OUT]
        if data.packed:
            self.train = packed(self.train, data.max_length)

    @classmethod
    def load(cls, data: TextData, scenes: SceneData) -> "TextSource":
        """The source on the embedded pack. Raises DataError if the pack is missing or altered."""
        return cls(Pack.load(), data, scenes)

    def glosses(self, split: Literal["train", "held out"]) -> "Glosses":
        """The texts of one side; equal definitions stand on the same side."""
        return Glosses(self.train if split == "train" else self.held_out)

    def captions(self, split: Split) -> "Captions":
        """Captions of a world's scenes; of "compositions": pairs that training never names."""
        return Captions(self, split)


def chosen_glosses(glosses: Iterable[Gloss], data: TextData) -> Iterator[str]:
    """The texts of the topics asked for, each once."""
    texts = (
        definition(gloss.text) if data.glosses == "definitions" else gloss.text
        for gloss in glosses
        if not data.topics or gloss.topic.startswith(data.topics)
    )
    return iter(dict.fromkeys(filter(None, texts)))


def definition(gloss: str) -> str:
    """A gloss up to its first semicolon, without what stands in brackets."""
    return " ".join(re.sub(r"\([^()]*\)", " ", gloss.split(";")[0]).split())


def common(texts: dict[str, list[str]], size: int) -> dict[str, list[str]]:
    """The texts whose pieces are all among the `size` commonest."""
    counts = Counter(piece for pieces in texts.values() for piece in pieces)
    known = {piece for piece, _ in counts.most_common(size)} - set(SPECIAL_TOKENS)
    return {text: pieces for text, pieces in texts.items() if known.issuperset(pieces)}


def share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def packed(rows: Sequence[tuple[int, ...]], longest: int) -> list[tuple[int, ...]]:
    """Rows [CLS] ... [SEP] joined in random order, without the later ones' [CLS].

    As many in each as fit into `longest` ids.
    """
    joined: list[list[int]] = [[]]
    for number in np.random.default_rng(len(rows)).permutation(len(rows)):
        row = rows[number]
        if joined[-1] and len(joined[-1]) + len(row) - 1 > longest:
            joined.append([])
        joined[-1] += row[1:] if joined[-1] else row
    return [tuple(row) for row in joined]


class Texts(Protocol):
    """An endless sequence of texts as ids."""

    def ids(self, seed: int, index: int) -> tuple[int, ...]:
        """[CLS] pieces [SEP] of text number `index` of the sequence that `seed` names."""


class Glosses:
    """A list of texts, read again and again in a new order each time.

    Texts of like length follow each other in runs, so that a batch holds little padding: each
    window of texts in random order is sorted, then its runs are shuffled.
    """

    def __init__(self, rows: Sequence[tuple[int, ...]]):
        self.rows = rows
        self.lengths = np.array([len(row) for row in rows])
        self.order = lru_cache(maxsize=4)(self._order)

    def __len__(self) -> int:
        return len(self.rows)

    def ids(self, seed: int, index: int) -> tuple[int, ...]:
        """[CLS] pieces [SEP]."""
        epoch, offset = divmod(index, len(self.rows))
        return self.rows[self.order(seed, epoch)[offset]]

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        order = epoch_order(len(self.rows), seed, epoch)
        draw = np.random.default_rng((seed, epoch, len(order)))
        runs: list[np.ndarray] = []
        for window in np.split(order, range(WINDOW, len(order), WINDOW)):
            # Stable, so that texts of one length stay in their random order.
            by_length = window[np.argsort(self.lengths[window], kind="stable")]
            own = np.split(by_length, range(RUN, len(window), RUN))
            runs += [own[i] for i in draw.permutation(len(own))]
        return np.concatenate(runs)


class Captions:
    """Captions of scenes that are drawn as graphs only, never rendered."""

    def __init__(self, source: TextSource, split: Split):
        self.world = source.scenes.world(split)
        self.kinds = source.scenes.data.captions
        self.encode = lru_cache(maxsize=65536)(
            lambda text: tuple(source.text.encode(text, source.data.max_length))
        )

    def ids(self, seed: int, index: int) -> tuple[int, ...]:
        """[CLS] pieces [SEP]."""
        # Captions of one kind are about equally long: a batch of them needs little padding.
        kind = self.kinds[index // RUN % len(self.kinds)]
        return self.encode(caption(scene(self.world, seed, index), kind))


class MaskedTexts:
    """Texts with words hidden: what masked language modeling reads. Index in, example out."""

    endless = True

    def __init__(
        self, texts: Texts, text: WordPiece, data: TextData, seed: int, *, all_hidden: bool = False
    ):
        """`all_hidden`: every selected word becomes [MASK], so that none shows what is asked."""
        self.texts, self.text, self.data, self.seed = texts, text, data, seed
        self.all_hidden = all_hidden
        self.inside = [piece.startswith("##") for piece in text.vocab]

    def __len__(self) -> int:
        raise TypeError("masked texts are endless: ask for any index")

    def __getitem__(self, index: int) -> dict:
        """input_ids, a tuple of ints, and for each what decides whether and how it is hidden."""
        ids = self.texts.ids(self.seed, index)
        draw = np.random.default_rng((self.seed, index))
        select, action = draw.random((2, len(ids)))
        return {
            "input_ids": ids,
            "select": select,
            "action": np.zeros(len(ids)) if self.all_hidden else action,
            "random": draw.integers(len(self.text), size=len(ids)),
        }

    def collate(self, examples: list[dict]) -> dict:
        """input_ids, attention_mask, mlm_input_ids and mlm_labels, all (b, t); -100: not asked."""
        import torch

        from minivl.objectives import masking

        input_ids, attention_mask = pad_batch([example["input_ids"] for example in examples])
        draws = {
            name: torch.nn.utils.rnn.pad_sequence(
                [torch.from_numpy(example[name]) for example in examples], batch_first=True
            )
            for name in ("select", "action", "random")
        }
        if self.data.whole_words:
            inside = torch.tensor(self.inside)[input_ids]
            draws["select"] = masking.whole_words(draws["select"], inside)
        hidden, labels = masking.mask_tokens(
            input_ids,
            self.special(input_ids),
            draws["select"],
            draws["action"],
            draws["random"],
            self.text.mask_id,
            self.data.probability,
        )
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "mlm_input_ids": hidden,
            "mlm_labels": labels,
        }

    def special(self, input_ids: "torch.Tensor") -> "torch.Tensor":
        """True at [CLS], [SEP], padding and unknown words: nothing there to guess. (b, t) bool."""
        import torch

        own = (self.text.pad_id, self.text.unk_id, self.text.cls_id, self.text.sep_id)
        return torch.isin(input_ids, torch.tensor(own))
