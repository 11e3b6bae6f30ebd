"""WordNet 3.1 as one table: a synset a line with its topic, words, gloss and broader synsets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from minivl.data.build.fetch import read
from minivl.errors import DataError

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}

#: The lexicographer files in the order of their numbers, as lexnames(5WN) lists them.
TOPICS = (
    *("adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact"),
    *("noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event"),
    *("noun.feeling", "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object"),
    *("noun.person", "noun.phenomenon", "noun.plant", "noun.possession", "noun.process"),
    *("noun.quantity", "noun.relation", "noun.shape", "noun.state", "noun.substance", "noun.time"),
    *("verb.body", "verb.change", "verb.cognition", "verb.communication", "verb.competition"),
    *("verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion"),
    *("verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather"),
    "adj.ppl",
)

HYPERNYMS = ("@", "@i")


def synset(line: str) -> tuple[str, str, str, str, str]:
    """One data line -> (id, topic, words joined by |, gloss, broader ids joined by a space)."""
    head, _, gloss = line.partition(" | ")
    fields = head.split()
    offset, topic, part = fields[0], TOPICS[int(fields[1])], fields[2].replace("s", "a")
    count = int(fields[3], 16)
    words = [_word(fields[4 + 2 * i]) for i in range(count)]
    at = 4 + 2 * count
    pointers = [fields[at + 1 + 4 * i : at + 5 + 4 * i] for i in range(int(fields[at]))]
    broader = [kind[2] + kind[1] for kind in pointers if kind[0] in HYPERNYMS]
    return part + offset, topic, "|".join(words), " ".join(gloss.split()), " ".join(broader)


def table(package: Path) -> bytes:
    """The whole table as tab-separated text, in WordNet's own order."""
    return ("\n".join("\t".join(row) for row in _rows(package)) + "\n").encode()


def _rows(package: Path) -> Iterator[tuple[str, ...]]:
    found = read(package, *(f"dict/data.{part}" for part in PARTS))
    for part in PARTS:
        for line in found[f"dict/data.{part}"].decode().splitlines():
            if not line.startswith("  "):  # the licence stands at the top, indented
                row = synset(line)
                if any("\t" in field for field in row):
                    raise DataError(f"a tab inside synset {row[0]}", "check the package's version")
                yield row


def licence(package: Path) -> str:
    """The licence text that opens each of WordNet's files."""
    lines = read(package, "dict/data.noun")["dict/data.noun"].decode().splitlines()
    return "\n".join(line[2:].split(" ", 1)[-1].rstrip() for line in lines if line.startswith("  "))


def _word(raw: str) -> str:
    """`blue_sky(p)` -> `blue sky`: underscores are spaces, a bracket marks an adjective's place."""
    return raw.split("(")[0].replace("_", " ")
