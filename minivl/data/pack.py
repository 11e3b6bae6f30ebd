"""The embedded data pack: sprites, photographs and texts, read lazily and checked as they are read.

Every file has its checksum in `manifest.json`; a truncated or altered one is named, with the
command that restores it. Nothing here needs torch.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from minivl.errors import DataError

CELL = 64
COLUMNS = 40
FORMAT = 1
ENVIRONMENT = "MINIVL_DATA"


@dataclass(frozen=True)
class Vendor:
    """One set of drawings. Sets of one family look alike and must not straddle a split."""

    name: str
    family: str
    licence: str
    package: str
    version: str


@dataclass(frozen=True)
class Concept:
    """One thing that several vendors drew, e.g. "dog"."""

    id: str
    """Code points, without variation selectors: "1F415", "1F468-200D-1F33E"."""
    name: str
    group: str
    subgroup: str
    keywords: tuple[str, ...]
    cells: Mapping[str, int] = field(hash=False)
    """Vendor -> position in its sheet; a vendor that did not draw it is missing."""
    colour: Mapping[str, str | None] = field(hash=False)
    """Vendor -> basic colour name that covers most of its drawing, or None."""

    @property
    def character(self) -> str:
        """The concept as text: the emoji itself."""
        return "".join(chr(int(part, 16)) for part in self.id.split("-"))


class Photo(NamedTuple):
    """A photograph's name and the class of its scene ("mountain", "sea", ...)."""

    name: str
    place: str


class Gloss(NamedTuple):
    """One WordNet synset."""

    id: str
    """Part of speech (n, v, a or r) and offset: "n02086723"."""
    topic: str
    """Lexicographer file: "noun.animal"."""
    lemmas: tuple[str, ...]
    text: str
    hypernyms: tuple[str, ...]
    """Ids of the synsets that are one step more general."""


class Pack:
    """The data pack in one folder. Make it with `Pack.load()`."""

    def __init__(self, root: Path, manifest: Mapping):
        self.root = root
        self._manifest = manifest
        self._sheets: dict[str, np.ndarray] = {}
        self._photos: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls, root: Path | str | None = None) -> Pack:
        """The pack in `root`, else where MINIVL_DATA points, else in the repository's data/.

        Raises DataError if there is none.
        """
        folder = find(root)
        return cls(folder, _manifest(folder))

    def __getstate__(self) -> dict:
        """Worker processes get the folder, not the decoded pictures."""
        return {"root": self.root, "_manifest": self._manifest, "_sheets": {}, "_photos": {}}

    @cached_property
    def concepts(self) -> tuple[Concept, ...]:
        """All concepts in the standard's order."""
        return tuple(
            Concept(**{**row, "keywords": tuple(row["keywords"])})
            for row in self._json("concepts.json")["concepts"]
        )

    @cached_property
    def vendors(self) -> dict[str, Vendor]:
        """The sets of drawings by name."""
        rows = self._json("concepts.json")["vendors"]
        return {name: Vendor(name, **row) for name, row in rows.items()}

    @cached_property
    def _by_id(self) -> dict[str, Concept]:
        return {concept.id: concept for concept in self.concepts}

    def concept(self, concept_id: str) -> Concept:
        """The concept with this id; DataError if there is none."""
        found = self._by_id.get(concept_id)
        if found is None:
            raise DataError(
                f"no concept has the id {concept_id!r}", "ids are code points, e.g. 1F415 (dog)"
            )
        return found

    def sheet(self, vendor: str) -> np.ndarray:
        """All drawings of a vendor: (rows * 64, 40 * 64, 4) uint8, read-only, decoded once."""
        if vendor not in self.vendors:
            raise DataError(f"no vendor is called {vendor!r}", f"known: {', '.join(self.vendors)}")
        if vendor not in self._sheets:
            self._sheets[vendor] = self._pixels(f"sprites/{vendor}.webp", "RGBA")
        return self._sheets[vendor]

    def sprite(self, vendor: str, concept_id: str) -> np.ndarray:
        """One drawing: (64, 64, 4) uint8, read-only; its outline is `alpha > 127`."""
        cells = self.concept(concept_id).cells
        sheet = self.sheet(vendor)
        if vendor not in cells:
            raise DataError(
                f"{vendor} has no drawing of {concept_id}", f"drawn by: {', '.join(cells)}"
            )
        row, column = divmod(cells[vendor], COLUMNS)
        return sheet[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]

    @cached_property
    def photos(self) -> tuple[Photo, ...]:
        """Name and place of every photograph."""
        return tuple(Photo(row["name"], row["place"]) for row in self._json("photos.json"))

    def photo(self, name: str) -> np.ndarray:
        """One photograph: (360, 720, 3) uint8, read-only, decoded once."""
        if name not in self._photos:
            if name not in {photo.name for photo in self.photos}:
                raise DataError(f"no photograph is called {name!r}", "see data/photos.json")
            self._photos[name] = self._pixels(f"photos/{name}.webp", "RGB")
        return self._photos[name]

    def glosses(self) -> tuple[Gloss, ...]:
        """Every WordNet synset, in WordNet's order (nouns, verbs, adjectives, adverbs)."""
        text = self._unpacked("wordnet.tsv.xz")
        rows = (line.split("\t") for line in text.splitlines())
        return tuple(
            Gloss(one, topic, tuple(lemmas.split("|")), gloss, tuple(broader.split()))
            for one, topic, lemmas, gloss, broader in rows
        )

    def vocab(self) -> list[str]:
        """The 30,522 WordPieces of bert-base-uncased; a piece's id is its position."""
        return self._unpacked("vocab.txt.gz").split("\n")[:-1]

    def names(self) -> dict[str, dict[str, dict]]:
        """language -> concept id -> {"name", "keywords"} for eight languages."""
        return json.loads(self._unpacked("names.json.xz"))

    def _json(self, name: str):  # noqa: ANN202 - whatever the file holds
        return json.loads(self._bytes(name))

    def _unpacked(self, name: str) -> str:
        unpack = lzma.decompress if name.endswith(".xz") else gzip.decompress
        return unpack(self._bytes(name)).decode("utf8")

    def _pixels(self, name: str, mode: str) -> np.ndarray:
        pixels = np.array(Image.open(io.BytesIO(self._bytes(name))).convert(mode))
        pixels.setflags(write=False)
        return pixels

    def _bytes(self, name: str) -> bytes:
        """The file's bytes, if they are the ones of the manifest; else a DataError."""
        problem, data = _check(self.root, name, self._manifest["files"].get(name, {}))
        if problem:
            raise DataError(problem, remedy(self.root, name))
        return data


def find(root: Path | str | None = None) -> Path:
    """The folder of the pack; DataError that says what to do if there is none."""
    chosen = root or os.environ.get(ENVIRONMENT)
    folder = Path(chosen) if chosen else Path(__file__).resolve().parents[2] / "data"
    if not (folder / "manifest.json").is_file():
        raise DataError(
            f"no data pack in {folder} (manifest.json is missing)",
            f"work in a clone of the repository, or set {ENVIRONMENT} to its data folder, "
            "or make the pack with `minivl data build`",
        )
    return folder


def verify(root: Path | str | None = None) -> list[str]:
    """Check every file of the pack, and every picture's decoded pixels: a list of problems."""
    folder = find(root)
    problems = []
    for name, entry in _manifest(folder)["files"].items():
        problem, data = _check(folder, name, entry)
        if not problem and "pixels" in entry:
            problem = _check_pixels(folder / name, data, entry["pixels"])
        if problem:
            problems.append(problem)
    return problems


def remedy(root: Path, name: str) -> str:
    """What to do about a bad file."""
    return (
        f"restore it with `git checkout -- {root.name}/{name}`, "
        "then check the whole pack with `minivl data verify`"
    )


def _manifest(folder: Path) -> dict:
    path = folder / "manifest.json"
    try:
        found = json.loads(path.read_bytes())
        known = found["format"] == FORMAT and isinstance(found["files"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}", remedy(folder, path.name)) from error
    if not known:
        raise DataError(
            f"{path} is of format {found['format']}, this program reads {FORMAT}",
            "update the repository, or make the pack again with `minivl data build`",
        )
    return found


def _check(root: Path, name: str, entry: Mapping) -> tuple[str, bytes]:
    """("", bytes), or what is wrong with the file."""
    path = root / name
    if not entry:
        return f"{path} is not listed in manifest.json", b""
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot read {path}: {error.strerror}", b""
    if len(data) != entry["bytes"]:
        return f"{path} has {len(data):,} bytes instead of {entry['bytes']:,}", b""
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        return f"{path} was altered: its sha256 is not the one in manifest.json", b""
    return "", data


def _check_pixels(path: Path, data: bytes, expected: str) -> str:
    with Image.open(io.BytesIO(data)) as picture:
        pixels = picture.convert("RGBA" if path.parent.name == "sprites" else "RGB").tobytes()
    if hashlib.sha256(pixels).hexdigest() != expected:
        return f"{path} decodes to other pixels here: this machine's WebP decoder differs"
    return ""
