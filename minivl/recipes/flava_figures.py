"""The pictures that a FLAVA run leaves: what one side of a pair tells of the other."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from minivl.data.examples import to_tensor
from minivl.data.holes import MaskData
from minivl.data.pairs import PairData, PairExamples
from minivl.data.text import WordPiece, pad_batch
from minivl.data.texts import TextSource
from minivl.evaluation.contrastive import Judge
from minivl.evaluation.embed import evaluating
from minivl.evaluation.flava import matching_scores, named
from minivl.evaluation.masked import EVALUATION_SEED, batches_of
from minivl.evaluation.pools import Pool, mirrored_pool, retrieval_pool
from minivl.recipes.figures import contrastive_figures
from minivl.recipes.masked_figures import guesses_at, hidden_place, to_pictures
from minivl.visualize.blanks import Guess
from minivl.visualize.fused import fused_figure, looks
from minivl.visualize.matching import matching_figure
from minivl.visualize.pair_holes import holes_with_and_without
from minivl.visualize.pair_words import Seen, words_with_and_without
from minivl.visualize.scenes import Picture

if TYPE_CHECKING:
    from minivl.models.flava import Flava

SPLIT = "twemoji"
PAIRS, HOLED, TWINS, LOOKED_AT = 128, 64, 32, 4
SHOWN = 5
FILLERS = frozenset(
    "a an and are at in is it of on some that the there to , "
    "above below bottom left middle right top".split()
)
"""Words that a caption's other half gives away: only those that tell of a thing are hidden."""


def flava_figures(
    model: "Flava",
    source: TextSource,
    device: torch.device,
    grid: tuple[int, int],
    masks: MaskData,
) -> dict[str, Picture]:
    """Figures by file name, on drawings of the artist that training never saw.

    Only of what the model's objectives have taught.
    """
    figures: dict[str, Picture] = {}
    if "contrastive" in model.objectives:
        figures |= contrastive_figures(model, source.scenes, device)
    if "itm" in model.objectives:
        figures["pair_attention"] = attention_of_pairs(model, source)
        figures["pair_matching"] = matched_pairs(model, source, device)
    if "mmm_text" in model.objectives:
        figures["pair_words"] = words_of_pairs(model, source, device)
    if "mmm_image" in model.objectives:
        figures["pair_holes"] = holes_of_pairs(model, source, device, grid, masks)
    return figures


def attention_of_pairs(model: "Flava", source: TextSource) -> Picture:
    """Where [CLS_M] looks: pairs with two things, the last beside the foregoing one's sentence."""
    pool = pool_of(model, source, next(model.parameters()).device, PAIRS)
    two = [i for i, scene in enumerate(pool.scenes) if len(scene.things) == 2][:LOOKED_AT]
    chosen = two or list(range(min(LOOKED_AT, len(pool.captions))))
    sentences = [pool.captions[i] for i in chosen]
    true = [True] * len(chosen)
    if len(chosen) > 1:
        sentences[-1], true[-1] = sentences[-2], False
    found = looks(
        model,
        source.text,
        pool.images[chosen],
        sentences,
        true,
        max_length=source.data.max_length,
    )
    return fused_figure(found, len(found))


def matched_pairs(model: "Flava", source: TextSource, device: torch.device) -> Picture:
    """What the matching head says of a picture with its own, its twin's, and a foreign sentence."""
    pool = mirrored_pool(source.scenes, SPLIT, TWINS)
    own = list(pool.captions)
    twin = [own[i ^ 1] for i in range(len(own))]
    foreign = np.roll(np.array(own, dtype=object), 2).tolist()
    beliefs = [
        matching_scores(source, model, device, pool.images, sentences).float().sigmoid().numpy()
        for sentences in (own, twin, foreign)
    ]
    return matching_figure(pool.images, (own, twin, foreign), np.stack(beliefs))


def words_of_pairs(model: "Flava", source: TextSource, device: torch.device) -> Picture:
    """One hidden word of each caption, filled in with the picture and without it."""
    pool = pool_of(model, source, device, PAIRS)
    rows = [tuple(source.text.encode(text, source.data.max_length)) for text in pool.captions]
    places = [hidden_thing(source.text, ids, seed) for seed, ids in enumerate(rows)]
    asked = [i for i, place in enumerate(places) if place is not None]
    kept = [places[i] for i in asked]
    images, ids = pool.images[asked], [rows[i] for i in asked]
    seeing, blind = (
        fill_in(model, source.text, images, ids, kept, hidden, device) for hidden in (False, True)
    )
    return words_with_and_without([Seen(*one) for one in zip(images, seeing, blind, strict=True)])


hidden_thing = partial(hidden_place, kept=FILLERS)
"""Which word of a caption to hide: one that only the picture tells."""


def fill_in(
    model: "Flava",
    text: WordPiece,
    images: np.ndarray,
    rows: Sequence[tuple[int, ...]],
    places: Sequence[int],
    picture_hidden: bool,
    device: torch.device,
) -> list[Guess]:
    """The likeliest words at one place of each caption, beside its picture or a hidden one.

    images (n, h, w, 3) uint8, rows n captions as ids.
    """
    ids, seen = (part.to(device) for part in pad_batch(rows, text.pad_id))
    each = torch.arange(len(rows), device=device)
    at = torch.tensor(places, device=device)
    asked = ids.index_put((each, at), ids.new_tensor(text.mask_id))
    pixels = to_tensor(images).to(device)
    side = model.image_encoder.patch_size
    holes = torch.full(
        (len(rows), pixels.shape[2] // side, pixels.shape[3] // side), picture_hidden, device=device
    )
    with evaluating(model):
        fused = model.encode_pair(pixels, asked, seen, patches_masked=holes)
        logits = model.mmm_text_head(fused[:, -ids.shape[1] :][each, at])
    return guesses_at(text, rows, places, logits)


def holes_of_pairs(
    model: "Flava",
    source: TextSource,
    device: torch.device,
    grid: tuple[int, int],
    masks: MaskData,
) -> Picture:
    """Hidden patches of pictures, named with their sentence and without it, and drawn."""
    pairs = PairExamples(
        source, SPLIT, grid, masks, PairData(mismatched=0.0), EVALUATION_SEED, all_hidden=True
    )
    (batch,) = batches_of(pairs, HOLED, device)
    codes, hidden = model.visual_tokens(batch), batch["patches_masked"]
    batch = batch | {"visual_tokens": codes}
    blind, seeing = (codes_named(model, source, batch, without) for without in (True, False))
    hits = [((guess == codes) & hidden).sum(dim=(1, 2)).tolist() for guess in (blind, seeing)]
    few = slice(0, SHOWN)
    drawn = [to_pictures(model.tokenizer.decode(tokens[few])) for tokens in (blind, seeing, codes)]
    return holes_with_and_without(
        to_pictures(batch["image"][few]),
        [source.text.decode(ids) for ids in batch["input_ids"][few].tolist()],
        list(hidden[few].cpu().numpy()),
        drawn,
        list(zip(hits[0][few], hits[1][few], strict=True)),
        (sum(hits[0]), sum(hits[1]), int(hidden.sum())),
    )


def codes_named(
    model: "Flava", source: TextSource, batch: dict[str, Tensor], words_hidden: bool
) -> Tensor:
    """visual_tokens (b, gh, gw), those of hidden patches as the model names them."""
    with evaluating(model):
        logits, _ = named(model, source, batch, "mmm_image", words_hidden)
    return batch["visual_tokens"].masked_scatter(batch["patches_masked"], logits.argmax(dim=-1))


def pool_of(model: "Flava", source: TextSource, device: torch.device, size: int) -> Pool:
    """Pairs of the artist that training never saw; as many as have different captions."""
    judge = Judge(model, source.scenes, device)
    return retrieval_pool(source.scenes, SPLIT, judge.sayable(SPLIT, size))
