"""Object-centred pictures: one large drawing on an even background, cut into many views.

DINO asks what the crops of a picture have in common. On a photograph behind a small drawing that is
the photograph; so here the drawing fills the picture, and backgrounds tell nothing.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from minivl.data.crop_data import CropData
from minivl.data.examples import SceneData, Split
from minivl.data.examples import world as scene_world
from minivl.data.pack import Pack
from minivl.data.render import Renderer
from minivl.data.scenes import CROP_SIDES, Scene, Sprite, Thing, World
from minivl.data.splits import Splits
from minivl.errors import require_field

SIZES = 8
"""Sizes of a drawing between the smallest and the largest: few, so that resized ones are kept."""


@dataclass(frozen=True)
class ObjectData:
    """Which pictures to draw, and how to cut them. Every field is a flag of `minivl train`."""

    picture_size: int = 256
    """Side of the square picture that crops are cut from, in pixels."""
    concepts: Literal["course", "seen"] = "course"
    """The course's 48 concepts, or every concept that is not held out."""
    object_share: tuple[float, float] = (0.6, 0.95)
    """Longer side of the drawing as a share of the picture's, from smallest to largest."""
    background: Literal["even", "photo"] = "even"
    """One colour, or the crop of a photograph: then DINO learns the photograph."""
    colours: float = 0.5
    """How far an even background strays from mid-grey; 0 is grey, 1 is any colour."""
    crops: CropData = field(default_factory=CropData)

    def check(self) -> None:
        """Refuse numbers that no picture can be drawn from (UserError)."""
        low, high = self.object_share
        require_field(self, "object_share", 0 < low <= high <= 1, "two rising shares above 0")
        require_field(self, "colours", 0 <= self.colours <= 1, "a share from 0 to 1")
        largest = max(self.crops.global_size, self.crops.local_size, 16)
        fits = self.picture_size >= largest
        require_field(self, "picture_size", fits, f"{largest} or more, the size of the crops")


@dataclass(frozen=True)
class ObjectPicture:
    """One thing and what is behind it: names and numbers only, as in a scene."""

    seed: int
    index: int
    image_size: int
    label: int
    """Number of the concept in its world: for evaluation, never for DINO."""
    colour: tuple[int, int, int] | None
    """The even background; None: the photograph of the scene."""
    scene: Scene
    """The thing, and a crop of a photograph."""

    @property
    def things(self) -> tuple[Thing, ...]:
        """The one thing."""
        return self.scene.things


def object_picture(world: World, data: ObjectData, seed: int, index: int) -> ObjectPicture:
    """Picture number `index` of the endless sequence that `seed` names: always the same one."""
    draw = np.random.default_rng((seed, index))
    size = world.image_size
    label = int(draw.integers(len(world.sprites)))
    drawings = world.sprites[label]
    thing = place(drawings[draw.integers(len(drawings))], data.object_share, size, draw)
    shade = 127.5 + 127.5 * data.colours * draw.uniform(-1, 1, size=3)
    colour = None if data.background == "photo" else tuple(int(c) for c in shade.round())
    photo, photo_place = world.photos[draw.integers(len(world.photos))]
    side = CROP_SIDES[draw.integers(len(CROP_SIDES))]
    crop = (draw.random(), draw.random(), side, bool(draw.random() < 0.5))
    scene = Scene(seed, index, size, photo, photo_place, crop, None, (thing,))
    return ObjectPicture(seed, index, size, label, colour, scene)


def place(
    sprite: Sprite, share: tuple[float, float], size: int, draw: np.random.Generator
) -> Thing:
    """The drawing in one of a few sizes, anywhere in the picture."""
    step = draw.integers(SIZES) / (SIZES - 1)
    longest = size * (share[0] + (share[1] - share[0]) * step)
    scale = longest / max(sprite.extent)
    width, height = (min(size, max(3, round(side * scale))) for side in sprite.extent)
    x, y = (int(draw.integers(size - side + 1)) for side in (width, height))
    name = "large" if step >= 0.5 else "small"
    box = (x, y, width, height)
    return Thing(sprite.concept, sprite.name, sprite.vendor, "middle", name, sprite.colour, box)


class ObjectRenderer(Renderer):
    """Draws object-centred pictures."""

    def background(self, picture: ObjectPicture) -> np.ndarray:
        """The even colour, or the photograph's crop, uint8 (height, width, 3)."""
        if picture.colour is None:
            return super().background(picture.scene)
        canvas = np.empty((self.image_size, self.image_size, 3), np.uint8)
        canvas[:] = picture.colour
        return canvas


class ObjectSource:
    """Pack, splits and renderers: where object-centred pictures come from."""

    def __init__(self, pack: Pack, data: ObjectData):
        self.pack = pack
        self.data = data
        self.splits = Splits.load(pack)
        self.world = lru_cache(maxsize=None)(self._world)
        self.renderer = lru_cache(maxsize=None)(self._renderer)

    @classmethod
    def load(cls, data: ObjectData) -> "ObjectSource":
        """The source on the embedded pack. Raises DataError if the pack is missing or altered."""
        return cls(Pack.load(), data)

    @property
    def names(self) -> list[str]:
        """The class names, in the order of the labels."""
        return [drawings[0].name for drawings in self.world("train").sprites]

    def examples(self, split: Split, seed: int) -> "ObjectExamples":
        """The endless examples of one split, for training."""
        return ObjectExamples(self, split, seed)

    def pictures(
        self, split: Split, seed: int, count: int, size: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whole pictures for evaluation, drawn at `size` (that of the global crops).

        uint8 (n, size, size, 3), labels (n,), and the thing's mask bool (n, size, size).
        """
        size = size or self.data.crops.global_size
        renderer, world = self.renderer(size), self.world(split, size)
        drawn = [object_picture(world, self.data, seed, index) for index in range(count)]
        images = np.stack([renderer.image(one) for one in drawn])
        masks = np.stack([renderer.masks(one)[0] for one in drawn])
        return images, np.array([one.label for one in drawn]), masks

    def _world(self, split: Split, size: int | None = None) -> World:
        data = SceneData(
            image_size=size or self.data.picture_size,
            concepts=self.data.concepts,
            objects=(1, 1),
            light=0.0,
        )
        return scene_world(self.pack, self.splits, data, split)

    def _renderer(self, size: int) -> ObjectRenderer:
        return ObjectRenderer(self.pack, size)


class ObjectExamples:
    """An endless, reproducible sequence of pictures and the numbers that their views follow."""

    endless = True

    def __init__(self, source: ObjectSource, split: Split, seed: int):
        self.source = source
        self.world = source.world(split)
        self.renderer = source.renderer(source.data.picture_size)
        self.seed = seed

    def __len__(self) -> int:
        raise TypeError("pictures are endless: ask for any index")

    def picture(self, index: int) -> ObjectPicture:
        """What one example shows."""
        return object_picture(self.world, self.source.data, self.seed, index)

    def __getitem__(self, index: int) -> dict:
        """image uint8 (h, w, 3), label, and the uniform numbers of its views."""
        from minivl.data.crops import draw_views

        drawn = self.picture(index)
        draws = draw_views(np.random.default_rng((self.seed, index, 1)), self.source.data.crops)
        return {"image": self.renderer.image(drawn), "label": drawn.label, "draws": draws}

    def collate(self, examples: list[dict]) -> dict:
        """global_crops (b, 2, 3, h, w) and local_crops (b, n, 3, h, w) float32; label (b,)."""
        import torch

        from minivl.data.crops import multi_crop

        images, draws = (
            torch.from_numpy(np.stack([example[name] for example in examples]))
            for name in ("image", "draws")
        )
        label = torch.tensor([example["label"] for example in examples])
        return multi_crop(images, draws, self.source.data.crops) | {"label": label}
