"""Write the whole pack: pictures, texts, their origins, and a manifest that can be verified."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from minivl.data.build import card, emoji, photos, sources, sprites, texts, wordnet
from minivl.data.build.fetch import fetch, read
from minivl.errors import DataError, UserError

FORMAT = 1
Progress = Callable[[str], None]


class Writer:
    """Writes files under `out` and remembers what the manifest will say of each."""

    def __init__(self, out: Path):
        self.out = out
        self.files: dict[str, dict] = {}

    def bytes(self, name: str, data: bytes) -> None:
        """One file, byte for byte."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def picture(self, name: str, pixels: np.ndarray, quality: int) -> np.ndarray:
        """One WebP picture; returns the pixels that a reader will see.

        The manifest holds two hashes of pixels: as decoded (what `verify` checks) and as drawn
        (what a rebuild compares, because another encoder gives other bytes for the same drawing).
        """
        data = sprites.encode(pixels, quality)
        self.bytes(name, data)
        decoded = sprites.decode(data, "RGBA" if pixels.shape[-1] == 4 else "RGB")
        self.files[name]["pixels"] = hashlib.sha256(decoded.tobytes()).hexdigest()
        self.files[name]["drawn"] = hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()
        return decoded

    def drop_strangers(self) -> None:
        """Delete pictures that an earlier build left and this one does not have."""
        for folder in ("sprites", "photos"):
            for path in (self.out / folder).glob("*.webp"):
                if f"{folder}/{path.name}" not in self.files:
                    path.unlink()

    def manifest(self) -> None:
        """manifest.json, the last file: without it a pack counts as unfinished."""
        listed = {"format": FORMAT, "files": dict(sorted(self.files.items()))}
        (self.out / "manifest.json").write_bytes(texts.json_lines(listed, 2))


def build(out: Path, downloads: Path | None = None, progress: Progress = lambda line: None) -> None:
    """Make the pack in `out` from the pinned packages, fetched into `downloads` if missing there.

    Needs the extra `build` (resvg-py; UserError without it), and npm and apt-get for what is not
    downloaded yet. Raises DataError if a package is missing or altered.
    """
    if importlib.util.find_spec("resvg_py") is None:
        raise UserError("drawing needs resvg-py", "install the extra: pip install 'minivl[build]'")
    downloads = downloads or Path.home() / ".cache" / "minivl" / "downloads"
    paths = {}
    for one in sources.SOURCES:
        progress(f"package {one.package} {one.version}")
        paths[one.key] = fetch(one, downloads)
    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").unlink(missing_ok=True)
    writer = Writer(out)
    write_sprites(writer, paths, progress)
    write_photos(writer, paths, progress)
    write_texts(writer, paths, progress)
    writer.bytes("SOURCES.json", texts.json_lines(sources.as_records()))
    writer.bytes("NOTICE", card.notice(paths).encode())
    (out / "README.md").write_text(card.readme(writer.files, out), encoding="utf8")
    writer.manifest()
    writer.drop_strangers()
    total = sum(entry["bytes"] for entry in writer.files.values())
    progress(f"{len(writer.files)} files, {total / 1e6:.1f} MB")


def write_sprites(writer: Writer, paths: Mapping[str, Path], progress: Progress) -> None:
    """sprites/<vendor>.webp and concepts.json."""
    packages = {vendor.name: paths[vendor.source] for vendor in sources.VENDORS}
    rows = emoji.concepts(paths["emojibase"])
    drawings = match(rows, packages)
    for row in rows:
        row.update(cells={}, colour={})
    for vendor, path in packages.items():
        progress(f"sprites of {vendor}: {len(drawings[vendor])}")
        drawn = draw(vendor, path, drawings[vendor])
        pixels = writer.picture(f"sprites/{vendor}.webp", sprites.sheet(drawn), sprites.QUALITY)
        owners = [row for row in rows if row["id"] in drawings[vendor]]
        for index, row in enumerate(owners):
            row["cells"][vendor] = index
            row["colour"][vendor] = sprites.dominant_colour(sprites.cell(pixels, index))
    writer.bytes("concepts.json", texts.json_lines({"vendors": _vendors(), "concepts": rows}, 2))


def match(rows: list[dict], packages: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """vendor -> concept id -> icon name, in the order of the concepts, hand-excluded ones out."""
    tables = emoji.code_tables(packages)
    names = emoji.other_names(rows, tables)
    drawings = {}
    for vendor, path in packages.items():
        if vendor in tables:
            found = emoji.match_by_code(rows, tables[vendor])
        else:
            icons = json.loads(read(path, "icons.json")["icons.json"])
            found = emoji.match_by_name(rows, [*icons["icons"], *icons.get("aliases", {})], names)
        kept = (r["id"] for r in rows if r["id"] in found)
        drawings[vendor] = {k: found[k] for k in kept if (vendor, k) not in emoji.EXCLUDED}
    return drawings


def draw(vendor: str, package: Path, icons: Mapping[str, str]) -> list[np.ndarray]:
    """The cells of one vendor, in the order of `icons`; an empty drawing is an error."""
    if vendor == "fluent_3d":
        files = read(package, *(f"assets/{name}" for name in icons.values()))
        cells = [sprites.from_bytes(files[f"assets/{name}"]) for name in icons.values()]
    else:
        icon_set = json.loads(read(package, "icons.json")["icons.json"])
        cells = [sprites.rasterise(icon_set, name) for name in icons.values()]
    for name, cell in zip(icons.values(), cells, strict=True):
        if not (cell[..., 3] > 127).any():
            raise DataError(f"{vendor}: the drawing {name} came out empty", "check the rasteriser")
    return cells


def write_photos(writer: Writer, paths: Mapping[str, Path], progress: Progress) -> None:
    """photos/<name>.webp and photos.json."""
    found = photos.photographs(paths["landscapes"])
    progress(f"photographs: {len(found)}")
    for name, (_, pixels) in found.items():
        writer.picture(f"photos/{name}.webp", pixels, photos.QUALITY)
    writer.bytes("photos.json", texts.json_lines([facts for facts, _ in found.values()]))


def write_texts(writer: Writer, paths: Mapping[str, Path], progress: Progress) -> None:
    """vocab.txt.gz, names.json.xz and wordnet.tsv.xz."""
    progress("texts")
    ids = [row["id"] for row in emoji.concepts(paths["emojibase"])]
    writer.bytes("vocab.txt.gz", texts.gzipped(texts.vocabulary(paths["bert_vocab"])))
    names = texts.names(paths["emojibase"], ids)
    writer.bytes("names.json.xz", texts.xz(texts.json_lines(names, 2)))
    writer.bytes("wordnet.tsv.xz", texts.xz(wordnet.table(paths["wordnet"])))


def _vendors() -> dict[str, dict]:
    out = {}
    for vendor in sources.VENDORS:
        one = sources.source(vendor.source)
        facts = {"family": vendor.family, "licence": one.licence}
        out[vendor.name] = {**facts, "package": one.package, "version": one.version}
    return out
