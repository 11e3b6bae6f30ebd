"""Who is kept for the test: artists, concepts, compositions and photographs, by name, in one file.

`make_splits` draws them once; data/splits.json is the committed result that everything reads, so
that a number measured today and one measured next year speak of the same pictures.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from minivl.data.nouns import everyday_name
from minivl.data.pack import Concept, Pack
from minivl.errors import DataError

TRAIN_VENDORS = (
    "noto", "noto_v1", "fluent", "fluent_flat", "fluent_3d", "emojitwo", "fxemoji", "streamline",
)  # fmt: skip
"""Eight sets of five artists' houses; the three Microsoft sets stay together."""

TEST_VENDORS = ("twemoji",)
"""Drawn by a house that no training picture comes from."""

TEST_PHOTOS = 14
"""Photographs kept for the test, and as many for validation."""

USABLE_GROUPS = ("animals & nature", "food & drink", "travel & places", "objects", "activities")

COURSE_CONCEPTS = """dog; cat; tiger; elephant; monkey; panda; penguin; frog; turtle; whale;
octopus; butterfly; snail; fish; rabbit; crab; ladybug; sunflower; cactus; mushroom; rose;
palm tree; watermelon; banana; strawberry; carrot; hamburger; pizza; doughnut; grapes; pineapple;
cherries;
rocket; bus; tractor; sailboat; bicycle; airplane; umbrella; key; guitar; trumpet; television;
light bulb; balloon; crown; bell; trophy"""
"""The 48 concepts of size `tiny`: short names, told apart by shape and colour, drawn by all."""


@dataclass(frozen=True)
class Splits:
    """The committed partition of the pack."""

    train_vendors: tuple[str, ...]
    test_vendors: tuple[str, ...]
    train_photos: tuple[str, ...]
    validation_photos: tuple[str, ...]
    test_photos: tuple[str, ...]
    seen_concepts: tuple[str, ...]
    heldout_concepts: tuple[str, ...]
    course_concepts: tuple[str, ...]
    reserved_pairs: tuple[tuple[str, str], ...]
    """Pairs of concepts that never share a training picture."""
    reserved_colours: tuple[tuple[str, str], ...]
    """(colour, concept): never said together in a training caption."""

    @classmethod
    def load(cls, pack: Pack) -> "Splits":
        """Read data/splits.json."""
        path = pack.root / "splits.json"
        try:
            fields = json.loads(path.read_text(encoding="utf8"))
            return cls(**{key: _tuples(value) for key, value in fields.items()})
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"cannot read the splits in {path}: {error}",
                "restore the file with `git checkout data/splits.json`",
            ) from error

    def save(self, path: Path) -> None:
        """Write the file, one list a line: readable differences."""
        lines = (f" {json.dumps(k)}: {json.dumps(v)}" for k, v in vars(self).items())
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf8")

    @property
    def reserved(self) -> frozenset[frozenset[str]]:
        """The reserved pairs without order."""
        return frozenset(frozenset(pair) for pair in self.reserved_pairs)


def make_splits(pack: Pack) -> Splits:
    """Draw the partition: a hash of each id decides, so that adding one moves no other."""
    by_name: dict[str, Concept] = {}
    for concept in filter(_usable, pack.concepts):
        # "dog" and "dog face" are both a dog to people: the one that more artists drew stays.
        rival = by_name.setdefault(everyday_name(concept.name), concept)
        if len(concept.cells) > len(rival.cells):
            by_name[everyday_name(concept.name)] = concept
    usable = list(by_name.values())
    course = [by_name[" ".join(name.split())].id for name in COURSE_CONCEPTS.split(";")]
    heldout = [c.id for c in usable if c.id not in course and _share("concept", c.id) < 0.125]
    seen = [c.id for c in usable if c.id not in heldout]
    # One pair in ten of the course's concepts fills a pool of 256 captions; of all, one in fifty.
    pairs = [
        (one, two)
        for number, one in enumerate(seen)
        for two in seen[:number]
        if _share("pair", *sorted((one, two))) < (0.1 if {one, two} <= set(course) else 0.02)
    ]
    colours = sorted({(colour, c.id) for c in usable for colour in c.colour.values() if colour})
    photos = sorted((_share("photo", name), name) for name, _ in pack.photos)
    names = [name for _, name in photos]
    return Splits(
        train_vendors=TRAIN_VENDORS,
        test_vendors=TEST_VENDORS,
        train_photos=tuple(sorted(names[: -2 * TEST_PHOTOS])),
        validation_photos=tuple(sorted(names[-2 * TEST_PHOTOS : -TEST_PHOTOS])),
        test_photos=tuple(sorted(names[-TEST_PHOTOS:])),
        seen_concepts=tuple(seen),
        heldout_concepts=tuple(heldout),
        course_concepts=tuple(course),
        reserved_pairs=tuple(pairs),
        reserved_colours=tuple(c for c in colours if _share("colour", *c) < 0.05),
    )


def _usable(concept: Concept) -> bool:
    return (
        concept.group in USABLE_GROUPS
        and sum(vendor in concept.cells for vendor in TRAIN_VENDORS) >= 4
        and "twemoji" in concept.cells
        and len(everyday_name(concept.name).split()) <= 3
    )


def _share(*parts: str) -> float:
    """A number in [0, 1) that depends on the names alone."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _tuples(value):
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
