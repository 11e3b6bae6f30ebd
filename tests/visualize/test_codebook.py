import numpy as np
import pytest

from minivl.visualize.codebook import MOST, code_examples, codebook_sheet, perplexity


def tiles(count):
    """Tile i is of colour i (modulo 256)."""
    colours = (np.arange(count) % 256).astype(np.uint8)
    return np.broadcast_to(colours[:, None, None, None], (count, 4, 4, 3)).copy()


def tiles_of(figure):
    found = [axes for axes in figure.axes if axes.images]
    return [int(axes.images[0].get_array()[0, 0, 0]) for axes in found]


def test_perplexity():
    assert perplexity(np.array([0.5, 0, 0.5])) == pytest.approx(2)
    assert perplexity(np.array([1.0, 0])) == pytest.approx(1)


def test_used_codes_are_shown_most_used_first(texts, check_legible):
    shares = np.array([0.1, 0.0, 0.6, 0.3, 0.0])
    figure = codebook_sheet(tiles(5), shares)
    check_legible(figure)
    assert tiles_of(figure) == [2, 3, 0]
    (bars,) = (axes for axes in figure.axes if axes.patches)
    assert [round(bar.get_height(), 6) for bar in bars.patches] == [60, 30, 10, 0, 0]
    (even,) = bars.get_lines()
    assert even.get_ydata()[0] == pytest.approx(20)
    assert "3 of 5 codes are used (60.0 %), as if 2 were used evenly" in texts(figure)
    assert "60.0 % of all" in figure.caption.alt


def test_a_large_codebook_shows_its_most_used_codes(check_legible, texts):
    shares = np.arange(MOST + 88, 0, -1, dtype=float)
    figure = codebook_sheet(tiles(MOST + 88), shares / shares.sum())
    check_legible(figure)
    assert len(tiles_of(figure)) == MOST
    assert any(f"the {MOST} most used" in words for words in texts(figure))


def test_a_collapsed_codebook(check_legible):
    figure = codebook_sheet(tiles(3), np.array([0.0, 1.0, 0.0]))
    check_legible(figure)
    assert tiles_of(figure) == [1]
    with pytest.raises(ValueError, match="3 tiles, but shares of 2"):
        codebook_sheet(tiles(3), np.array([0.5, 0.5]))


def test_codes_stand_beside_their_pieces(check_legible, texts):
    pieces = [tiles(30)[10:], tiles(30)[5:7], tiles(30)[:0]]
    figure = code_examples(tiles(30), [9, 4, 7], pieces, columns=6)
    check_legible(figure)
    assert tiles_of(figure) == [9, *range(10, 16), 4, 5, 6, 7]
    assert {"9", "4", "7"} <= set(texts(figure))
    rows = {round(axes.get_position().y0, 4) for axes in figure.axes}
    assert len(rows) == 3
