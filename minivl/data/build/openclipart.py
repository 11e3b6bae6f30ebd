"""Open Clip Art: drawings of things, each under the title that the person who drew it typed in.

Debian's packages hold the collection as it was in 2005, as SVG files with their metadata and as PNG
files. The titles are real noise: many are right, some name the collection, the author or another
drawing, some are Italian. What is written is a pack of its own: concepts are drawings, their names
the titles. It is fetched by whoever wants it and not shipped.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from minivl.data.build import sources, sprites, texts
from minivl.data.build.fetch import fetch, members
from minivl.data.build.pack import Writer
from minivl.errors import DataError

NAME = "openclipart"
ROOT = "usr/share/openclipart/"
COPYRIGHT = "usr/share/doc/openclipart-svg/copyright"

FOLDERS = (
    "animals", "buildings", "containers", "decorations", "education", "electronics", "food",
    "office", "people/clothing", "plants", "recreation", "science", "tools", "transportation",
)  # fmt: skip
"""Things. Left out: icons of computers, geometric shapes, flags and signs, patterns, maps; and
people, since some are portraits of persons whom nobody asked."""

UNFIT = ("tools/weapons", "food/beverages/alcohol", "people/clothing/pantyhose")
"""Folders of things that have no place in a course."""

UNFIT_WORDS = re.compile(
    r"\b(weapons?|guns?|bombs?|bomber|military|gallows|dead|skulls?|beer|birra|wine|vino|alcohol|cannabis"
    r"|sex|sexy|nude|naked|smok(e|ing)|cigar(ette)?s?|sunwheel)\b",
    re.IGNORECASE,
)
"""The same, where a title or a keyword says it."""

LARGEST = 16_000_000
"""Pixels of a PNG file."""

NOTICE = """\
Open Clip Art
=============

The drawings and their titles were made by the artists of the Open Clip Art Library. Taken are those
whose own metadata calls them public domain. What was changed: each was turned into a picture of 64
x 64 pixels. Nobody has to be named; the artists are thanked all the same. What follows is the
copyright file of Debian's package.

"""


@dataclass(frozen=True)
class Drawing:
    """What an SVG file says of itself."""

    title: str
    keywords: tuple[str, ...]
    public: bool
    """Whether its metadata calls it public domain."""


def build_openclipart(
    out: Path, downloads: Path, progress: Callable[[str], None] = lambda line: None
) -> None:
    """Write the pack of titled drawings into `out`. DataError for a missing or altered package."""
    paths = {}
    for one in sources.OPENCLIPART:
        progress(f"package {one.package} {one.version}")
        paths[one.key] = fetch(one, downloads)
    chosen, notice, left_out = titled(paths["openclipart_svg"])
    cells = drawings(paths["openclipart_png"], chosen)
    if not cells:
        raise DataError(f"{paths['openclipart_png']} holds no drawing", "fetch the packages again")
    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").unlink(missing_ok=True)
    writer = Writer(out)
    pixels = writer.picture(f"sprites/{NAME}.webp", sprites.sheet([*cells.values()]), 85)
    rows = [row(name, chosen[name], pixels, cell) for cell, name in enumerate(cells)]
    vendors = {NAME: vendor(sources.OPENCLIPART[1])}
    writer.bytes("concepts.json", texts.json_lines({"vendors": vendors, "concepts": rows}, 2))
    writer.bytes("SOURCES.json", texts.json_lines(sources.as_records(sources.OPENCLIPART)))
    writer.bytes("NOTICE", (NOTICE + notice).encode())
    writer.manifest()
    left_out["without a picture of their own"] = len(chosen) - len(cells)
    report([one["name"] for one in rows], left_out, progress)


def titled(package: Path) -> tuple[dict[str, Drawing], str, Counter[str]]:
    """Path inside the collection -> drawing, for those that are taken; the package's copyright
    file; how many of the folders' drawings were left out, and why."""
    chosen: dict[str, Drawing] = {}
    left_out: Counter[str] = Counter()
    notice = ""
    for name, data in members(package):
        if name == COPYRIGHT:
            notice = data.decode("utf8", errors="replace")
        path = name.removeprefix(f"{ROOT}svg/").removesuffix(".svg")
        if not name.endswith(".svg") or not path.startswith(tuple(f"{one}/" for one in FOLDERS)):
            continue
        found = metadata(data)
        if reason := refused(path, found):
            left_out[reason] += 1
        elif found is not None:
            chosen[path] = found
    return chosen, notice, left_out


def metadata(svg: bytes) -> Drawing | None:
    """Title, keywords and terms of an SVG file (Dublin Core in RDF); None where it is no XML."""
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError:
        return None
    works = [work for work in tagged(root, "Work")][:1]
    title = next((said for work in works for said in tagged(work, "title", deep=False)), None)
    terms = [one for work in works for one in tagged(work, "license")]
    links = [link.lower() for one in terms for link in one.attrib.values()]
    keywords = (clean(one.text) for work in works for one in tagged(work, "li"))
    return Drawing(
        clean(title.text if title is not None else ""),
        tuple(dict.fromkeys(filter(None, keywords))),
        any(link.rstrip("/").endswith("publicdomain") for link in links),
    )


def tagged(element: ElementTree.Element, name: str, *, deep: bool = True) -> Iterator:
    """Elements of that name in any namespace: those inside, at any depth or right below."""
    inside = element.iter() if deep else iter(element)
    return (one for one in inside if str(one.tag).rpartition("}")[2] == name)


def clean(text: str | None) -> str:
    """One line; nothing else of what a person typed is changed."""
    return " ".join((text or "").split())


def refused(path: str, found: Drawing | None) -> str:
    """Why a drawing is left out; empty for one that is taken."""
    if found is None:
        return "not readable"
    if not found.title:
        return "without a title"
    if not found.public:
        return "not public domain"
    said = " ".join((found.title, *found.keywords)).replace("_", " ")
    if path.startswith(UNFIT) or UNFIT_WORDS.search(said):
        return "unfit for a course"
    return ""


def drawings(package: Path, chosen: dict[str, Drawing]) -> dict[str, np.ndarray]:
    """Path -> cell (64, 64, 4), sorted by path; a picture that lies in two folders counts once.

    Left out are the few that unpack to hundreds of megabytes.
    """
    cells: dict[str, np.ndarray] = {}
    seen: set[bytes] = set()
    for name, data in members(package):
        path = name.removeprefix(f"{ROOT}png/").removesuffix(".png")
        digest = hashlib.sha256(data).digest()
        if not name.endswith(".png") or path not in chosen or digest in seen:
            continue
        cell = drawn(data)
        if cell is not None:
            seen.add(digest)
            cells[path] = cell
    return dict(sorted(cells.items()))


def drawn(data: bytes) -> np.ndarray | None:
    """A PNG file as a cell; None where it is broken, empty or too large."""
    with warnings.catch_warnings():
        # Pillow warns about large pictures; here the limit is ours.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            picture = Image.open(io.BytesIO(data), formats=["PNG"])
            if picture.width * picture.height > LARGEST:
                return None
            cell = sprites.square(picture)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
    return cell if (cell[..., 3] > 127).any() else None


def row(path: str, drawing: Drawing, sheet: np.ndarray, cell: int) -> dict:
    """The drawing as an entry of concepts.json."""
    group, _, subgroup = path.rpartition("/")[0].partition("/")
    colour = sprites.dominant_colour(sprites.cell(sheet, cell))
    facts = {"id": path, "name": drawing.title, "group": group, "subgroup": subgroup}
    return facts | {
        "keywords": list(drawing.keywords),
        "cells": {NAME: cell},
        "colour": {NAME: colour},
    }


def vendor(one: sources.Source) -> dict:
    """The collection as an entry of concepts.json's vendors."""
    facts = {"family": NAME, "licence": one.licence}
    return facts | {"package": one.package, "version": one.version}


def report(titles: list[str], left_out: Counter[str], progress: Callable[[str], None]) -> None:
    """Say how many there are and how noisy they are."""
    counts = Counter(titles)
    words = sum(len(title.split()) for title in titles) / len(titles)
    progress(f"{len(titles):,} drawings, {len(counts):,} different titles, {words:.1f} words each")
    progress("left out: " + ", ".join(f"{count:,} {why}" for why, count in left_out.items()))
    common = ", ".join(f"{title!r} {count}" for title, count in counts.most_common(5))
    progress(f"titles that tell least, by how many drawings bear them: {common}")
