"""A picture as a sequence: cut into patches, the patches laid out in a row.

Dosovitskiy et al. 2020 (arXiv 2010.11929), figure 1. Tokens are numbered as the transformer sees
them: token 0 is the class token, patch 0 (upper left) is token 1.
"""

from collections.abc import Mapping

import numpy as np
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minivl.visualize.style import (
    BLUE,
    GREEN,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    styled,
    write,
)

HOW_TO_READ = (
    "Numbers are places in the sequence. Token 0 is the class token: learned, made of no patch. "
    "The patches follow row by row. Each patch becomes one vector: all its red values, then all "
    "green ones, then all blue ones, each plane row by row."
)
EDGE, SIDE, GAP, HEAD, WIDTH = 0.15, 2.5, 0.25, 0.33, 8.7
PER_ROW, LABEL = 38, 0.24
TILE = 40  # pixels of a patch as it is drawn in the sequence, without its margin
NUMBERED_FROM = 0.33  # inches of a patch from which its number fits inside


def cut(image: np.ndarray, patch_size: int) -> np.ndarray:
    """The patches of a picture, (gh*p, gw*p, 3) -> (gh, gw, p, p, 3). ValueError for a rest."""
    height, width = image.shape[:2]
    if height % patch_size or width % patch_size:
        raise ValueError(f"{height} x {width} pixels do not divide into patches of {patch_size}")
    return rearrange(image, "(gh p) (gw q) c -> gh gw p q c", p=patch_size, q=patch_size)


def apart(patches: np.ndarray) -> np.ndarray:
    """The picture with white gaps between its patches. (gh, gw, p, p, 3) -> (h', w', 3)."""
    patches = enlarged(patches)
    gap = max(1, patches.shape[2] // 8)
    padded = np.pad(patches, [(0, 0), (0, 0), (0, gap), (0, gap), (0, 0)], constant_values=255)
    return rearrange(padded, "gh gw p q c -> (gh p) (gw q) c")[:-gap, :-gap]


def enlarged(patches: np.ndarray) -> np.ndarray:
    """Each pixel as a square of pixels, so that a patch has about TILE of them on a side."""
    zoom = max(1, TILE // patches.shape[-2])
    return patches.repeat(zoom, axis=-3).repeat(zoom, axis=-2)


def busiest(patches: np.ndarray) -> int:
    """The patch whose pixels differ most, (gh, gw, p, p, 3) -> its number, row by row."""
    flat = rearrange(patches, "gh gw p q c -> (gh gw) (p q c)").astype(float)
    return int(flat.std(axis=1).argmax())


@styled
def patch_sheet(image: np.ndarray, patch_size: int, *, patch: int | None = None) -> Picture:
    """The picture, the picture cut, one patch as a vector, and the sequence of all of them.

    image: (h, w, 3) uint8; patch: which one to show as a vector (row by row from 0), by default
    the one with most contrast.
    """
    patches = cut(image, patch_size)
    gh, gw = patches.shape[:2]
    patch = busiest(patches) if patch is None else patch
    height = SIDE * gh / gw
    below = HEAD + EDGE + height + 0.2
    figure = Picture(figsize=(WIDTH, below + HEAD + sequence_height(gh * gw, WIDTH - 2 * EDGE)))
    titles = (
        f"the picture: {image.shape[0]} × {image.shape[1]} pixels",
        f"cut: {gh} × {gw} patches of {patch_size} × {patch_size}",
    )
    for column, title in enumerate(titles):
        left = EDGE + column * (SIDE + GAP)
        write(figure, left, EDGE, title, fontsize=10.5)
        axes = place(figure, left, EDGE + HEAD - 0.07, SIDE, height)
        if column == 0:
            axes.imshow(image, interpolation="nearest")
        else:
            draw_cut(axes, patches, {patch: VERMILLION})
    draw_vector(figure, EDGE + 2 * (SIDE + GAP), patches.reshape(-1, *patches.shape[2:]), patch)
    write(figure, EDGE, below, f"the sequence: {1 + gh * gw} tokens", fontsize=10.5)
    draw_sequence(figure, below + 0.26, patches, {patch: VERMILLION})
    alt = (
        f"A picture of {image.shape[0]} by {image.shape[1]} pixels, the same cut into {gh} rows "
        f"of {gw} patches, and all {gh * gw} patches in one row behind a grey class token. "
        f"Patch {patch}, token {patch + 1}, is framed and shown as its red, green and blue values."
    )
    figure.caption = Caption("A picture as a sequence", alt, HOW_TO_READ)
    return figure


def draw_cut(axes: Axes, patches: np.ndarray, frames: Mapping[int, str]) -> None:
    """The patches apart, their token numbers where there is room, some framed in a colour."""
    gh, gw = patches.shape[:2]
    sheet = apart(patches)
    axes.imshow(sheet, interpolation="antialiased")
    # One step from patch to patch holds the gap too; the last gap is cut off.
    step = (sheet.shape[0] + max(1, enlarged(patches).shape[2] // 8)) / gh
    side = enlarged(patches).shape[2]
    for number in range(gh * gw):
        row, column = divmod(number, gw)
        x, y = column * step - 0.5, row * step - 0.5
        if number in frames:
            axes.add_patch(frame(x, y, side, frames[number], 2.5))
        if SIDE / gw >= NUMBERED_FROM:
            badge = {"boxstyle": "square,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75}
            axes.text(x + 0.08 * side, y + 0.08 * side, str(number + 1), fontsize=8, va="top",
                      bbox=badge)  # fmt: skip


def frame(x: float, y: float, side: float, colour: str, line: float) -> Rectangle:
    """A square outline that is not cut off at the edge of its axes."""
    box = Rectangle((x, y), side, side, fill=False, clip_on=False)
    box.set(edgecolor=colour, linewidth=line)
    return box


def draw_vector(figure: Picture, left: float, patches: np.ndarray, patch: int) -> None:
    """One patch of (n, p, p, 3) enlarged, and its values as the vector that enters the model."""
    values = patches[patch]
    p = len(values)
    top, side, room = EDGE + HEAD - 0.07, 1.0, WIDTH - EDGE - left
    write(figure, left, EDGE, f"token {patch + 1} as a vector", fontsize=10.5)
    place(figure, left, top, side, side).imshow(values, interpolation="nearest")
    note = f"{p} × {p} pixels,\n3 colours:\n{3 * p * p} numbers"
    write(figure, left + side + 0.15, top, note, fontsize=9.5, linespacing=1.3)
    shades = (("red", VERMILLION), ("green", GREEN), ("blue", BLUE))
    for channel, (name, colour) in enumerate(shades):
        y = top + side + 0.14 + 0.45 * channel
        first = channel * p * p
        words = f"{name}: numbers {first} to {first + p * p - 1}"
        write(figure, left, y, words, fontsize=8.5, color=colour)
        strip = place(figure, left, y + 0.18, room, 0.17)
        strip.imshow(values[..., channel].reshape(1, -1), cmap="gray", vmin=0, vmax=255,
                     aspect="auto", interpolation="nearest")  # fmt: skip
        strip.spines[:].set(visible=True, color=colour, linewidth=1.2)


def sequence_shape(patches: int, width: float) -> tuple[int, float]:
    """Tokens in a row and inches of a token, for a class token and so many patches."""
    per_row = min(patches + 1, PER_ROW)
    return per_row, min(width / per_row, 0.45)


def sequence_height(patches: int, width: float) -> float:
    """Inches that the sequence takes, its numbers included."""
    per_row, cell = sequence_shape(patches, width)
    return -(-(patches + 1) // per_row) * (cell + LABEL) + 0.05


def draw_sequence(
    figure: Picture, top: float, patches: np.ndarray, frames: Mapping[int, str]
) -> None:
    """The class token and the patches (gh, gw, p, p, 3) in order, numbered, some framed."""
    tiles = enlarged(rearrange(patches, "gh gw p q c -> (gh gw) p q c"))
    side = tiles.shape[1]
    grey = tuple(int(MUTED[i : i + 2], 16) for i in (1, 3, 5))
    tokens = np.concatenate([np.full((1, side, side, 3), grey, dtype=np.uint8), tiles])
    margin = max(1, side // 20)
    tokens = np.pad(tokens, [(0, 0), *[(margin, margin)] * 2, (0, 0)], constant_values=255)
    per_row, cell = sequence_shape(len(tiles), figure.get_figwidth() - 2 * EDGE)
    for first in range(0, len(tokens), per_row):
        row = tokens[first : first + per_row]
        y = top + first // per_row * (cell + LABEL)
        axes = place(figure, EDGE, y, len(row) * cell, cell)
        axes.imshow(rearrange(row, "n p q c -> p (n q) c"), interpolation="antialiased")
        for i in range(len(row)):
            middle = EDGE + (i + 0.5) * cell
            write(figure, middle, y + cell + 0.03, str(first + i), ha="center", fontsize=8)
            colour = frames.get(first + i - 1)
            if colour:
                x = i * row.shape[2] + margin - 0.5
                axes.add_patch(frame(x, margin - 0.5, side, colour, 2.2))
