"""Tasks on sentences alone, in the forms of three that UniT learns (Hu and Singh 2021, table 1).

caption-answers  does the sentence answer the question? (QNLI's form)
caption-pairs    do two sentences say the same? (QQP's form)
gloss-kinds      is it a living thing or an artifact that is defined here? (SST-2's form)

The fourth, of MNLI's form, is `questions.sentences`. All are named for what they are: QNLI, QQP and
SST-2 are other data, which `glue` reads. The first two are read off scene graphs, so that every
answer is exact, and of their two sentences neither one alone foretells it. The third is WordNet's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from minivl.data.examples import Split
from minivl.data.nouns import noun_phrase
from minivl.data.pack import Pack
from minivl.data.questions import FAR, Worlds, be, claim
from minivl.data.scenes import Scene, Thing, World, mirrored, relation, scene
from minivl.data.statements import allowed
from minivl.data.stream import epoch_order
from minivl.data.tasks import Source, encode_pair
from minivl.data.text import WordPiece, pad_batch
from minivl.data.texts import HELD_OUT, definition, share
from minivl.errors import DataError

if TYPE_CHECKING:
    import torch

SentenceTask = Literal["caption-answers", "caption-pairs", "gloss-kinds"]

CLASSES: dict[SentenceTask, tuple[str, ...]] = {
    "caption-answers": ("answered", "not answered"),
    "caption-pairs": ("different", "same"),
    "gloss-kinds": ("living thing", "artifact"),
}
"""A class's place is its number; where GLUE has the like of it, in GLUE's order."""

SPLITS: dict[SentenceTask, tuple[Split, ...]] = {
    "caption-answers": ("validation", "compositions"),
    "caption-pairs": ("validation", "compositions"),
    "gloss-kinds": ("validation",),
}
"""What is measured: definitions have no compositions."""

FACTS = ("place", "size")
"""What a sentence of caption-answers tells of a thing, and what a question asks."""

CHANGES = {
    "places": ("name", "sides", "axis"),
    "relation": ("name", "sides", "axis"),
    "sizes": ("name", "size"),
}
"""What a sentence of caption-pairs tells of two things -> how another scene may differ: in the name
or the size of one, in who is on which side, or in sides for top and bottom."""

TURNED = {"left": "top", "right": "bottom", "top": "left", "bottom": "right"}
"""What a place of two things becomes along the diagonal."""

TOPICS = {
    "noun.animal": "living thing",
    "noun.plant": "living thing",
    "noun.person": "living thing",
    "noun.artifact": "artifact",
}
"""WordNet's topic -> the class of what is defined there."""

TOLD = re.compile(r"\b(animal|plant|person|artifact|living thing)s?\b", re.IGNORECASE)
"""The names of the topics and of the classes: a definition that says one gives itself away."""


Definitions = dict[str, tuple[str, ...]]
"""Class -> texts."""


@dataclass(frozen=True)
class Judged:
    """One sentence or two, and the right answer."""

    kind: str
    text: str
    answer: str
    first: str = ""
    """The sentence that is read before the text, if there are two."""


def classes(task: SentenceTask) -> tuple[str, ...]:
    """The answers of a task in the order of their numbers, the same on every split."""
    return CLASSES[task]


# Does the sentence answer the question?


def caption_answers(worlds: Worlds, seed: int, index: int) -> Judged:
    """Where is a thing, or how large is it? And a sentence that speaks of it.

    Of each of two things the sentence tells either the place or the size, "a dog on the left and
    a large cat". The question asks for either, of either, so that one side alone says nothing.
    """
    draw = np.random.default_rng((seed, index, 6))
    things = two_things(worlds, seed, index).things
    told = [FACTS[coin] for coin in draw.integers(2, size=2)]
    number, asked = draw.integers(2), FACTS[draw.integers(2)]
    # The placed one first: a place at the end of the sentence could be that of both things.
    order = sorted(range(2), key=lambda i: FACTS.index(told[i]))
    return Judged(
        kind=asked,
        first=_question(things[number], asked),
        text=" and ".join(_told(things[i], told[i]) for i in order),
        answer="answered" if told[number] == asked else "not answered",
    )


def _question(thing: Thing, fact: str) -> str:
    asks = {"place": "where", "size": "how large"}
    return f"{asks[fact]} {be(thing.name)} the {thing.name}"


def _told(thing: Thing, fact: str) -> str:
    if fact == "place":
        return claim(thing.name, thing.place)
    return noun_phrase(thing.name, thing.size)


# Do two sentences say the same?


def caption_pairs(worlds: Worlds, seed: int, index: int) -> Judged:
    """Two sentences about one scene, or about two that differ in one thing, in two wordings.

    Each sentence is of either scene by a coin of its own. What is told is usual in one scene and
    may be rare in the other: neither sentence alone says whether both are of one. Neighbours 2k and
    2k + 1 have the same first sentence and opposite answers: minimal pairs in the batch.
    """
    pair, odd = divmod(index, 2)
    draw = np.random.default_rng((seed, pair, 7))
    drawn = two_things(worlds, seed, pair)
    kind = tuple(CHANGES)[draw.integers(len(CHANGES))]
    changes = {
        "name": renamed(drawn, worlds((2, 2)), draw),
        "size": resized(drawn, draw),
        "sides": mirrored(drawn),
        "axis": turned(drawn),
    }
    # Where one thing is far above the other, what is above stays so when sides are exchanged.
    meaning = _wordings(drawn, kind)
    possible = [
        change
        for change in CHANGES[kind]
        if changes[change] is not None and _wordings(changes[change], kind) != meaning
    ]
    change = possible[draw.integers(len(possible))]
    scenes = drawn, changes[change]
    first, coin = draw.integers(2, size=2)
    second = coin ^ odd
    backwards = bool(draw.integers(2))
    return Judged(
        kind=f"{kind}, {change}",
        first=_said(scenes[first], kind, backwards=backwards),
        text=_said(scenes[second], kind, backwards=not backwards),
        answer="same" if first == second else "different",
    )


def _wordings(drawn: Scene, kind: str) -> set[str]:
    return {_said(drawn, kind, backwards=backwards) for backwards in (False, True)}


def _said(drawn: Scene, kind: str, *, backwards: bool) -> str:
    """The scene's two things with one kind of fact; backwards: the second one first."""
    first, second = reversed(drawn.things) if backwards else drawn.things
    if kind == "places":
        return f"{claim(first.name, first.place)} and {claim(second.name, second.place)}"
    if kind == "relation":
        return f"{noun_phrase(first.name)} {relation(first, second)} {noun_phrase(second.name)}"
    return f"{noun_phrase(first.name, first.size)} and {noun_phrase(second.name, second.size)}"


def renamed(drawn: Scene, world: World, draw: np.random.Generator) -> Scene | None:
    """The scene with another thing in the place of one; None where no other may stand there."""
    things = list(drawn.things)
    number = int(draw.integers(len(things)))
    concepts = [drawings[0].concept for drawings in world.sprites]
    beside = concepts.index(things[1 - number].concept)
    names = {thing.name for thing in things}
    for concept in draw.permutation(len(world.sprites)):
        sprite = world.sprites[concept][0]
        if sprite.name not in names and allowed(world, [concept, beside]):
            things[number] = replace(things[number], concept=sprite.concept, name=sprite.name)
            return replace(drawn, things=tuple(things))
    return None


def resized(drawn: Scene, draw: np.random.Generator) -> Scene:
    """The scene with one thing called small that is large, or the other way round."""
    things = list(drawn.things)
    number = int(draw.integers(len(things)))
    size = "small" if things[number].size == "large" else "large"
    things[number] = replace(things[number], size=size)
    return replace(drawn, things=tuple(things))


def turned(drawn: Scene) -> Scene:
    """The scene mirrored along its diagonal: what was on the left is at the top."""
    return replace(drawn, things=tuple(_turned(thing) for thing in drawn.things))


def _turned(thing: Thing) -> Thing:
    x, y, width, height = thing.box
    return replace(thing, place=TURNED[thing.place], box=(y, x, height, width))


def two_things(worlds: Worlds, seed: int, index: int) -> Scene:
    """Scene number `index` of those with two things of different names."""
    world = worlds((2, 2))
    for attempt in range(1000):
        drawn = scene(world, seed, index + attempt * FAR)
        if drawn.things[0].name != drawn.things[1].name:
            return drawn
    raise ValueError("the world has no two concepts of different names")


# What is defined here?


@lru_cache(maxsize=4)
def definitions(pack: Pack, words: WordPiece, longest: int) -> Definitions:
    """WordNet's definitions of each class that the vocabulary can say in `longest` pieces."""
    kinds: dict[str, set[str]] = {}
    for gloss in pack.glosses():
        if gloss.topic in TOPICS:
            kinds.setdefault(definition(gloss.text), set()).add(TOPICS[gloss.topic])
    # A word is cut once: tens of thousands of definitions share some thousands of words.
    pieces = cache(words.tokens)
    rows: dict[str, list[str]] = {answer: [] for answer in classes("gloss-kinds")}
    for text, (answer, *others) in kinds.items():
        if not text or others or TOLD.search(text):
            continue
        cut = [piece for word in text.split() for piece in pieces(word)]
        if "[UNK]" not in cut and len(cut) <= longest - 2:
            rows[answer].append(text)
    return {answer: tuple(texts) for answer, texts in rows.items()}


def one_side(rows: Definitions, *, held_out: bool) -> Definitions:
    """The definitions that are kept for the test, or the others; `share` decides, as for `texts`.

    DataError if a class has none.
    """
    chosen = {
        answer: tuple(text for text in texts if (share(text) < HELD_OUT) == held_out)
        for answer, texts in rows.items()
    }
    for answer, texts in chosen.items():
        if not texts:
            side = "test" if held_out else "training"
            raise DataError(
                f"no definition of the class {answer!r} is left for the {side}",
                "choose a larger vocabulary_size or max_length",
            )
    return chosen


def gloss_kinds(rows: Definitions, seed: int, index: int) -> Judged:
    """Definition number `index` of the endless sequence that `seed` names.

    Of each two that follow each other one is of each class, and none comes again before all of its
    class have come.
    """
    pair, second = divmod(index, 2)
    coin = int(np.random.default_rng((seed, pair, 8)).integers(2))
    answer = tuple(rows)[coin ^ second]
    epoch, offset = divmod(pair, len(rows[answer]))
    text = rows[answer][epoch_order(len(rows[answer]), seed, epoch)[offset]]
    return Judged(kind="definition", text=text, answer=answer)


# Examples.


class SentenceExamples:
    """An endless, reproducible sequence of a task's sentences with their answers."""

    endless = True

    def __init__(
        self,
        source: Source,
        task: SentenceTask,
        split: Split,
        seed: int,
        inputs: Literal["both", "text"] = "both",
    ):
        """`inputs`: both sentences, or the second alone, whose reader can but guess."""
        if split not in ("train", *SPLITS[task]):
            raise ValueError(f"{task} has no split {split!r}")
        self.source, self.task, self.seed, self.inputs = source, task, seed, inputs
        self.max_length = source.data.max_length
        self.judge = self._judge(split)

    def _judge(self, split: Split) -> Callable[[int, int], Judged]:
        """(seed, index) -> sentences."""
        if self.task == "gloss-kinds":
            rows = definitions(self.source.scenes.pack, self.source.text, self.max_length)
            return partial(gloss_kinds, one_side(rows, held_out=split != "train"))
        tell = caption_answers if self.task == "caption-answers" else caption_pairs
        return partial(tell, partial(self.source.scenes.world, split))

    def __len__(self) -> int:
        raise TypeError("sentences are endless: ask for any index")

    def judged(self, index: int) -> Judged:
        """One example in words."""
        return self.judge(self.seed, index)

    def __getitem__(self, index: int) -> dict:
        """input_ids, segments: tuples of ints; label: the number of the class."""
        judged = self.judged(index)
        first = judged.first if self.inputs == "both" else ""
        ids, segments = encode_pair(self.source.text, first, judged.text, self.max_length)
        label = classes(self.task).index(judged.answer)
        return {"input_ids": ids, "segments": segments, "label": label}

    def collate(self, examples: list[dict]) -> dict:
        """input_ids, token_type_ids (b, t) int64, attention_mask (b, t) bool; labels (b) int64."""
        return collate(examples)


def collate(examples: list[dict]) -> "dict[str, torch.Tensor]":
    """input_ids, token_type_ids (b, t) int64, attention_mask (b, t) bool; labels (b) int64."""
    import torch

    input_ids, attention_mask = pad_batch([example["input_ids"] for example in examples])
    token_type_ids, _ = pad_batch([example["segments"] for example in examples])
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "token_type_ids": token_type_ids,
        "labels": torch.tensor([example["label"] for example in examples]),
    }
