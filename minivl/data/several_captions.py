"""A set of pictures with several captions each, read in epochs: the form of COCO and Flickr30k.

Each caption stands in a batch of its own, or beside another one of its picture: so each example
carries the id of its picture, by which right pairs are known again, in the batch and in a queue.
"""

from collections.abc import Sequence

import numpy as np

from minivl.data.captions import caption
from minivl.data.examples import SceneExamples, SceneSource, Split, collate
from minivl.data.scenes import Scene
from minivl.data.stream import epoch_order


class SeveralCaptions:
    """Pictures with captions of several kinds: every pair once an epoch, in an order of its own.

    Index in, example out. Neighbours 2k and 2k+1, often mirrored twins, stay neighbours with
    captions of one kind, so that a batch holds the pairs that are hard to tell apart.
    """

    endless = True

    def __init__(
        self, source: SceneSource, split: Split, seed: int, *, pictures: int, kinds: Sequence[str]
    ):
        """`pictures`: how many, an even number; `kinds`: of captions (see `captions.KINDS`)."""
        if pictures < 2 or pictures % 2 or not kinds:
            raise ValueError(f"{pictures} pictures with captions {kinds}: give an even number")
        self.scenes = SceneExamples(source, split, seed)
        self.source, self.seed = source, seed
        self.pictures, self.kinds = pictures, tuple(kinds)

    def __len__(self) -> int:
        raise TypeError("epochs follow one another without end: ask for any index")

    @property
    def epoch(self) -> int:
        """Pairs of one epoch."""
        return self.pictures * len(self.kinds)

    def place(self, index: int) -> tuple[int, str]:
        """Which picture stands at an index, and the kind of its caption there."""
        row, second = divmod(index, 2)
        epoch, offset = divmod(row, self.epoch // 2)
        unit = int(epoch_order(self.epoch // 2, self.seed, epoch)[offset])
        pair, kind = divmod(unit, len(self.kinds))
        return 2 * pair + second, self.kinds[kind]

    def scene(self, index: int) -> Scene:
        """The scene graph of the picture at an index."""
        return self.scenes.scene(self.place(index)[0])

    def caption(self, index: int) -> str:
        """The caption at an index."""
        picture, kind = self.place(index)
        return caption(self.scenes.scene(picture), kind)

    def __getitem__(self, index: int) -> dict:
        """image uint8 (h, w, 3), input_ids, a tuple of ints, and picture_id."""
        picture, kind = self.place(index)
        drawn = self.scenes.scene(picture)
        return {
            "image": self.source.renderer.image(drawn),
            "input_ids": self.source.encode(caption(drawn, kind)),
            "picture_id": picture,
        }

    def collate(self, examples: list[dict]) -> dict:
        """image (b, 3, h, w) float32 in [-1, 1]; input_ids, attention_mask (b, t); picture_ids
        (b) int64."""
        import torch

        ids = torch.from_numpy(np.array([example["picture_id"] for example in examples]))
        return collate(examples) | {"picture_ids": ids}
