"""Where each word of a sentence is, as Grad-CAM tells it (ALBEF, figures 4 to 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minivl.data.examples import to_tensor
from minivl.data.text import WordPiece
from minivl.models.albef import Albef
from minivl.visualize.attention import alt_text, lit
from minivl.visualize.gradcam import mean_map, whole_words, word_maps
from minivl.visualize.style import (
    MUTED,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    wrap,
    write,
)

EDGE, SIDE, GAP, HEAD, FOOT, TOP = 0.15, 1.75, 0.18, 0.3, 0.36, 0.55

HOW_TO_READ = (
    "Bright is where a word looks and where looking there makes the model surer that picture and "
    "sentence match (Grad-CAM). The percentages compare the words' peaks, and a weak word is dim "
    "(by the square root of its percentage): a dark picture belongs to a word that the match "
    "hardly rests on. [CLS] stands for the whole pair; with a single fusion block it is all that "
    "is read, and the other words are dark. "
    "A map is a hint at what the model used, no proof."
)


@dataclass(frozen=True)
class WordsOnPicture:
    """A picture, the words of a sentence, and where each of them is."""

    image: np.ndarray
    """(h, w, 3) uint8."""
    sentence: str
    words: tuple[str, ...]
    """Whole words, [CLS] first."""
    maps: Tensor
    """(words, gh, gw), not negative."""
    whole: Tensor
    """(gh, gw): of the whole sentence."""


def words_on_picture(
    model: Albef,
    text: WordPiece,
    image: np.ndarray,
    sentence: str,
    *,
    max_length: int | None = None,
    layer: int | None = None,
) -> WordsOnPicture:
    """Ask a model about one picture (h, w, 3) uint8 and one sentence; `layer` as in `word_maps`."""
    device = next(model.parameters()).device
    batch = text.batch([sentence], max_length)
    ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
    maps = word_maps(model, to_tensor(image[None]).to(device), ids, mask, layer=layer)
    words = whole_words([text.vocab[i] for i in ids[0].tolist()])
    pieces = [maps[0, places].mean(dim=0) for _, places in words]
    shown = [i for i, (word, _) in enumerate(words) if word != "[SEP]"]
    return WordsOnPicture(
        image,
        sentence,
        tuple(words[i][0] for i in shown),
        torch.stack([pieces[i] for i in shown]).cpu().float(),
        mean_map(maps, mask)[0].cpu().float(),
    )


@styled
def words_figure(found: WordsOnPicture, *, columns: int = 5, note: str = "") -> Picture:
    """The picture, the sentence's map, and each word's; `note` is written beside the sentence."""
    strength = strengths(found.maps)
    panels = [
        ("the picture", found.image, ""),
        ("all words", lit_map(found.image, found.whole), ""),
    ]
    panels += [
        (
            f"“{word}”",
            lit_map(found.image, heat, share**0.5),
            f"{100 * share:.0f} % of the strongest",
        )
        for word, heat, share in zip(found.words, found.maps, strength, strict=True)
    ]
    columns = min(columns, len(panels))
    height = SIDE * found.image.shape[0] / found.image.shape[1]
    row_height = HEAD + height + FOOT
    width = 2 * EDGE + columns * (SIDE + GAP) - GAP
    figure = Picture(figsize=(width, TOP + row_height * -(-len(panels) // columns)))
    letters = round(9 * (width - 2 * EDGE))
    write(figure, EDGE, 0.14, f"“{wrap(found.sentence, letters, 1)}”", fontsize=12,
          fontweight="bold")  # fmt: skip
    if note:
        write(figure, EDGE, 0.38, wrap(note, letters, 1), fontsize=10, color=MUTED)
    for i, (title, picture, below) in enumerate(panels):
        x, y = EDGE + i % columns * (SIDE + GAP), TOP + i // columns * row_height
        write(figure, x, y + HEAD - 0.05, wrap(title, 22, 1), va="bottom", fontsize=10.5)
        show_image(place(figure, x, y + HEAD, SIDE, height), picture)
        write(figure, x, y + HEAD + height + 0.06, below, fontsize=9, color=MUTED)
    figure.caption = Caption("Where the words are", told(found, strength), HOW_TO_READ)
    return figure


def strengths(maps: Tensor) -> list[float]:
    """The peak of each map beside the highest of all: (words, gh, gw) -> words numbers, 0 to 1."""
    peaks = maps.flatten(1).amax(dim=1)
    return (peaks / peaks.max().clamp(min=1e-30)).tolist()


def lit_map(image: np.ndarray, heat: Tensor, strength: float = 1.0) -> np.ndarray:
    """The picture under a map (gh, gw), as dark as the map is weak: (h, w, 3) uint8."""
    bright, dark = (lit(image, values).astype(float) for values in (heat.numpy(), 0 * heat.numpy()))
    return (strength * bright + (1 - strength) * dark).round().astype(np.uint8)


def told(found: WordsOnPicture, strength: Sequence[float]) -> str:
    """The figure in words: where each word that counts is brightest."""
    named = {
        f"“{word}” ({100 * share:.0f} %, word {number})": heat
        for number, (word, heat, share) in enumerate(
            zip(found.words, found.maps, strength, strict=True), start=1
        )
        if share >= 0.1
    }
    return alt_text(named, found.sentence)
