"""The pictures that an ALBEF run leaves: found, ranked anew, matched; what its twin believes."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from minivl.data.captioned import CaptionedExamples, CaptionSource, HiddenWords
from minivl.data.noise import NoiseData
from minivl.evaluation.albef import (
    ARRANGEMENTS,
    fused_scores,
    rearranged,
    retrieval_by_fusion,
    tells_places,
    word_scores,
)
from minivl.evaluation.contrastive import Judge
from minivl.evaluation.embed import embed_images, embed_texts
from minivl.evaluation.masked import EVALUATION_SEED
from minivl.evaluation.matching import Matcher
from minivl.evaluation.pools import mirrored_pool, rearranged_pool, retrieval_pool
from minivl.evaluation.retrieval import relevance
from minivl.recipes.figures import contrastive_figures
from minivl.recipes.flava_figures import hidden_thing
from minivl.recipes.masked_figures import guesses_at
from minivl.visualize.arrangements import arrangements
from minivl.visualize.matching import matching_figure
from minivl.visualize.pseudo_targets import Named, caption_targets, word_targets
from minivl.visualize.reranked import before_and_after
from minivl.visualize.style import Picture

if TYPE_CHECKING:
    from minivl.models.albef import Albef

SPLIT = "twemoji"
POOL, TWINS, PAIRS, TOP = 256, 32, 128, 5
KNOWN, POOLS = "validation", 2
"""Where arrangements are told apart: by artists whom training knows, so that the drawings are no
riddle, too. POOL and POOLS are the sizes at which `tiny` is evaluated."""


def albef_figures(
    model: "Albef",
    source: CaptionSource,
    device: torch.device,
    noise: NoiseData,
    reranked: int,
) -> dict[str, Picture]:
    """Figures by file name, on drawings of the artist that training never saw.

    Only of what the model's objectives have taught. `noise`: the training's, of which titles are
    left out, since nobody knows what is true beside them; `reranked`: how many candidates are
    fused.
    """
    figures: dict[str, Picture] = {}
    noise = replace(noise, titled=0.0)
    pairs = CaptionedExamples(source, SPLIT, HiddenWords(), noise, EVALUATION_SEED)
    if "itc" in model.objectives:
        figures |= contrastive_figures(TwoEncoders(model), source.scenes, device)
        figures["twin_captions"] = captions_of_the_twin(model, source, device, pairs)
    if {"itc", "itm"} <= model.objectives:
        figures["reranked"] = ranked_anew(model, source, device, reranked)
        if tells_places(source.scenes, KNOWN):
            figures["arrangements"] = arranged_otherwise(model, source, device, reranked)
    if "itm" in model.objectives and "places" in source.data.captions:
        figures["pair_matching"] = matched_pairs(model, source, device)
    if "mlm" in model.objectives:
        figures["twin_words"] = words_of_the_twin(model, source, device, pairs)
    return figures


class TwoEncoders(nn.Module):
    """ALBEF as CLIP's tools ask for it: with a logit scale in place of the temperature."""

    def __init__(self, model: "Albef"):
        super().__init__()
        self.model = model
        self.encode_image, self.encode_text = model.encode_image, model.encode_text
        self.image_pool = model.image_pool

    @property
    def image_encoder(self) -> nn.Module:
        """The one encoder whose attention is drawn."""
        return self.model.image_encoder

    @property
    def logit_scale(self) -> torch.Tensor:
        """CLIP multiplies by its exponential where ALBEF divides by the temperature."""
        return -self.model.temperature.detach().log()


def ranked_anew(model: "Albef", source: CaptionSource, device: torch.device, k: int) -> Picture:
    """Captions of pictures before and after fusion."""
    judge = Judge(model, source.scenes, device)
    pool = retrieval_pool(source.scenes, SPLIT, judge.sayable(SPLIT, POOL))
    scores, _ = fused_scores(model, source.scenes, device, pool, k)
    return before_and_after(
        judge.similarity(pool).cpu().numpy(),
        scores.numpy(),
        pool.images,
        pool.captions,
        relevance(pool.captions, pool.captions).numpy(),
    )


def arranged_otherwise(
    model: "Albef", source: CaptionSource, device: torch.device, k: int
) -> Picture:
    """The same things in some arrangements, told apart by similarity and by fusion."""
    scenes, judge = source.scenes, Judge(model, source.scenes, device)
    pool = rearranged_pool(scenes, KNOWN, max(1, POOL // ARRANGEMENTS), ARRANGEMENTS)
    groups = np.arange(len(pool.captions)).reshape(-1, ARRANGEMENTS)
    pictures, sentences = groups[:, :, None], groups[:, None, :]  # every pair of a group
    shown, said = (places.ravel() for places in np.broadcast_arrays(pictures, sentences))
    matcher = Matcher(model, model.matching_scores, scenes, device)
    sure = matcher.of(pool.images[shown], [pool.captions[number] for number in said])
    found = judge.retrieval(KNOWN, POOL, POOLS)
    found |= retrieval_by_fusion(model, scenes, device, KNOWN, POOL, POOLS, k)
    found |= rearranged(model, scenes, device, KNOWN, POOL, k)
    kinds = {
        "any pictures": ("retrieval", "reranked"),
        f"the same things in {ARRANGEMENTS} arrangements": ("rearranged", "rearranged_by_fusion"),
    }
    recalls = {}
    for name, tasks in kinds.items():
        both = tuple(found[f"{task}/text_to_image_r1"] for task in tasks)
        recalls[f"{name}: {both[0].n:,} sentences, each among {POOL:,} pictures"] = both
    return arrangements(
        pool.images[groups],
        [[pool.captions[number] for number in group] for group in groups],
        judge.similarity(pool).cpu().numpy()[pictures, sentences],
        sure.float().sigmoid().numpy().reshape(len(groups), ARRANGEMENTS, ARRANGEMENTS),
        recalls,
    )


def matched_pairs(model: "Albef", source: CaptionSource, device: torch.device) -> Picture:
    """What the matching head says of a picture with its own, its twin's, and a foreign sentence."""
    matcher = Matcher(model, model.matching_scores, source.scenes, device)
    pool = mirrored_pool(source.scenes, SPLIT, TWINS)
    own = list(pool.captions)
    twin = [own[i ^ 1] for i in range(len(own))]
    foreign = np.roll(np.array(own, dtype=object), 2).tolist()
    beliefs = [
        matcher.of(pool.images, sentences).float().sigmoid().numpy()
        for sentences in (own, twin, foreign)
    ]
    return matching_figure(pool.images, (own, twin, foreign), np.stack(beliefs))


def captions_of_the_twin(
    model: "Albef", source: CaptionSource, device: torch.device, pairs: CaptionedExamples
) -> Picture:
    """Which captions the momentum twin holds for a picture's, as soft targets of ITC."""
    told = [pairs.captions.told(index) for index in range(PAIRS)]
    images = np.stack([pairs[index]["image"] for index in range(PAIRS)])
    said, clean = [one.said for one in told], [one.clean for one in told]
    twin, longest = model.momentum_encoder, source.data.max_length
    image = embed_images(twin, images, device)
    candidates = list(dict.fromkeys(said))  # what one picture's says too is one caption
    text = embed_texts(twin, source.text, candidates, device, max_length=longest)
    shares = (image @ text.T / model.temperature.detach()).softmax(dim=1)
    return caption_targets(images, said, clean, candidates, shares.cpu().numpy(), top=TOP)


def words_of_the_twin(
    model: "Albef", source: CaptionSource, device: torch.device, pairs: CaptionedExamples
) -> Picture:
    """Which words the momentum twin holds for a hidden one, as soft targets of MLM."""
    text = source.text
    rows = [pairs.encode(pairs.caption(index)) for index in range(PAIRS)]
    places = [hidden_thing(text, ids, seed) for seed, ids in enumerate(rows)]
    asked = [index for index, at in enumerate(places) if at is not None]
    images = np.stack([pairs[index]["image"] for index in asked])
    rows, places = [rows[index] for index in asked], [places[index] for index in asked]
    answered = word_scores(
        model.momentum_encoder, text, device, images, rows, [[place] for place in places]
    )
    found = []
    spoilt = [pairs.captions.told(index).kind != "none" for index in asked]
    parts = zip(images, rows, places, spoilt, answered, strict=True)
    for image, ids, at, bad, (scores, _) in parts:
        (guess,) = guesses_at(text, [ids], [at], scores)
        found.append(Named(image, guess, bad))
    return word_targets(found)
