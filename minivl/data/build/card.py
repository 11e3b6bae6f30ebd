"""The two texts that people read: NOTICE (who must be named) and README.md (the data card)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from minivl.data.build import emoji, licences, photos, sources, texts, wordnet


def notice(paths: Mapping[str, Path]) -> str:
    """Everybody whose work is in the pack, what was changed, and on what terms it is shared."""
    parts = [licences.OPENING]
    for title, keys, terms in licences.SECTIONS:
        parts.append(_section(title, keys, terms))
    parts.append(_section("WordNet", ("wordnet",), wordnet.licence(paths["wordnet"])))
    return "\n\n\n".join(parts) + "\n"


def _section(title: str, keys: Iterable[str], terms: str) -> str:
    credits = (f"  - {_credit(sources.source(key))}" for key in keys)
    return "\n".join([title, "-" * len(title), *credits, "", terms.strip()])


def _credit(one: sources.Source) -> str:
    return f"{one.credit}\n    (package {one.package} {one.version})"


def readme(files: Mapping[str, Mapping], out: Path) -> str:
    """The data card, with the numbers of the pack that was just written to `out`."""
    listed = json.loads((out / "concepts.json").read_bytes())
    pictures = json.loads((out / "photos.json").read_bytes())
    places = Counter(picture["place"] for picture in pictures).most_common()
    return CARD.format(
        megabytes=sum(entry["bytes"] for entry in files.values()) / 1e6,
        concepts=len(listed["concepts"]),
        groups=_groups(listed["concepts"]),
        vendors=_vendors(listed, files),
        drawings=sum(len(row["cells"]) for row in listed["concepts"]),
        coloured=sum(bool(c) for row in listed["concepts"] for c in row["colour"].values()),
        photos=len(pictures),
        photo_megabytes=_megabytes(files, "photos/"),
        origins=", ".join(f"{n} {k}" for k, n in Counter(p["source"] for p in pictures).items()),
        places=", ".join(f"{k} {n}" for k, n in places),
        left_out=", ".join(f"`{name}` ({why})" for name, why in photos.EXCLUDED.items()),
        languages=", ".join(texts.LANGUAGES),
        names_megabytes=_megabytes(files, "names"),
        wordnet_megabytes=_megabytes(files, "wordnet"),
        vocab_megabytes=_megabytes(files, "vocab"),
        excluded=len(emoji.EXCLUDED),
    )


def _megabytes(files: Mapping[str, Mapping], prefix: str) -> float:
    return sum(entry["bytes"] for name, entry in files.items() if name.startswith(prefix)) / 1e6


def _groups(concepts: list[dict]) -> str:
    counts = Counter(row["group"] for row in concepts)
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _vendors(listed: Mapping, files: Mapping[str, Mapping]) -> str:
    rows = []
    for name, facts in listed["vendors"].items():
        count = sum(name in row["cells"] for row in listed["concepts"])
        size = files[f"sprites/{name}.webp"]["bytes"] / 1e6
        rows.append(f"| {name} | {facts['family']} | {count:,} | {size:.2f} | {facts['licence']} |")
    return "\n".join(rows)


CARD = """\
# The data pack

Real pictures and texts, {megabytes:.1f} MB in all, that make every lesson run offline at once.
Scenes are drawn from them on the fly, so that the truth about each picture (what, where, how many,
which colour, which box) is known exactly.

## What is in it

| file | content |
|---|---|
| `sprites/<vendor>.webp` | {drawings:,} drawings, 64 x 64 pixels with transparency, 40 to a row |
| `concepts.json` | {concepts:,} concepts: name, group, keywords, cell and main colour per vendor |
| `photos/<name>.webp`, `photos.json` | {photos} photographs, 720 x 360 ({photo_megabytes:.1f} MB) |
| `names.json.xz` | names and keywords in {languages} ({names_megabytes:.2f} MB) |
| `wordnet.tsv.xz` | WordNet 3.1: id, topic, words, gloss, broader ({wordnet_megabytes:.1f} MB) |
| `vocab.txt.gz` | the 30,522 WordPieces of bert-base-uncased ({vocab_megabytes:.2f} MB) |
| `splits.json` | which sets, concepts and photographs train, validate and test |
| `SOURCES.json` | packages with version, checksum and licence |
| `NOTICE` | credits and licence texts: keep it with the pack |
| `manifest.json` | size and sha256 of each file, and of each picture's pixels |
| `checkpoints/` | small trained models for the lessons: [their cards](checkpoints/README.md) |

Read it with `minivl.data.pack.Pack.load()`, check it with `minivl data verify`, make it again with
`minivl data build` (all but `splits.json` and `checkpoints/`).

## Concepts and drawings

A concept is an emoji of the Unicode standard, without flags and skin tones ({groups}). Its id is
its code points without variation selectors. Nine sets drew them:

| vendor | family | concepts | MB | licence |
|---|---|---:|---:|---|
{vendors}

Sets of one family look alike (in Microsoft's three, more than half of the drawings of a concept
correlate above 0.9): **keep a family on one side of a split.** Four sets say themselves which
characters they drew; the others are matched by name. Every drawing matched by name was looked at
beside Noto's; {excluded} that show something else were left out by hand
(`minivl/data/build/emoji.py`). What remains may still hold a rare doubtful one, and some sets draw
the head where the name says the whole animal.

`colour` names one of eleven basic colours if it covers more than 60 % of the opaque pixels
({coloured:,} drawings); beige, olive, turquoise and the like have no name on purpose. It says what
the pixels look like, not what the thing is in life.

## Photographs

{photos} landscapes and interiors from Debian's package of the game Endless Sky: {origins}. Only
photographs that *every* matching paragraph of the package's copyright file calls public domain and
traces to Unsplash, NASA or USGS. The paragraphs' wildcards overlap (`snow1*` also matches
`snow10-sfiera`, which is share-alike), so the last match alone would let 17 share-alike pictures
in. Left out besides: {left_out}. For the Unsplash photographs "public domain" is the package's
statement; it agrees with that site's terms before June 2017.

`place` is the class of the scene, given by eye: {places}.

## Limits

* Drawings are not photographs: numbers measured here are about this world, not about COCO.
* There are no sentences written by people; captions come from templates, names and keywords.
* Places are few, and a place is a property of a whole photograph.
* Emoji carry the habits of their makers: default genders, foods and buildings of some cultures.
"""
