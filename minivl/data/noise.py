"""Captions as the web has them: some belong to another picture, some lack a thing, some add words.

The clean caption stays known, so that what noise costs, and what a method wins back, is measured.
Which caption is spoilt, and how, follows from (seed, index) alone. Beside this made noise there is
real noise: drawings of Open Clip Art, titled by whoever uploaded them.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from minivl.data.captions import caption
from minivl.data.examples import SceneExamples
from minivl.data.nouns import noun_phrase
from minivl.data.scenes import PLACES, QUADRANTS, Scene, Thing, World
from minivl.data.titled import TitledDrawings
from minivl.errors import require_field

Kind = Literal["none", "wrong", "missing", "extra", "titled"]

BEFORE = ("stock photo of", "free download :", "vector image of", "best price for")
AFTER = ("- high quality", "for sale", "free download", "stock photo", "royalty free image")
"""Words that stand in the web's captions and tell nothing of the picture."""

LAYOUTS = (("left", "right"), ("top", "bottom"), QUADRANTS)
"""Places that things of one scene share."""


@dataclass(frozen=True)
class NoiseData:
    """Which share of the captions is spoilt, and how. Every field is a flag."""

    wrong: float = 0.0
    """Captions that belong to another picture."""
    missing: float = 0.0
    """Captions that leave a thing out or, of a single thing, all but its name."""
    extra: float = 0.0
    """Captions that name a thing that is not there, or add words that tell nothing."""
    titled: float = 0.0
    """Pairs that are drawings of Open Clip Art with the titles that people gave them, right or not;
    first fetched with `minivl data build --extra openclipart`."""

    def check(self) -> None:
        """Refuse shares that are none, or more than all captions (UserError)."""
        for name in vars(self):
            require_field(self, name, getattr(self, name) >= 0, "a share of 0 or more")
        fits = sum(vars(self).values()) <= 1 + 1e-9
        expected = "less: wrong, missing, extra and titled add up to 1 at most"
        require_field(self, "wrong", fits, expected)


AWAY = 120 * 2**30
"""Further than any training reads; even, so that twins stay twins, and a multiple of twice any
number of wordings, so that captions stay of their kind."""


@dataclass(frozen=True)
class Told:
    """What stands beside a picture, and what should."""

    kind: Kind
    """How the caption was spoilt; none, also where the other picture's says the same."""
    said: str
    """What training reads."""
    clean: str
    """What is true; of a titled drawing nobody knows, and the title stands here, too."""


class NoisyCaptions:
    """The captions of a sequence of scenes, spoilt as told; index in, sentence out.

    A wrong caption is that of a picture which no training reaches, as on the web: were it another
    one's of the batch, that batch would hold the true caption, too, and teach that it is wrong.
    Mirrored twins get another twins' captions, never each other's. Groups of four pictures share
    their lot; titled drawings take the place of a whole group.
    """

    def __init__(self, scenes: SceneExamples, noise: NoiseData):
        """Raises DataError where titled drawings are asked for and were not fetched."""
        self.scenes, self.noise = scenes, noise
        self.titled = TitledDrawings(scenes) if noise.titled else None

    def scene(self, index: int) -> Scene:
        """The scene graph of the picture."""
        if self.titled is not None and self.drawn(index) == "titled":
            return self.titled.scene(index)
        return self.scenes.scene(index)

    def image(self, index: int) -> np.ndarray:
        """The picture, uint8 (height, width, 3)."""
        if self.titled is not None and self.drawn(index) == "titled":
            return self.titled.image(index)
        return self.scenes.source.renderer.image(self.scenes.scene(index))

    def caption(self, index: int) -> str:
        """What training reads beside a picture."""
        return self.told(index).said

    def told(self, index: int) -> Told:
        """The same with its truth, and what was done to it."""
        kind = self.drawn(index)
        if self.titled is not None and kind == "titled":
            title = self.titled.title(index)
            return Told(kind, title, title)
        clean = self.scenes.caption(index)
        said = clean if kind == "none" else self.spoilt(index, kind)
        return Told("none" if said == clean else kind, said, clean)

    def drawn(self, index: int) -> Kind:
        """What is to be done to a caption."""
        exchanged, other = self._draw(index // 4, 6), self._draw(index, 5)
        lot = exchanged.random()
        if lot < self.noise.titled:
            return "titled"
        if lot < self.noise.titled + self.noise.wrong:
            return "wrong"
        # Of the captions that are left, so that each share is one of all captions.
        place = other.random() * (1 - self.noise.titled - self.noise.wrong)
        if place < self.noise.missing:
            return "missing"
        return "extra" if place < self.noise.missing + self.noise.extra else "none"

    def spoilt(self, index: int, kind: Kind) -> str:
        """A picture's caption after one kind of noise."""
        if kind == "wrong":
            return self.scenes.caption(index + AWAY)
        kinds = self.scenes.source.data.captions
        # As `SceneExamples` words them: neighbours alike.
        wording, shown = kinds[index // 2 % len(kinds)], self.scenes.scene(index)
        draw = self._draw(index, 7)
        if kind == "missing":
            return with_less(shown, wording, draw)
        return with_more(shown, wording, self.scenes.world, draw)

    def _draw(self, index: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.scenes.seed, index, purpose))


def with_less(shown: Scene, wording: str, draw: np.random.Generator) -> str:
    """A caption that leaves one thing out; of a single thing it says the name and no more."""
    if len(shown.things) == 1:
        return noun_phrase(shown.things[0].name)
    left_out = draw.integers(len(shown.things))
    kept = shown.things[:left_out] + shown.things[left_out + 1 :]
    return caption(replace(shown, things=kept), wording)


def with_more(shown: Scene, wording: str, world: World, draw: np.random.Generator) -> str:
    """A caption that also names a thing that is not there, or says what the web says everywhere."""
    clean = caption(shown, wording)
    invented = invent(shown, world, draw) if draw.random() < 0.5 else None
    if invented is not None:
        at = draw.integers(len(shown.things) + 1)
        more = (*shown.things[:at], invented, *shown.things[at:])
        said = caption(replace(shown, things=more), wording)
        if said != clean:  # a relation is one of two things, whatever else there is
            return said
    if draw.random() < 0.5:
        return f"{BEFORE[draw.integers(len(BEFORE))]} {clean}"
    return f"{clean} {AFTER[draw.integers(len(AFTER))]}"


def invent(shown: Scene, world: World, draw: np.random.Generator) -> Thing | None:
    """A thing that is not in the scene, as if it stood there; None where the world has no other.

    Where a place of the scene's layout is free, it stands there: no caption betrays it. It makes no
    pair that is kept for the test.
    """
    present = {thing.concept for thing in shown.things}
    named = {thing.name for thing in shown.things}
    absent = [
        drawings
        for drawings in world.sprites
        if drawings[0].name not in named
        and not any(frozenset((drawings[0].concept, other)) in world.reserved for other in present)
    ]
    if not absent:
        return None
    drawings = absent[draw.integers(len(absent))]
    sprite = drawings[draw.integers(len(drawings))]
    taken = {thing.place for thing in shown.things}
    layout = next((places for places in LAYOUTS if taken <= set(places)), tuple(taken))
    free = [place for place in layout if place not in taken] or layout
    place = free[draw.integers(len(free))]
    size = ("large", "small")[draw.integers(2)]
    x0, x1, y0, y1 = (round(f * shown.image_size) for f in PLACES[place])
    box = (x0, y0, x1 - x0, y1 - y0)
    return Thing(sprite.concept, sprite.name, sprite.vendor, place, size, sprite.colour, box)
