"""Scenes as training examples: worlds from the pack and its splits, pictures with captions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from minivl.data.captions import caption
from minivl.data.nouns import everyday_name
from minivl.data.pack import Pack
from minivl.data.render import Renderer, sprite_of
from minivl.data.scenes import Scene, World, scene
from minivl.data.splits import Splits
from minivl.data.text import WordPiece, pad_batch
from minivl.errors import require_field

Split = Literal["train", "validation", "twemoji", "compositions"]
SPLITS: tuple[Split, ...] = ("train", "validation", "twemoji", "compositions")
"""train; known artists on unseen photographs; the unseen artist; pairs never seen together."""


@dataclass(frozen=True)
class SceneData:
    """Which scenes to draw. Every field is a flag of `minivl train`."""

    image_size: int = 48
    """Side of the square picture in pixels."""
    concepts: Literal["course", "seen"] = "course"
    """The course's 48 concepts, or every concept that is not held out."""
    objects: tuple[int, int] = (1, 2)
    """Fewest and most things in a picture (1 to 4)."""
    single_share: float = 0.25
    """Share of pictures with one thing, where several are allowed too."""
    twin_share: float = 0.5
    """Share of odd samples that are a minimal pair of the sample before: its mirrored twin or, of
    more than two things, the same with two exchanged."""
    light: float = 1.0
    """How far training varies contrast and colours of the photographs; 0 shows them as taken."""
    captions: tuple[Literal["places", "existence", "relation", "converse", "attributes"], ...] = (
        "places",
    )
    """Which of the five kinds of caption are drawn."""
    vocabulary: Literal["cut", "full"] = "cut"
    """Only the word pieces that captions can hold, or all 30,522 of bert-base-uncased."""
    max_length: int = 32
    """Longest caption in word pieces, with [CLS] and [SEP]."""

    def check(self) -> None:
        """Refuse numbers that no scene can be drawn from (UserError)."""
        fewest, most = self.objects
        require_field(self, "image_size", self.image_size >= 16, "16 or more")
        require_field(self, "objects", 1 <= fewest <= most <= 4, "two numbers from 1 to 4")
        for name in ("single_share", "twin_share"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        require_field(self, "light", 0 <= self.light <= 2, "a number from 0 to 2")
        require_field(self, "captions", bool(self.captions), "at least one kind")
        require_field(self, "max_length", self.max_length >= 3, "3 or more")


def world(
    pack: Pack,
    splits: Splits,
    data: SceneData,
    split: Split,
    *,
    objects: tuple[int, int] | None = None,
) -> World:
    """The world of one split: its artists, photographs and compositions.

    Raises KeyError for an unknown split.
    """
    vendors = splits.test_vendors if split == "twemoji" else splits.train_vendors
    photos = {
        "train": splits.train_photos,
        "validation": splits.validation_photos,
        "twemoji": splits.test_photos,
        "compositions": splits.test_photos,
    }[split]
    ids = splits.course_concepts if data.concepts == "course" else splits.seen_concepts
    hidden = set(splits.reserved_colours) if split == "train" else set()
    return World(
        image_size=data.image_size,
        sprites=tuple(_drawings(pack, concept, vendors, hidden) for concept in ids),
        photos=tuple((name, place) for name, place in pack.photos if name in set(photos)),
        objects=(2, 2) if split == "compositions" else objects or data.objects,
        single_share=data.single_share,
        twin_share=data.twin_share if split == "train" else 0.0,
        light=data.light if split == "train" else 0.0,
        reserved=splits.reserved,
        only_reserved=split == "compositions",
    )


def _drawings(pack: Pack, concept_id: str, vendors: Iterable[str], hidden: set) -> tuple:
    concept = pack.concept(concept_id)
    name = everyday_name(concept.name)
    sprites = [sprite_of(pack, v, concept_id, name) for v in vendors if v in concept.cells]
    # A reserved (colour, concept) is seen in training, but its colour is never named.
    return tuple(
        sprite
        if (sprite.colour, concept_id) not in hidden
        else type(sprite)(sprite.concept, sprite.name, sprite.vendor, None, sprite.extent)
        for sprite in sprites
    )


class SceneExamples:
    """An endless, reproducible sequence of (picture, caption): index in, example out."""

    endless = True

    def __init__(self, source: "SceneSource", split: Split, seed: int):
        self.source = source
        self.world = source.world(split)
        self.seed = seed

    def __len__(self) -> int:
        raise TypeError("scenes are endless: ask for any index")

    def scene(self, index: int) -> Scene:
        """The scene graph of one example."""
        return scene(self.world, self.seed, index)

    def caption(self, index: int) -> str:
        """The caption that training reads; neighbours 2k and 2k+1 (twins) say it the same way."""
        return self._caption(self.scene(index), index)

    def __getitem__(self, index: int) -> dict:
        """image uint8 (h, w, 3) and input_ids, a tuple of ints."""
        drawn = self.scene(index)
        sentence = self._caption(drawn, index)
        return {
            "image": self.source.renderer.image(drawn),
            "input_ids": self.source.encode(sentence),
        }

    def collate(self, examples: list[dict]) -> dict:
        """image (b, 3, h, w) float32 in [-1, 1]; input_ids, attention_mask (b, t)."""
        return collate(examples)

    def _caption(self, drawn: Scene, index: int) -> str:
        kinds = self.source.data.captions
        return caption(drawn, kinds[(index // 2) % len(kinds)])


class SceneSource:
    """Pack, splits, renderer and tokenizer that belong together: where scenes come from."""

    def __init__(self, pack: Pack, data: SceneData, text: WordPiece | None = None):
        """`text`: a tokenizer that knows more than captions; else they have their own."""
        self.pack = pack
        self.data = data
        self.splits = Splits.load(pack)
        self.renderer = Renderer(pack, data.image_size)
        self.world = lru_cache(maxsize=None)(self._world)
        self.text = text or WordPiece.load(pack)
        if text is None and data.vocabulary == "cut":
            worlds = [self.world(split) for split in SPLITS]
            self.text = self.text.cut(text for world in worlds for text in every_text(world))
        self.encode = lru_cache(maxsize=65536)(self._encode)

    @classmethod
    def load(cls, data: SceneData) -> "SceneSource":
        """The source on the embedded pack. Raises DataError if the pack is missing or altered."""
        return cls(Pack.load(), data)

    def examples(self, split: Split, seed: int) -> SceneExamples:
        """The endless examples of one split."""
        return SceneExamples(self, split, seed)

    def _world(self, split: Split, objects: tuple[int, int] | None = None) -> World:
        return world(self.pack, self.splits, self.data, split, objects=objects)

    def _encode(self, sentence: str) -> tuple[int, ...]:
        return tuple(self.text.encode(sentence, max_length=self.data.max_length))


def collate(examples: list[dict]) -> dict:
    """Stack examples into a batch; texts are padded with 0 = [PAD] to the longest.

    image (b, 3, h, w) float32 in [-1, 1]; input_ids (b, t) int64; attention_mask (b, t) bool.
    """
    input_ids, attention_mask = pad_batch([example["input_ids"] for example in examples])
    return {
        "image": to_tensor(np.stack([example["image"] for example in examples])),
        "input_ids": input_ids,
        "attention_mask": attention_mask,
    }


def to_tensor(images: np.ndarray):
    """uint8 (b, h, w, 3) to float32 (b, 3, h, w) in [-1, 1]."""
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def distinct_scenes(world: World, seed: int, count: int, kind: str = "places") -> list[Scene]:
    """The first `count` scenes of a sequence whose captions all differ: a pool for retrieval.

    Raises ValueError where the world is too small to say `count` different sentences.
    """
    seen: dict[str, Scene] = {}
    for index in range(200 * count):
        drawn = scene(world, seed, index)
        seen.setdefault(caption(drawn, kind), drawn)
        if len(seen) == count:
            return list(seen.values())
    raise ValueError(f"only {len(seen)} distinct captions found in {200 * count} scenes")


def every_text(world: World) -> Iterator[str]:
    """All words that captions of this world can hold: what a cut vocabulary must know."""
    from minivl.data.captions import CONVERSE, PLACE_PHRASES, SCENERY

    yield from (sprite.name for drawings in world.sprites for sprite in drawings)
    yield from PLACE_PHRASES.values()
    yield from SCENERY.values()
    yield from CONVERSE
    yield from (sprite.colour or "" for drawings in world.sprites for sprite in drawings)
    yield "a an some the and , there is are small large picture photo of in"
