"""A statement about two pictures: is it true or false (NLVR2's kind)? Read off both scene graphs.

both   "there is a dog in both pictures"
one    "there is a dog in only one picture"
place  "the dog is in the same place in both pictures", or "in different places in the two"
more   "there are more things in the left picture", or in the right one, or as many in both

The pictures are drawn first, the verdict by a coin, and last a statement that it is right for. So
no pair of pictures foretells the verdict, and no statement does, as each name stands in each part
equally often. Even with the statement, one picture says nothing of `one` and of `place`; of `both`
and of `more` it says something, by logic: who knows that the left one has no dog need not look on.
"""

import itertools
from dataclasses import replace

import numpy as np

from minivl.data.nouns import noun_phrase
from minivl.data.questions import FAR, Asked, Worlds, be, is_clear
from minivl.data.scenes import Scene, World, scene

TRUTHS = ("false", "true")
"""Their places are their numbers, as in NLVR2."""

STATEMENT_KINDS = ("both", "one", "place", "more")

TRIES = 1000
"""Of drawing concepts that may stand together, and of drawing them with places of their own."""


def nlvr(worlds: Worlds, seed: int, index: int) -> Asked:
    """Statement number `index` of an endless sequence, and the two pictures that it is about."""
    draw = np.random.default_rng((seed, index, 5))
    kinds = statement_kinds(worlds(None))
    kind = kinds[draw.integers(len(kinds))]
    holds = bool(draw.integers(2))
    tell = {"more": _more, "place": _place}.get(kind, _presence)
    text, left, right = tell(worlds, seed, index, draw, kind, holds)
    return Asked(left, kind, text, TRUTHS[holds], second=right)


def statement_kinds(world: World) -> tuple[str, ...]:
    """Where all scenes hold equally many things, none has more."""
    same = world.objects[0] == world.objects[1]
    return tuple(kind for kind in STATEMENT_KINDS if not (same and kind == "more"))


Told = tuple[str, Scene, Scene]
"""A statement, the left picture and the right one."""


def _presence(
    worlds: Worlds, seed: int, index: int, draw: np.random.Generator, kind: str, holds: bool
) -> Told:
    """Of two pictures that share one thing: where is it, where is another one of theirs?"""
    counts = [_count(worlds, draw) for _ in range(2)]
    left, right, foreign = sharing(worlds(None), counts, draw)
    alone = (left[1:], right[1:])[draw.integers(2)]
    own = alone[draw.integers(len(alone))]
    unlike = foreign if draw.integers(2) else left[0]
    chosen = {
        ("both", True): left[0],
        ("both", False): own,
        ("one", True): own,
        ("one", False): unlike,
    }[kind, holds]
    name = worlds(None).sprites[chosen][0].name
    where = "in both pictures" if kind == "both" else "in only one picture"
    pictures = (
        holding(worlds, concepts, seed, index + side * TRIES * FAR)
        for side, concepts in enumerate((left, right))
    )
    return (f"there {be(name)} {noun_phrase(name)} {where}", *pictures)


def _place(
    worlds: Worlds, seed: int, index: int, draw: np.random.Generator, kind: str, holds: bool
) -> Told:
    """Of two pictures of equally many things that share one: does it stand in the same place?

    As often as not it does; the statement then says so or denies it.
    """
    count = _count(worlds, draw)
    left, right, _ = sharing(worlds(None), [count, count], draw)
    name = worlds(None).sprites[left[0]][0].name
    first = holding(worlds, left, seed, index)
    same = bool(draw.integers(2))
    candidates = (holding(worlds, right, seed, index + k * TRIES * FAR) for k in itertools.count(1))
    second = next(
        drawn for drawn in candidates if (place_of(drawn, name) == place_of(first, name)) == same
    )
    where = "the same place in both" if same == holds else "different places in the two"
    return f"the {name} {be(name)} in {where} pictures", first, second


def _more(
    worlds: Worlds, seed: int, index: int, draw: np.random.Generator, kind: str, holds: bool
) -> Told:
    """Which picture holds more things? Each of the three answers is right equally often."""
    fewest, most = worlds(None).objects
    say = (
        "there are more things in the left picture",
        "there are more things in the right picture",
        "there are as many things in the left picture as in the right picture",
    )
    right_one, wrong_one = draw.permutation(3)[:2]
    less, more = sorted(fewest + draw.permutation(most - fewest + 1)[:2])
    equal = int(draw.integers(fewest, most + 1))
    counts = ((more, less), (less, more), (equal, equal))[right_one]
    pictures = (
        scene(worlds((int(n), int(n))), seed, index + side * FAR) for side, n in enumerate(counts)
    )
    return (say[right_one if holds else wrong_one], *pictures)


def place_of(drawn: Scene, name: str) -> str:
    """Where the thing of that name stands."""
    return next(thing.place for thing in drawn.things if thing.name == name)


def _count(worlds: Worlds, draw: np.random.Generator) -> int:
    """How many things: two or more, so that one is shared and one is not."""
    fewest, most = worlds(None).objects
    return int(draw.integers(max(2, fewest), max(2, most) + 1))


def sharing(
    world: World, counts: list[int], draw: np.random.Generator
) -> tuple[list[int], list[int], int]:
    """Concepts of two pictures with the same first one, and one that stands in neither.

    All are drawn alike, so that a name stands in each of the parts equally often. Raises
    ValueError if the world allows no such pictures.
    """
    for _ in range(TRIES):
        # The shared one is counted twice, the foreign one not at all.
        drawn = candidates(world, sum(counts), draw)
        if len({world.sprites[i][0].name for i in drawn}) < sum(counts):
            continue
        *together, foreign = drawn
        left, right = together[: counts[0]], [together[0], *together[counts[0] :]]
        # What may meet what is asked of all, so that it favours none of the parts. Where only
        # reserved pairs may meet, so many that all do are too rare.
        groups = [left, right] if world.only_reserved else [drawn]
        if all(allowed(world, group) for group in groups):
            return left, right, foreign
    raise ValueError(f"{len(world.sprites)} concepts make no two pictures that share one")


def candidates(world: World, size: int, draw: np.random.Generator) -> list[int]:
    """Concepts by lot; where pairs that may meet are rare, all but the last may meet the first."""
    if not world.only_reserved:
        return draw.integers(len(world.sprites), size=size).tolist()
    first, last = draw.integers(len(world.sprites), size=2).tolist()
    near = [i for i in range(len(world.sprites)) if i != first and allowed(world, [first, i])]
    return [first, *draw.permutation(near)[: size - 2].astype(int).tolist(), last]


def allowed(world: World, chosen: list[int]) -> bool:
    """Whether these concepts may stand in one picture, each with each."""
    pairs = {
        frozenset(world.sprites[i][0].concept for i in pair)
        for pair in itertools.combinations(chosen, 2)
    }
    return pairs <= world.reserved if world.only_reserved else not pairs & world.reserved


def holding(worlds: Worlds, concepts: list[int], seed: int, index: int) -> Scene:
    """A picture of exactly these concepts, each with a place of its own."""
    world, count = worlds(None), len(concepts)
    own = replace(
        world,
        sprites=tuple(world.sprites[concept] for concept in concepts),
        objects=(count, count),
        twin_share=0.0,
    )
    for attempt in range(TRIES):
        drawn = scene(own, seed, index + attempt * FAR)
        if is_clear(drawn):
            return drawn
    raise ValueError(f"{[drawings[0].name for drawings in own.sprites]} have no clear places")
