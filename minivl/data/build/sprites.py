"""Drawings to sprites: 64 x 64 RGBA cells, 40 to a row, one sheet for each vendor."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from minivl.data.build.colours import colour_names
from minivl.errors import DataError

CELL = 64
COLUMNS = 40
QUALITY = 85
DOMINANT = 0.6

#: An icon's view box, and what a missing entry means.
BOX = {"left": 0, "top": 0, "width": 16, "height": 16}


def square(picture: Image.Image) -> np.ndarray:
    """`picture` shrunk into a CELL x CELL RGBA cell, centred, its proportions kept."""
    picture = picture.convert("RGBA")
    scale = CELL / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(picture, ((CELL - size[0]) // 2, (CELL - size[1]) // 2))
    return np.asarray(cell)


def rasterise(icons: dict, name: str) -> np.ndarray:
    """One icon of an icon set (`icons.json`) as a cell; aliases, flips and turns are followed."""
    import resvg_py

    icon, box, turns = follow(icons, name)
    left, top, width, height = box
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">'
        f"{icon}</svg>"
    )
    side = {"width": CELL} if width >= height else {"height": CELL}
    cell = from_bytes(bytes(resvg_py.svg_to_bytes(svg_string=svg, **side)))
    for turn, amount in turns:
        if turn == "rotate":
            cell = np.rot90(cell, -amount)
        elif amount:
            cell = cell[:, ::-1] if turn == "hFlip" else cell[::-1]
    return cell


def follow(icons: dict, name: str) -> tuple[str, tuple, list[tuple[str, int]]]:
    """Where an icon's name leads: (its body, (left, top, width, height), turns in order)."""
    aliases = []
    while name not in icons["icons"]:
        aliases.append(icons["aliases"][name])
        name = aliases[-1]["parent"]
    merged = {**icons, **icons["icons"][name]}
    turns = []
    for alias in reversed(aliases):
        turns += [(key, alias[key]) for key in ("hFlip", "vFlip", "rotate") if key in alias]
        merged.update({key: alias[key] for key in BOX if key in alias})
    return merged["body"], tuple(merged.get(key, default) for key, default in BOX.items()), turns


def sheet(cells: Sequence[np.ndarray]) -> np.ndarray:
    """Cells side by side, COLUMNS to a row: (rows * CELL, COLUMNS * CELL, 4)."""
    if not cells:
        raise DataError("a vendor without a single drawing", "check the matching of names")
    rows = -(-len(cells) // COLUMNS)
    out = np.zeros((rows * CELL, COLUMNS * CELL, 4), np.uint8)
    for index, cell in enumerate(cells):
        y, x = (index // COLUMNS) * CELL, (index % COLUMNS) * CELL
        out[y : y + CELL, x : x + CELL] = cell
    return out


def cell(pixels: np.ndarray, index: int) -> np.ndarray:
    """Cell `index` of a sheet: (CELL, CELL, 4)."""
    y, x = (index // COLUMNS) * CELL, (index % COLUMNS) * CELL
    return pixels[y : y + CELL, x : x + CELL]


def from_bytes(data: bytes) -> np.ndarray:
    """A picture file as a cell."""
    return square(Image.open(io.BytesIO(data)))


def encode(pixels: np.ndarray, quality: int = QUALITY) -> bytes:
    """WebP bytes; alpha is kept without loss, because boxes are computed from it."""
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    picture.save(buffer, "WEBP", quality=quality, alpha_quality=100, method=6)
    return buffer.getvalue()


def decode(data: bytes, mode: str) -> np.ndarray:
    """The pixels every reader of the pack sees."""
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def dominant_colour(cell: np.ndarray) -> str | None:
    """The basic colour of more than DOMINANT of the opaque area of a cell, if there is one."""
    opaque = cell[..., 3] > 127
    if not opaque.any():
        return None
    names, counts = np.unique(colour_names(cell[opaque][:, :3]), return_counts=True)
    best = counts.argmax()
    return str(names[best]) or None if counts[best] > DOMINANT * counts.sum() else None
