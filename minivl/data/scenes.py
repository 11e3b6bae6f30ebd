"""The scene graph: which things stand where on which photograph, drawn from (seed, index) alone.

A scene holds names and numbers only. Pictures (`render`), sentences (`captions`) and, later, boxes,
questions and statements are all read off the same graph, so that every answer is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

PLACES = {
    "left": (0.0, 0.5, 0.0, 1.0),
    "right": (0.5, 1.0, 0.0, 1.0),
    "top": (0.0, 1.0, 0.0, 0.5),
    "bottom": (0.0, 1.0, 0.5, 1.0),
    "middle": (0.15, 0.85, 0.15, 0.85),
    "top left": (0.0, 0.5, 0.0, 0.5),
    "top right": (0.5, 1.0, 0.0, 0.5),
    "bottom left": (0.0, 0.5, 0.5, 1.0),
    "bottom right": (0.5, 1.0, 0.5, 1.0),
}
"""Place name -> region (x0, x1, y0, y1) as fractions of the picture's sides."""

ALONE = {
    "left": (0.0, 0.62, 0.0, 1.0),
    "right": (0.38, 1.0, 0.0, 1.0),
    "top": (0.0, 1.0, 0.0, 0.62),
    "bottom": (0.0, 1.0, 0.38, 1.0),
    "middle": (0.15, 0.85, 0.15, 0.85),
}
"""Regions of a thing that has the picture to itself: roomier, so it is drawn larger."""

QUADRANTS = ("top left", "top right", "bottom left", "bottom right")
ACROSS = {"left": "right", "right": "left", "top": "bottom", "bottom": "top", "middle": "middle"}
"""What a place becomes in the mirrored twin."""

CROP_SIDES = (0.4, 0.55, 0.75, 1.0)
"""Sides of the crops as fractions of a photograph's height: few, so that resized ones are kept."""

LARGE, SMALL = 1.0, 0.82
"""Longer side of a large and a small thing, as a fraction of the largest that fits its region."""


@dataclass(frozen=True)
class Thing:
    """One sprite in a scene."""

    concept: str
    name: str
    vendor: str
    place: str
    size: str
    colour: str | None
    box: tuple[int, int, int, int]
    """x, y, width, height in pixels of the picture: the exact box of the visible drawing."""


@dataclass(frozen=True)
class Scene:
    """Things on a crop of a photograph."""

    seed: int
    index: int
    image_size: int
    photo: str
    photo_place: str
    crop: tuple[float, float, float, bool]
    """x and y in the room that the square crop leaves, its side as a fraction of the photograph's
    height, and if it is flipped."""
    light: tuple[float, float, float, float] | None
    """Contrast of red, green and blue about mid-grey and added brightness; None: as taken."""
    things: tuple[Thing, ...]
    """In reading order: left before right, top before bottom."""


@dataclass(frozen=True)
class Sprite:
    """A drawing that scenes may use: its concept, words, artist, colour and shape."""

    concept: str
    name: str
    vendor: str
    colour: str | None
    extent: tuple[int, int]
    """Width and height of the opaque part in the sheet's cell, in pixels."""


@dataclass(frozen=True)
class World:
    """Everything scenes are drawn from. Two equal worlds give equal scenes."""

    image_size: int
    sprites: tuple[tuple[Sprite, ...], ...]
    """One tuple of drawings a concept."""
    photos: tuple[tuple[str, str], ...]
    """(name, place) of each photograph."""
    objects: tuple[int, int] = (1, 2)
    """Fewest and most things in a scene."""
    single_share: float = 0.25
    """Probability of a scene with one thing, where both one and several are allowed."""
    twin_share: float = 0.0
    """Probability that scene 2k+1 is a minimal pair of scene 2k: its mirrored twin or, of more than
    two things, one in which two have exchanged their places."""
    light: float = 0.0
    """How far the photograph's contrast and colours wander: 0 as taken, 1 from half to double."""
    reserved: frozenset[frozenset[str]] = frozenset()
    """Pairs of concepts kept for the test of new compositions."""
    only_reserved: bool = False
    """Draw reserved pairs only (the test of new compositions) instead of never."""


def scene(world: World, seed: int, index: int) -> Scene:
    """Scene number `index` of the endless sequence that `seed` names: always the same one."""
    draw = np.random.default_rng((seed, index))
    if index % 2 and world.twin_share and draw.random() < world.twin_share:
        before = scene(world, seed, index - 1)
        twin = mirrored(before) if len(before.things) <= 2 else exchanged(before, draw)
        if twin is not None:
            return replace(twin, index=index)
    photo, photo_place = world.photos[draw.integers(len(world.photos))]
    side = CROP_SIDES[draw.integers(len(CROP_SIDES))]
    crop = (draw.random(), draw.random(), side, bool(draw.random() < 0.5))
    light = draw_light(world.light, draw) if world.light else None
    sprites, places = choose_sprites_and_places(world, draw)
    regions = PLACES if len(sprites) > 1 else ALONE
    things = tuple(
        place_sprite(sprite, place, regions[place], world.image_size, draw)
        for sprite, place in zip(sprites, places, strict=True)
    )
    return Scene(seed, index, world.image_size, photo, photo_place, crop, light, things)


def draw_light(strength: float, draw: np.random.Generator) -> tuple[float, float, float, float]:
    """Few photographs teach a model their colours; other light on them teaches it to look past."""
    shared = draw.uniform(-strength, strength)
    red, green, blue = 2.0 ** (shared + draw.uniform(-strength / 2, strength / 2, size=3))
    return float(red), float(green), float(blue), float(64 * draw.uniform(-strength, strength))


def choose_sprites_and_places(
    world: World, draw: np.random.Generator
) -> tuple[list[Sprite], list[str]]:
    """Different concepts for the places of one layout: one place, two sides, or quadrants."""
    fewest, most = world.objects
    count = fewest
    if most > fewest:
        several = draw.random() >= world.single_share if fewest == 1 else True
        count = int(draw.integers(max(fewest, 2), most + 1)) if several else fewest
    concepts = draw_concepts(world, count, draw)
    sprites = [world.sprites[c][draw.integers(len(world.sprites[c]))] for c in concepts]
    if count == 1:
        return sprites, [("left", "right", "top", "bottom", "middle")[draw.integers(5)]]
    if count == 2:
        return sprites, [["left", "right"], ["top", "bottom"]][draw.integers(2)]
    chosen = sorted(draw.permutation(4)[:count])
    return sprites, [QUADRANTS[q] for q in chosen]


def draw_concepts(world: World, count: int, draw: np.random.Generator) -> list[int]:
    """`count` different concepts whose pairs are all allowed; ends, since pairs are redrawn."""
    for _ in range(1000):
        chosen = draw.integers(len(world.sprites), size=count)
        names = [world.sprites[c][0].concept for c in chosen]
        pairs = {frozenset((a, b)) for i, a in enumerate(names) for b in names[:i]}
        allowed = pairs <= world.reserved if world.only_reserved else not pairs & world.reserved
        if allowed and len(set(names)) == count:
            return [int(c) for c in chosen]
    raise ValueError(f"no {count} concepts of {len(world.sprites)} make an allowed composition")


def place_sprite(
    sprite: Sprite,
    place: str,
    region: tuple[float, float, float, float],
    image_size: int,
    draw: np.random.Generator,
) -> Thing:
    """A thing of random size, at a random spot that lies inside its place's region."""
    x0, x1, y0, y1 = (round(f * image_size) for f in region)
    room = min(x1 - x0, y1 - y0)
    size = "large" if draw.random() < 0.6 else "small"
    longest = room * (LARGE if size == "large" else SMALL) * draw.uniform(0.92, 1.0)
    scale = longest / max(sprite.extent)
    width, height = (max(3, round(side * scale)) for side in sprite.extent)
    x = x0 + int(draw.integers(max(1, x1 - x0 - width + 1)))
    y = y0 + int(draw.integers(max(1, y1 - y0 - height + 1)))
    if place == "middle":
        x, y = (image_size - width) // 2, (image_size - height) // 2
    box = (x, y, width, height)
    return Thing(sprite.concept, sprite.name, sprite.vendor, place, size, sprite.colour, box)


def mirrored(original: Scene) -> Scene | None:
    """The minimal pair: the same things on the same photograph with their sides exchanged.

    Drawings are moved, not flipped, and are listed left to right or top to bottom as in every
    scene, so that a sentence names them in reading order. None where nothing would change (a
    thing in the middle) or
    where sides are not what the sentence says (more than two things).
    """
    if len(original.things) > 2 or original.things[0].place == "middle":
        return None
    axis = 0 if original.things[0].place in ("left", "right") else 1
    moved = [_across(thing, axis, original.image_size) for thing in original.things]
    return replace(original, things=tuple(reversed(moved)))


def _across(thing: Thing, axis: int, image_size: int) -> Thing:
    box = list(thing.box)
    box[axis] = image_size - box[axis] - box[axis + 2]
    return replace(thing, place=ACROSS[thing.place], box=tuple(box))


def exchanged(original: Scene, draw: np.random.Generator) -> Scene:
    """The minimal pair of many things: two of them stand where the other one stood."""
    order = list(range(len(original.things)))
    one, other = draw.choice(len(order), size=2, replace=False)
    order[one], order[other] = order[other], order[one]
    return arranged(original, order)


def arranged(original: Scene, order: Sequence[int]) -> Scene:
    """The same things on the same photograph, thing i where thing order[i] stood.

    A sentence about it has the same words; only what stands where is another matter.
    """
    things = list(original.things)
    for thing, place in zip(original.things, order, strict=True):
        things[place] = moved(thing, original.things[place].place, original.image_size)
    return replace(original, things=tuple(things))


def moved(thing: Thing, place: str, image_size: int) -> Thing:
    """A thing at the same spot of another place of its layout, whose regions are alike."""
    x, y, width, height = thing.box
    (x0, _, y0, _), (new_x0, _, new_y0, _) = PLACES[thing.place], PLACES[place]
    x += round((new_x0 - x0) * image_size)
    y += round((new_y0 - y0) * image_size)
    return replace(thing, place=place, box=(x, y, width, height))


def relation(a: Thing, b: Thing) -> str:
    """Where `a` stands seen from `b`: "left of", "right of", "above" or "below" (box centres)."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    dx, dy = (ax + aw / 2) - (bx + bw / 2), (ay + ah / 2) - (by + bh / 2)
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"
