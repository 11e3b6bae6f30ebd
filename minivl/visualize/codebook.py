"""The words of an image tokenizer: what each code draws, how often it is used, and for what."""

from collections.abc import Sequence

import numpy as np

from minivl.visualize.style import (
    BLUE,
    MUTED,
    Caption,
    Picture,
    place,
    share,
    styled,
    write,
)

EDGE, HEAD = 0.15, 0.62
COLUMNS, CELL, WIDTH = 32, 0.26, 8.7
MOST = 512
"""Codes that fit on a sheet; the most used ones are shown."""


@styled
def codebook_sheet(tiles: np.ndarray, shares: np.ndarray) -> Picture:
    """What each code draws, the most used first, and how unevenly the codes are used.

    tiles: uint8 (k, s, s, 3), what a code draws; shares: (k,), how often each occurs, adding to 1.
    Raises ValueError where their numbers differ.
    """
    shares = np.asarray(shares, dtype=float)
    if len(tiles) != len(shares):
        raise ValueError(f"{len(tiles)} tiles, but shares of {len(shares)} codes")
    order = np.argsort(-shares, kind="stable")
    used = int((shares > 0).sum())
    shown = order[: min(used, MOST)]
    rows = max(-(-len(shown) // COLUMNS), 1)
    sheet = rows * CELL + 0.2
    figure = Picture(figsize=(WIDTH, HEAD + sheet + 2.35))
    evenly = perplexity(shares)
    write(figure, EDGE, 0.12, f"{share(used, len(shares), 'codes are used')}, as if "
          f"{evenly:,.0f} were used evenly", fontweight="bold", fontsize=12)  # fmt: skip
    cut = f"the {MOST} most used" if used > MOST else "each used code"
    write(figure, EDGE, 0.38, f"what {cut} draws alone, the most frequent first", fontsize=10,
          color=MUTED)  # fmt: skip
    left = (WIDTH - COLUMNS * CELL) / 2
    for number, code in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        axes = place(figure, left + column * CELL, HEAD + row * CELL, CELL - 0.03, CELL - 0.03)
        axes.imshow(tiles[code], interpolation="nearest")
    draw_use(figure, HEAD + sheet, shares[order])
    alt = (
        f"{share(used, len(shares), 'codes are used')}; perplexity {evenly:.1f}. The most frequent "
        f"one is {100 * shares.max():.1f} % of all. Below, the use of all codes as falling bars."
    )
    reading = (
        "A tile is what the decoder draws where only this code stands. In a picture the neighbours "
        "have a say too. Below: how often each code occurs, against even use (dashed)."
    )
    figure.caption = Caption("Codebook: what each code draws", alt, reading)
    return figure


def draw_use(figure: Picture, top: float, falling: np.ndarray) -> None:
    """Bars of the shares, most used first, and the line of even use."""
    page_width, page_height = figure.get_size_inches()
    axes = figure.add_axes(
        (0.75 / page_width, 1 - (top + 1.75) / page_height, (page_width - 1) / page_width,
         1.5 / page_height)
    )  # fmt: skip
    axes.bar(np.arange(len(falling)), 100 * falling, width=1.0, color=BLUE, linewidth=0)
    even = 100 / len(falling)
    axes.axhline(even, color=MUTED, linestyle="--", linewidth=1.4)
    axes.annotate(
        f"even use: {even:.2g} %", (1, even), xycoords=("axes fraction", "data"),
        xytext=(-4, 3), textcoords="offset points", ha="right", va="bottom", fontsize=10,
        color=MUTED,
    )  # fmt: skip
    axes.set(xlabel="codes, the most used first", ylabel="share in %", xlim=(-0.5, len(falling)))


def perplexity(shares: np.ndarray) -> float:
    """exp of the entropy of shares (k,): as many codes, evenly used, are as hard to guess."""
    known = shares[shares > 0]
    return float(np.exp(-(known * np.log(known)).sum()))


@styled
def code_examples(
    tiles: np.ndarray, codes: Sequence[int], patches: Sequence[np.ndarray], *, columns: int = 16
) -> Picture:
    """Some codes: what each draws, and pieces of real pictures that got it as their name.

    tiles: uint8 (k, s, s, 3); codes: which to show; patches: for each of them uint8 (n, s, s, 3).
    """
    cell, first = 0.4, 0.6
    width = 2 * EDGE + first + cell + 0.25 + columns * (cell + 0.05)
    figure = Picture(figsize=(width, HEAD + max(len(codes), 1) * (cell + 0.1) + EDGE))
    write(figure, EDGE + first - 0.08, 0.38, "draws", fontsize=10, color=MUTED)
    write(figure, EDGE + first + cell + 0.25, 0.38, "pieces of unseen pictures that it names",
          fontsize=10, color=MUTED)  # fmt: skip
    write(figure, EDGE, 0.1, "Codes and what they stand for", fontweight="bold", fontsize=12)
    for row, (code, pieces) in enumerate(zip(codes, patches, strict=True)):
        y = HEAD + row * (cell + 0.1)
        write(figure, EDGE + first - 0.15, y + 0.12, f"{code}", fontsize=9, ha="right")
        shown = [(EDGE + first, tiles[code])]
        start = EDGE + first + cell + 0.25
        shown += [(start + i * (cell + 0.05), p) for i, p in enumerate(pieces[:columns])]
        for x, tile in shown:
            place(figure, x, y, cell, cell).imshow(tile, interpolation="nearest")
    figure.caption = Caption(
        "Codes and what they stand for",
        f"{len(codes)} codes, each with what it draws and up to {columns} pieces of real pictures.",
        "Each piece was named by the code at the left of its row, with a look at its surroundings. "
        "A code is a word for pieces that look alike.",
    )
    return figure
