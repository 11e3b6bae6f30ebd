"""Pictures with captions, both with holes, some of them exchanged: what FLAVA's joint stage reads.

Neighbours 2k and 2k+1 exchange their captions: where one is the other's mirrored twin, only an
order of words tells the wrong pair from the right one; elsewhere it is a foreign sentence. Each
picture and each sentence of a batch still stands in it once.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from minivl.data.examples import SceneExamples, Split
from minivl.data.holes import HoledPictures, MaskData
from minivl.data.texts import MaskedTexts, TextSource
from minivl.errors import require_field

if TYPE_CHECKING:
    from minivl.data.scenes import Scene


@dataclass(frozen=True)
class PairData:
    """How many pairs are wrong, and how much of their captions is hidden. Every field is a flag."""

    mismatched: float = 0.1
    """Share of the pairs whose caption is another one's; FLAVA's code has 0.1."""
    probability: float = 0.15
    """Share of a caption's words that are to be guessed."""

    def check(self) -> None:
        """Refuse shares that are none (UserError)."""
        require_field(self, "mismatched", 0 <= self.mismatched <= 1, "a share from 0 to 1")
        asks = 0 < self.probability <= 1
        require_field(self, "probability", asks, "a share above 0, at most 1")


class PairExamples:
    """An endless, reproducible sequence of pairs with holes: index in, example out."""

    endless = True

    def __init__(  # noqa: PLR0913  (where pairs come from, and what is done to them)
        self,
        source: TextSource,
        split: Split,
        grid: tuple[int, int],
        masks: MaskData,
        pairs: PairData,
        seed: int,
        *,
        all_hidden: bool = False,
    ):
        """`grid`: rows and columns of patches; `all_hidden` as in `MaskedTexts`."""
        self.scenes = SceneExamples(source.scenes, split, seed)
        self.pairs, self.seed = pairs, seed
        bare = replace(masks, photo_share=0.0)
        self.pictures = HoledPictures(source.scenes, split, grid, bare, seed)
        data = replace(source.data, probability=pairs.probability)
        self.texts = MaskedTexts(self, source.text, data, seed, all_hidden=all_hidden)
        self.encode = source.scenes.encode

    def __len__(self) -> int:
        raise TypeError("pairs are endless: ask for any index")

    def scene(self, index: int) -> "Scene":
        """The scene graph of one picture."""
        return self.scenes.scene(index)

    def caption(self, index: int) -> str:
        """The sentence that stands beside a picture: its own, or its neighbour's."""
        return self.scenes.caption(index ^ 1 if self.exchanged(index) else index)

    def ids(self, seed: int, index: int) -> tuple[int, ...]:
        """[CLS] caption [SEP]: what `MaskedTexts` hides words of."""
        return self.encode(self.caption(index))

    def exchanged(self, index: int) -> bool:
        """Whether this picture and its neighbour have exchanged their captions."""
        if self.pairs.mismatched == 0:
            return False
        drawn = np.random.default_rng((self.seed, index // 2, 3)).random()
        return drawn < self.pairs.mismatched

    def matches(self, index: int) -> bool:
        """Whether picture and sentence belong together: an exchange of equal captions is none."""
        if not self.exchanged(index):
            return True
        return self.scenes.caption(index) == self.scenes.caption(index ^ 1)

    def __getitem__(self, index: int) -> dict:
        """What `HoledPictures` and `MaskedTexts` give, and itm_label: 1 for a true pair."""
        return self.pictures[index] | self.texts[index] | {"itm_label": int(self.matches(index))}

    def collate(self, examples: list[dict]) -> dict:
        """image (b, 3, h, w), patches_masked (b, gh, gw), itm_labels (b); and (b, t) each:
        input_ids, attention_mask, mlm_input_ids, mlm_labels."""
        import torch

        labels = torch.tensor([example["itm_label"] for example in examples])
        batch = self.pictures.collate(examples) | self.texts.collate(examples)
        return batch | {"itm_labels": labels}
