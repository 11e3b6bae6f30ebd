"""The photographs whose public-domain status is clear, matched file by file.

The package's copyright file is a list of stanzas; each holds patterns, and later ones override
earlier ones. A photograph is taken only if *every* stanza that speaks of it (after the general
one for the folder) says public domain from Unsplash, NASA or USGS. The plain rule "the last one
wins" would be wrong here: `snow1*`, meant for `snow1.jpg`, also matches `snow10-sfiera.jpg`,
whose author gave it a share-alike licence.
"""

from __future__ import annotations

import fnmatch
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from minivl.data.build.fetch import members
from minivl.errors import DataError

SIZE = (720, 360)
QUALITY = 82
FOLDER = "images/land/"
COPYRIGHT = "usr/share/doc/endless-sky-data/copyright"
LAND = "usr/share/games/endless-sky/images/land/"
SOURCES = {"unsplash.com": "unsplash", "NASA": "nasa", "USGS": "usgs"}

#: Clear by the copyright file, left out all the same.
EXCLUDED = {
    "nasa9": "a later copyright file of the same project credits it as a CC BY-SA derived work",
    "space6": "no scene that one could name",
}

#: What each photograph shows, looked at one by one (file names are unreliable: `forest1` is a
#: mountain ridge, `canyon04` a desert).
PLACES = {
    "beach": "beach0 beach3 beach5",
    "canyon": "canyon0",
    "city": "city4 city6 city8 city9 city10 city11 city12",
    "desert": "badlands0 badlands5 badlands7 canyon01 canyon02 canyon03 canyon04 canyon05 "
    "desert0 desert1 desert2",
    "fields": "fields2 fields5 fields9",
    "fog": "fog0 fog2 fog4",
    "forest": "forest5",
    "hangar": "space5 station1 station4",
    "hills": "badlands8 fields6 fields7 forest2 hills2 sky0 sky9",
    "laboratory": "space0 space7",
    "launch pad": "nasa0 nasa1 nasa2 nasa3 nasa4 nasa5 nasa6",
    "lava": "lava1",
    "mountain": "canyon7 forest1 forest4 mountain1 mountain3 mountain4 mountain5 mountain6 "
    "mountain7 mountain8 mountain9 sky3 sky8",
    "sea": "beach2 beach4 beach6 sea3 sea8",
    "sky": "sky2",
    "snow": "snow0 snow1 snow2 snow3 snow4 snow6 snow7 snow10",
    "space": "earthrise nasa8",
    "space station": "space1 space3 space4 station2 station3",
    "storm": "nasa7",
    "tunnel": "space2",
    "valley": "fields1 forest3",
    "volcano": "lava0 lava2 lava6",
    "water": "sky7 water0 water8",
}


@dataclass(frozen=True)
class Stanza:
    """One paragraph of a copyright file: which files, and who gave them on what terms."""

    patterns: tuple[str, ...]
    source: str  # "unsplash", "nasa" or "usgs"; empty for every other origin or licence

    def speaks_of(self, name: str) -> bool:
        """Whether one of the patterns matches the file."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)


def stanzas(text: str) -> list[Stanza]:
    """The `Files:` paragraphs of a Debian copyright file, in order."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Z][\w-]*):((?:.*(?:\n[ \t].*)*))", paragraph, re.M))
        if "Files" not in fields:
            continue
        terms = fields.get("License", "") + fields.get("Copyright", "")
        public = fields.get("License", "").strip().startswith("public-domain")
        origin = next((name for mark, name in SOURCES.items() if mark in terms), "")
        found.append(Stanza(tuple(fields["Files"].split()), origin if public else ""))
    return found


def source_of(name: str, listed: list[Stanza]) -> str:
    """Where a photograph comes from if every specific stanza is clear about it, else nothing."""
    general = ("*", "images/*", FOLDER + "*")
    said = [s.source for s in listed if s.speaks_of(name) and not set(s.patterns) & set(general)]
    return " or ".join(dict.fromkeys(said)) if said and all(said) else ""


def place_of(name: str) -> str:
    """The scene class of a photograph, as seen by eye."""
    for place, names in PLACES.items():
        if name in names.split():
            return place
    raise DataError(f"photograph {name} has no place", "look at it and add it to PLACES")


def photographs(package: Path) -> dict[str, tuple[dict, np.ndarray]]:
    """name -> ({"name", "place", "source", "licence"}, pixels (360, 720, 3))."""
    files = {name: data for name, data in members(package) if name.startswith((LAND, COPYRIGHT))}
    listed = stanzas(files.pop(COPYRIGHT).decode())
    out = {}
    for file in sorted(files):
        name = Path(file).stem
        source = source_of(FOLDER + Path(file).name, listed)
        if not source or name in EXCLUDED:
            continue
        picture = Image.open(io.BytesIO(files[file])).convert("RGB")
        if picture.size != SIZE:
            picture = picture.resize(SIZE, Image.Resampling.LANCZOS)
        facts = {"name": name, "place": place_of(name), "source": source}
        out[name] = ({**facts, "licence": "public-domain"}, np.asarray(picture))
    return out
