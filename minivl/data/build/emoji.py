"""Which concepts there are, and which drawing of which vendor shows each of them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from minivl.data.build.fetch import members, read

#: Left out: flags (text in disguise), skin tones and hair styles alone, unassigned letters.
SKIPPED_GROUPS = (None, 2, 9)

#: Drawings that show something else than the concept's name says (found by looking at every drawing
#: that was matched by name, side by side with Noto's): left out by hand.
EXCLUDED = {
    ("noto_v1", "1F997"): "the game of cricket, not the insect",
    ("noto_v1", "1F199"): "an arrow, not the UP! button",
    ("noto_v1", "1F52B"): "a revolver, not a water pistol",
    ("noto_v1", "1F635"): "eyes are spirals, not crossed out",
    ("noto_v1", "0023-20E3"): "an empty key",
    ("emojitwo", "1F997"): "the game of cricket, not the insect",
    ("emojitwo", "1F199"): "an arrow, not the UP! button",
    ("emojitwo", "1F52B"): "a revolver, not a water pistol",
    ("fxemoji", "1F52B"): "a revolver, not a water pistol",
    ("fxemoji", "2328"): "a piano keyboard, not a computer keyboard",
    ("fxemoji", "1F48F"): "one face, not a kissing couple",
    ("fxemoji", "1F576"): "a face that wears them, not sunglasses",
    ("fxemoji", "1F6A7"): "a building site, not a barrier",
    ("fxemoji", "1F4BB"): "a monitor, not a laptop",
    ("fxemoji", "1FA9F"): "a window on a screen",
    ("fxemoji", "1F68B"): "drawn as one black block",
    ("fxemoji", "1F32B"): "white lines that nobody sees",
    ("streamline", "1F52B"): "a revolver, not a water pistol",
    ("streamline", "1F983"): "the flag of Turkey, not the bird",
    ("streamline", "1F3A7"): "a telephone receiver, not headphones",
    ("streamline", "1F5EF"): "a cloud of thought, not an angry bubble",
}


def plain(hexcode: str) -> str:
    """A code point sequence without its variation selector, so that vendors agree on it."""
    return "-".join(part for part in hexcode.upper().split("-") if part != "FE0F")


def slug(text: str) -> str:
    """Letters and digits only, lower case, accents dropped: `Piñata!` becomes `pinata`."""
    ascii_text = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]", "", ascii_text)


def unicode_name(hexcode: str) -> str:
    """The Unicode standard's own name of a single character, else an empty text."""
    parts = plain(hexcode).split("-")
    return unicodedata.name(chr(int(parts[0], 16)), "") if len(parts) == 1 else ""


def concepts(emojibase: Path) -> list[dict]:
    """Every base emoji without flags and skin tones, in the standard's order."""
    names = ("en/data.json", "en/messages.json", "meta/groups.json")
    found = {name: json.loads(data) for name, data in read(emojibase, *names).items()}
    group_names = {g["order"]: g["message"] for g in found["en/messages.json"]["groups"]}
    subgroup_names = found["meta/groups.json"]["subgroups"]
    rows = [row for row in found["en/data.json"] if row.get("group") not in SKIPPED_GROUPS]
    return [
        {
            "id": plain(row["hexcode"]),
            "name": row["label"],
            "group": group_names[row["group"]],
            "subgroup": subgroup_names[str(row["subgroup"])],
            "keywords": row.get("tags", []),
        }
        for row in sorted(rows, key=lambda row: row["order"])
    ]


def match_by_code(rows: Iterable[Mapping], table: Mapping[str, str]) -> dict[str, str]:
    """Concept id -> icon name, where the vendor says itself which characters it drew."""
    by_code = {plain(code): icon for code, icon in table.items()}
    return {row["id"]: by_code[row["id"]] for row in rows if row["id"] in by_code}


def match_by_name(
    rows: Iterable[Mapping], icons: Iterable[str], other_names: Mapping[str, list[str]]
) -> dict[str, str]:
    """Concept id -> icon name, by equal slugs: of the label first, then of the other names.

    Each icon is given to one concept only, and labels go first over all concepts, so that an old
    name ("dancer") can never take a drawing away from the concept that bears it today.
    """
    by_slug: dict[str, str] = {}
    for icon in sorted(icons):
        by_slug.setdefault(slug(icon), icon)
    rows = list(rows)
    depth = 1 + max((len(names) for names in other_names.values()), default=0)
    matched: dict[str, str] = {}
    for level in range(depth):
        for row in rows:
            names = [row["name"], *other_names.get(row["id"], [])]
            key = slug(names[level]) if level < len(names) else ""
            if key and row["id"] not in matched and key in by_slug:
                matched[row["id"]] = by_slug.pop(key)
    return matched


def code_tables(packages: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Vendor -> (code points -> icon name), for the vendors that publish such a table."""
    tables = {}
    for vendor, path in packages.items():
        if vendor == "fluent_3d":  # here the file names are the code points
            names = (Path(name) for name, _ in members(path) if name.endswith(".webp"))
            tables[vendor] = {name.stem: name.name for name in names}
        else:
            tables[vendor] = json.loads(read(path, "chars.json")["chars.json"])
    return {vendor: table for vendor, table in tables.items() if table}


def other_names(rows: Iterable[Mapping], tables: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """Concept id -> further names of it: Fluent's, Noto's and Twemoji's, then Unicode's."""
    rows = list(rows)
    per_vendor = [match_by_code(rows, tables[v]) for v in ("fluent_flat", "noto", "twemoji")]
    names: dict[str, list[str]] = {}
    for row in rows:
        names[row["id"]] = [table.get(row["id"], "") for table in per_vendor]
        names[row["id"]].append(unicode_name(row["id"]))
    return names
