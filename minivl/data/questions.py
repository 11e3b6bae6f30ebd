"""Labelled tasks that are read off the scene graph, so that every answer is exact.

vqa         a question about a picture; its answers are of a fixed list of words (VQA v2's kind)
entailment  a sentence about a picture: is it true, false, or is it undecided (SNLI-VE's kind)?
sentences   the same of two sentences, without a picture (MNLI's kind)

A statement about two pictures stands in `statements`. Priors are kept out as they are drawn: a
question or a sentence alone is followed by each of its answers equally often, and so is a picture.
Who is right more often than that has read both sides. The names of the benchmarks belong to other
data: only the form of the tasks is theirs.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from minivl.data.captions import CONVERSE, PLACE_PHRASES, SCENERY, caption
from minivl.data.nouns import is_plural, noun_phrase
from minivl.data.scenes import ACROSS, PLACES, QUADRANTS, Scene, Thing, World, relation, scene

NUMBERS = ("one", "two", "three", "four")
FAR = 2**32
"""Further apart than any two scenes that a training reads; even, so that twins stay twins."""

SIDES = ("left", "right", "top", "bottom")
VERDICTS = ("entailment", "neutral", "contradiction")
"""In the order of their numbers here; ALBEF's published weights count them from the other end."""

VQA_KINDS = ("what", "anything", "where", "how_many", "exists", "place", "relation")
"""Kinds of questions; the last three are answered by yes or no, `anything` by any thing's name."""

VIEWERS = 10
"""Each question of VQA v2 is answered by so many people; an answer weighs what share gives it."""

SENTENCE_KINDS = ("place", "scenery")
"""What the second sentence of a pair is about."""

Worlds = Callable[[tuple[int, int] | None], World]
"""(fewest, most) things -> the world of a split that has so many; None: as many as usual."""


@dataclass(frozen=True)
class Asked:
    """One question or claim with its answer, and what it is asked of."""

    scene: Scene
    kind: str
    text: str
    answer: str
    premise: str = ""
    """The sentence that the text is to be judged by, where no picture is shown."""
    covered: tuple[float, float, float, float] | None = None
    """The part of the picture that is painted over: x0, x1, y0, y1 as fractions of its sides."""
    second: Scene | None = None
    """The picture on the right, where there are two."""
    said: tuple[str, ...] = ()
    """What each viewer answers, where several answers are right; else all say `answer`."""

    @property
    def voices(self) -> tuple[str, ...]:
        """The answers of all `VIEWERS`, the most frequent first."""
        return self.said or (self.answer,) * VIEWERS

    @property
    def shares(self) -> dict[str, float]:
        """Answer -> how much it weighs: the share of the viewers that give it."""
        return {answer: count / VIEWERS for answer, count in Counter(self.voices).items()}


# Questions.


def vqa(worlds: Worlds, seed: int, index: int) -> Asked:
    """Question number `index` of an endless sequence, and the scene that it is asked of."""
    draw = _draw(seed, index)
    usual = worlds(None)
    kinds = vqa_kinds(usual)
    kind = kinds[draw.integers(len(kinds))]
    if kind == "how_many":
        count = int(draw.integers(usual.objects[0], usual.objects[1] + 1))
        drawn = scene(worlds((count, count)), seed, index)
    else:
        drawn, _ = _several_things(worlds, seed, index)
    text, answer = _ASK[kind](drawn, usual, draw)
    return Asked(drawn, kind, text, answer, said=viewers(drawn) if kind == "anything" else ())


def vqa_kinds(world: World) -> tuple[str, ...]:
    """Where all scenes hold equally many things, nobody asks how many."""
    same = world.objects[0] == world.objects[1]
    return tuple(kind for kind in VQA_KINDS if not (same and kind == "how_many"))


def vqa_answers(world: World) -> tuple[str, ...]:
    """All answers: yes, no, places, numbers, and the names of things."""
    fewest, most = world.objects
    places = SIDES if most < 3 else (*SIDES, *QUADRANTS)
    names = sorted({drawings[0].name for drawings in world.sprites})
    return tuple(dict.fromkeys(("yes", "no", *places, *NUMBERS[fewest - 1 : most], *names)))


def _what(drawn: Scene, world: World, draw: np.random.Generator) -> tuple[str, str]:
    thing = _one(drawn.things, draw)
    return f"what is {PLACE_PHRASES[thing.place]}", thing.name


def _anything(drawn: Scene, world: World, draw: np.random.Generator) -> tuple[str, str]:
    return "what is in the picture", viewers(drawn)[0]


def viewers(drawn: Scene) -> tuple[str, ...]:
    """What `VIEWERS` people call a picture who each point at random into a thing's box and name it.

    A thing so has its share of the boxes' area, in whole viewers (largest remainders first; equal
    ones in reading order). The most frequent name stands first.
    """
    areas = np.array([thing.box[2] * thing.box[3] for thing in drawn.things])
    exact = VIEWERS * areas / areas.sum()
    counts = np.floor(exact).astype(int)
    left_over = VIEWERS - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:left_over]] += 1
    order = np.argsort(-counts, kind="stable")
    return tuple(drawn.things[i].name for i in order for _ in range(counts[i]))


def _where(drawn: Scene, world: World, draw: np.random.Generator) -> tuple[str, str]:
    thing = _one(drawn.things, draw)
    return f"where {be(thing.name)} the {thing.name}", thing.place


def _how_many(drawn: Scene, world: World, draw: np.random.Generator) -> tuple[str, str]:
    return "how many things are there", NUMBERS[len(drawn.things) - 1]


def _exists(drawn: Scene, world: World, draw: np.random.Generator) -> tuple[str, str]:
    holds = bool(draw.integers(2))
    name = _one(drawn.things, draw).name if holds else absent(drawn, world, draw)
    return f"{be(name)} there {noun_phrase(name)}", _yes(holds)


def _place(drawn: Scene, world: World, draw: np.random.Generator) -> tuple[str, str]:
    holds = bool(draw.integers(2))
    thing = _one(drawn.things, draw)
    place = thing.place if holds else another_place(thing.place, draw)
    return f"{be(thing.name)} the {thing.name} {PLACE_PHRASES[place]}", _yes(holds)


def _relation(drawn: Scene, world: World, draw: np.random.Generator) -> tuple[str, str]:
    holds = bool(draw.integers(2))
    first, second = (drawn.things[i] for i in draw.permutation(len(drawn.things))[:2])
    said = relation(first, second)
    said = said if holds else CONVERSE[said]
    return f"{be(first.name)} the {first.name} {said} the {second.name}", _yes(holds)


_ASK = dict(
    zip(
        VQA_KINDS,
        (_what, _anything, _where, _how_many, _exists, _place, _relation),
        strict=True,
    )
)


# Claims about pictures.


def entailment(worlds: Worlds, seed: int, index: int) -> Asked:
    """A claim about a picture of which one place is painted over.

    What is said of a place that is seen is true or false; what is said of the painted one is
    neither, however much it sounds like it. A claim alone fits each verdict equally well.
    """
    draw = _draw(seed, index)
    drawn, world = _several_things(worlds, seed, index)
    shown, covered = (drawn.things[i] for i in draw.permutation(len(drawn.things))[:2])
    verdict = VERDICTS[draw.integers(len(VERDICTS))]
    wrong = covered.name if draw.integers(2) else absent(drawn, world, draw)
    name = shown.name if verdict == "entailment" else wrong
    place = covered.place if verdict == "neutral" else shown.place
    return Asked(drawn, "claim", claim(name, place), verdict, covered=PLACES[covered.place])


def claim(name: str, place: str) -> str:
    """What is where: "a dog on the left"."""
    return f"{noun_phrase(name)} {PLACE_PHRASES[place]}"


# Claims about sentences.


def sentences(worlds: Worlds, seed: int, index: int) -> Asked:
    """A claim about a thing, and a sentence about its scene that may decide it.

    The first sentence tells all things with their places, or all things with the scenery, never
    both. A claim about what it tells is true or false, one about the other is neither.
    """
    draw = _draw(seed, index)
    drawn, world = _several_things(worlds, seed, index)
    # Nothing is drawn, so that no photograph is due: each scenery is as frequent as the others.
    sceneries = sorted(SCENERY)
    true, false = (sceneries[i] for i in draw.permutation(len(sceneries))[:2])
    drawn = replace(drawn, photo_place=true)
    about = SENTENCE_KINDS[draw.integers(len(SENTENCE_KINDS))]
    verdict = VERDICTS[draw.integers(len(VERDICTS))]
    # A name that the first sentence lacks is false of any scene: undecided claims have none.
    wrong = {
        "entailment": "nothing",
        "contradiction": ("name", about)[draw.integers(2)],
        "neutral": ("nothing", about)[draw.integers(2)],
    }[verdict]
    thing = _one(drawn.things, draw)
    name = absent(drawn, world, draw) if wrong == "name" else thing.name
    if about == "place":
        place = another_place(thing.place, draw) if wrong == "place" else thing.place
        text = claim(name, place)
    else:
        text = f"{noun_phrase(name)} {SCENERY[false if wrong == 'scenery' else true]}"
    told = about if verdict != "neutral" else _other(about)
    premise = caption(drawn, "places" if told == "place" else "existence")
    return Asked(drawn, about, text, verdict, premise=premise)


def _other(about: str) -> str:
    first, second = SENTENCE_KINDS
    return second if about == first else first


# What all share.


def _several_things(worlds: Worlds, seed: int, index: int) -> tuple[Scene, World]:
    """Scene number `index` of those with two clear things or more, and its world.

    One thing alone would leave nothing to choose; in most worlds the first scene drawn will do.
    """
    fewest, most = worlds(None).objects
    world = worlds((max(2, fewest), max(2, most)))
    for attempt in range(1000):
        drawn = scene(world, seed, index + attempt * FAR)
        if is_clear(drawn):
            return drawn, world
    raise ValueError("the world has no two concepts of different names")


def is_clear(drawn: Scene) -> bool:
    """Whether each thing has a name and a place of its own, whoever looks at the picture.

    Two concepts may share a name. And where two things stand in opposite corners, nobody knows
    if one is the left or the top one.
    """
    if len({thing.name for thing in drawn.things}) < len(drawn.things):
        return False
    half = round(drawn.image_size / 2)
    apart = [sum(_side(thing, axis, half) for thing in drawn.things) == 0 for axis in (0, 1)]
    sided = [all(_side(thing, axis, half) for thing in drawn.things) for axis in (0, 1)]
    return len(drawn.things) != 2 or not all((*apart, *sided))


def _side(thing: Thing, axis: int, half: int) -> int:
    """-1 before the middle of the picture, 1 behind it, 0 where the thing reaches across."""
    start, length = thing.box[axis], thing.box[axis + 2]
    return (start >= half) - (start + length <= half)


def absent(drawn: Scene, world: World, draw: np.random.Generator) -> str:
    """The name of something that the scene does not hold."""
    present = {thing.name for thing in drawn.things}
    for _ in range(1000):
        name = world.sprites[draw.integers(len(world.sprites))][0].name
        if name not in present:
            return name
    raise ValueError(f"all {len(world.sprites)} concepts of the world are called {present}")


def another_place(place: str, draw: np.random.Generator) -> str:
    """The other side, or another corner."""
    if place in ACROSS:
        return ACROSS[place]
    others = [corner for corner in QUADRANTS if corner != place]
    return others[draw.integers(len(others))]


def words() -> Iterator[str]:
    """What tasks say that captions do not: every vocabulary must know it."""
    yield from ("what is", "where are", "how many things are there", "the")
    yield from ("in both pictures", "in only one picture", "more things in the left picture")
    yield from ("as many things", "in the same place", "in different places in the two pictures")


def _draw(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng((seed, index, 4))


def _one(things: tuple[Thing, ...], draw: np.random.Generator) -> Thing:
    return things[draw.integers(len(things))]


def be(name: str) -> str:
    """The verb of a noun: is, or are."""
    return "are" if is_plural(name) else "is"


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
