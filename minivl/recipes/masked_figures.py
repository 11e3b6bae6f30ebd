"""The pictures that masked modeling leaves: sentences and pictures filled in."""

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from minivl.data.examples import SceneSource
from minivl.data.holes import HoledPictures, MaskData
from minivl.data.text import WordPiece
from minivl.data.texts import TextSource
from minivl.evaluation.masked import EVALUATION_SEED, batches_of
from minivl.evaluation.mim import copied
from minivl.recipes.dvae_figures import to_uint8
from minivl.visualize.blanks import Guess, blanks
from minivl.visualize.hide_a_word import guesses
from minivl.visualize.holes import filled_in
from minivl.visualize.style import Picture

if TYPE_CHECKING:
    from minivl.models.mim import Mim
    from minivl.models.mlm import Mlm

TEXTS, TOP, PICTURES = 256, 5, 6
TITLES = {"glosses": "Definitions filled in", "captions": "Captions filled in"}


def mlm_figures(model: "Mlm", source: TextSource, device: torch.device) -> dict[str, Picture]:
    """Figures by file name: held-out definitions and new captions with one word hidden."""
    kinds = {"glosses": source.glosses("held out"), "captions": source.captions("compositions")}
    return {
        f"filled_{kind}": blanks(
            [
                guess
                for index in range(TEXTS)
                if (guess := fill(model, source.text, texts.ids(EVALUATION_SEED, index), index))
            ],
            title=TITLES[kind],
        )
        for kind, texts in kinds.items()
    }


def hidden_place(
    text: WordPiece, ids: Sequence[int], seed: int, kept: Container[str] = ()
) -> int | None:
    """Which word to hide: at random one that is a single piece and not `kept`; None without one."""
    pieces = [text.vocab[index] for index in ids]
    whole = [
        place
        for place in range(1, len(ids) - 1)
        if pieces[place].isalpha()
        and pieces[place] not in kept
        and not pieces[place + 1].startswith("##")
    ]
    if not whole:
        return None
    return int(np.random.default_rng((EVALUATION_SEED, seed)).choice(whole))


def fill(model: "Mlm", text: WordPiece, ids: tuple[int, ...], seed: int) -> Guess | None:
    """One whole word of the text hidden at random, and the model's likeliest words for it.

    None where the text has no word that is one piece.
    """
    place = hidden_place(text, ids, seed)
    if place is None:
        return None
    device = next(model.parameters()).device
    hidden = torch.tensor([[*ids[:place], text.mask_id, *ids[place + 1 :]]], device=device)
    (guess,) = guesses_at(text, [ids], [place], model.predict(model.encode_text(hidden)[:, place]))
    return guess


def guesses_at(
    text: WordPiece, rows: Sequence[Sequence[int]], places: Sequence[int], scores: Tensor
) -> list[Guess]:
    """What a model thinks of the word at one place of each text, and what stands around it.

    rows: n texts as ids, scores (n, vocabulary): of the model, that word hidden.
    """
    words = [row[place] for row, place in zip(rows, places, strict=True)]
    return [
        replace(guess, before=text.decode(row[:place]), after=text.decode(row[place + 1 :]))
        for guess, row, place in zip(
            guesses(scores, words, text.vocab, TOP), rows, places, strict=True
        )
    ]


def mim_figures(
    model: "Mim",
    source: SceneSource,
    masks: MaskData,
    grid: tuple[int, int],
    device: torch.device,
) -> dict[str, Picture]:
    """Figures by file name: scenes on photographs never seen, their holes filled in."""
    holed = HoledPictures(source, "validation", grid, masks, EVALUATION_SEED)
    batch = next(batches_of(holed, PICTURES, device))
    codes, hidden = model.visual_tokens(batch), batch["patches_masked"]
    named = filled(model, batch | {"visual_tokens": codes})
    drawn = [
        to_pictures(model.tokenizer.decode(tokens))
        for tokens in (copied(codes, hidden).clamp(min=0), named, codes)
    ]
    right = ((named == codes) & hidden).sum(dim=(1, 2)).tolist()
    images = to_pictures(batch["image"])
    return {"holes": filled_in(images, list(hidden.cpu().numpy()), drawn, right)}


def filled(model: "Mim", batch: dict[str, Tensor]) -> Tensor:
    """The batch's visual_tokens with those of hidden patches as the model names them."""
    logits, _ = model.answers(batch)
    codes, hidden = batch["visual_tokens"], batch["patches_masked"]
    return codes.masked_scatter(hidden, logits.argmax(dim=-1))


def to_pictures(images: Tensor) -> list[np.ndarray]:
    """(b, 3, h, w) in [-1, 1] -> b pictures (h, w, 3) uint8."""
    return list(to_uint8(images.float()))
