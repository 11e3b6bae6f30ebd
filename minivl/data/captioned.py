"""Pictures with captions, and the captions once more with holes: what ALBEF reads."""

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from minivl.data import noise, questions, titled
from minivl.data.examples import (
    SPLITS,
    SceneData,
    SceneExamples,
    SceneSource,
    Split,
    every_text,
    to_tensor,
    world,
)
from minivl.data.noise import NoiseData, NoisyCaptions
from minivl.data.pack import Pack
from minivl.data.splits import Splits
from minivl.data.text import WordPiece
from minivl.data.texts import MaskedTexts, TextData
from minivl.errors import require_field

if TYPE_CHECKING:
    from minivl.data.scenes import Scene


@dataclass(frozen=True)
class HiddenWords:
    """How much of a caption is to be guessed. Every field is a flag."""

    probability: float = 0.15
    """Share of a caption's word pieces."""
    whole_words: bool = False
    """Choose words, all pieces of each together, where BERT and ALBEF choose pieces."""
    official_draws: bool = False
    """Draw batch by batch in the order of ALBEF's code, which may hide [SEP], too."""

    def check(self) -> None:
        """Refuse a share that asks nothing, and whole words where pieces are drawn (UserError)."""
        asks = 0 < self.probability <= 1
        require_field(self, "probability", asks, "a share above 0, at most 1")
        fits = not (self.whole_words and self.official_draws)
        require_field(self, "whole_words", fits, "off with official_draws, which choose pieces")


class CaptionSource:
    """Scenes and the tokenizer of their captions: where captioned pictures come from."""

    def __init__(
        self,
        pack: Pack,
        data: SceneData,
        text: WordPiece | None = None,
        *,
        separator: bool = True,
        spoilt: NoiseData | None = None,
    ):
        """`text`: the words of a run that brings a text encoder; else those that captions, their
        noise and the tasks that a model learns later need. `separator`: texts end with [SEP];
        ALBEF's do not."""
        self.data = data
        self.text = text or vocabulary(pack, data, spoilt)
        if not separator:
            from minivl.data.official_text import OfficialWordPiece

            self.text = OfficialWordPiece(self.text.vocab)
        self.scenes = SceneSource(pack, data, self.text)

    @classmethod
    def load(
        cls,
        data: SceneData,
        text: WordPiece | None = None,
        *,
        separator: bool = True,
        spoilt: NoiseData | None = None,
    ) -> "CaptionSource":
        """The source on the embedded pack. Raises DataError if the pack is missing or altered."""
        return cls(Pack.load(), data, text, separator=separator, spoilt=spoilt)


def vocabulary(pack: Pack, data: SceneData, spoilt: NoiseData | None = None) -> WordPiece:
    """All word pieces, or those of captions, of their noise, and of questions and answers.

    Titles count where the noise has them.
    """
    whole = WordPiece.load(pack)
    if data.vocabulary == "full":
        return whole
    worlds = [world(pack, Splits.load(pack), data, split) for split in SPLITS]
    asks_titles = spoilt is not None and spoilt.titled > 0
    said = titled.titles(titled.load_drawings(), whole).values() if asks_titles else ()
    return whole.cut(
        chain(
            *map(every_text, worlds),
            (*noise.BEFORE, *noise.AFTER),
            said,
            questions.words(),
            questions.vqa_answers(worlds[0]),
        )
    )


class CaptionedExamples:
    """An endless, reproducible sequence of captioned pictures: index in, example out."""

    endless = True

    def __init__(  # noqa: PLR0913  (where pairs come from, and what is done to them)
        self,
        source: CaptionSource,
        split: Split,
        hidden: HiddenWords,
        spoilt: NoiseData,
        seed: int,
        *,
        all_hidden: bool = False,
    ):
        """`spoilt`: the noise of the captions; `all_hidden` as in `MaskedTexts`, in whose draws an
        evaluation hides words."""
        self.scenes = SceneExamples(source.scenes, split, seed)
        self.captions = NoisyCaptions(self.scenes, spoilt)
        self.encode = source.scenes.encode
        # Seed and index give the scene: what is hidden of its caption follows from other draws.
        data = TextData(probability=hidden.probability, whole_words=hidden.whole_words)
        self.texts = MaskedTexts(self, source.text, data, seed + 1, all_hidden=all_hidden)
        self.official_draws = hidden.official_draws and not all_hidden

    def __len__(self) -> int:
        raise TypeError("captioned pictures are endless: ask for any index")

    def scene(self, index: int) -> "Scene":
        """The scene graph of one picture."""
        return self.captions.scene(index)

    def caption(self, index: int) -> str:
        """The sentence that stands beside a picture; `captions.told` says what was done to it."""
        return self.captions.caption(index)

    def ids(self, seed: int, index: int) -> tuple[int, ...]:
        """[CLS] caption [SEP]: what `MaskedTexts` hides words of."""
        return self.encode(self.caption(index))

    def __getitem__(self, index: int) -> dict:
        """image uint8 (h, w, 3), picture_id, an int, and what `MaskedTexts` gives."""
        return {"image": self.captions.image(index), "picture_id": index} | self.texts[index]

    def collate(self, examples: list[dict]) -> dict:
        """image (b, 3, h, w), picture_ids (b) int64; and (b, t) each: input_ids, attention_mask,
        mlm_input_ids, mlm_labels."""
        import torch

        batch = {
            "image": to_tensor(np.stack([example["image"] for example in examples])),
            "picture_ids": torch.tensor([example["picture_id"] for example in examples]),
        } | self.texts.collate(examples)
        return batch | self.officially_holed(batch) if self.official_draws else batch

    def officially_holed(self, batch: dict) -> dict:
        """mlm_input_ids and mlm_labels (b, t) by `official_masks`.

        Its generator follows from seed and first picture: batches may be made in any order.
        """
        import torch

        from minivl.data.official_text import official_masks

        first = int(batch["picture_ids"][0])
        seed = int(np.random.SeedSequence((self.texts.seed, first)).generate_state(1)[0])
        holed, labels = official_masks(
            batch["input_ids"],
            self.texts.text,
            self.texts.data.probability,
            torch.Generator().manual_seed(seed),
        )
        return {"mlm_input_ids": holed, "mlm_labels": labels}
