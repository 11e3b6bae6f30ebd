"""What FLAVA can do: find and name as CLIP does, match pairs, and fill in one side from the other.

Each number of the fused model stands beside what it reaches without the other side.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from minivl.data.examples import Split
from minivl.data.holes import HoledPictures, MaskData
from minivl.data.pairs import PairData, PairExamples
from minivl.data.texts import MaskedTexts, TextSource
from minivl.evaluation.contrastive import SPLITS, evaluate_contrastive
from minivl.evaluation.embed import evaluating
from minivl.evaluation.masked import (
    EVALUATION_SEED,
    batches_of,
    masked_accuracy,
    ranks_of,
)
from minivl.evaluation.matching import Matcher
from minivl.evaluation.metric import Metric, clustered
from minivl.evaluation.mlm import PROBABILITY
from minivl.models.flava import Flava


def evaluate_flava(  # noqa: PLR0913  (what is asked, and how often)
    source: TextSource,
    model: Flava,
    device: torch.device,
    grid: tuple[int, int],
    masks: MaskData,
    *,
    pool_size: int,
    pools: int,
    mirrored_pairs: int,
    named: int,
    matched: int,
    masked: int,
) -> dict[str, Metric]:
    """Metrics by key, "<split>/<task>/<measure>", of what the model's objectives teach."""
    metrics: dict[str, Metric] = {}
    if "contrastive" in model.objectives:
        metrics |= evaluate_contrastive(
            model,
            source.scenes,
            device,
            pool_size=pool_size,
            pools=pools,
            mirrored_pairs=mirrored_pairs,
            named=named,
        )
    for split in SPLITS:
        found: dict[str, Metric] = {}
        if "itm" in model.objectives:
            found |= matching(source, model, device, split, matched, mirrored_pairs)
        found |= filling_in(source, model, device, split, grid, masks, masked)
        metrics |= {f"{split}/{name}": metric for name, metric in found.items()}
    return metrics | alone(source, model, device, grid, masks, masked)


def alone(
    source: TextSource,
    model: Flava,
    device: torch.device,
    grid: tuple[int, int],
    masks: MaskData,
    count: int,
) -> dict[str, Metric]:
    """What pictures and texts without partners have taught: "validation/mim_head/accuracy",
    "glosses/mlm_head/accuracy". Unseen photographs, definitions never read."""
    found: dict[str, Metric] = {}
    with evaluating(model):
        if "mim" in model.objectives:
            blocks = replace(masks, photo_share=0.0, thing_share=0.0)
            pictures = HoledPictures(source.scenes, "validation", grid, blocks, EVALUATION_SEED)
            metric = masked_accuracy(
                partial(alone_answers, model, "mim"),
                batches_of(pictures, count, device),
                independent=count,
            )["accuracy"]
            found["validation/mim_head/accuracy"] = metric
        if "mlm" in model.objectives:
            data = replace(source.data, probability=PROBABILITY)
            glosses = source.glosses("held out")
            texts = MaskedTexts(glosses, source.text, data, EVALUATION_SEED, all_hidden=True)
            metric = masked_accuracy(
                partial(alone_answers, model, "mlm"), batches_of(texts, count, device)
            )["accuracy"]
            found["glosses/mlm_head/accuracy"] = metric
    return found


def alone_answers(model: Flava, name: str, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scores and answers of the hidden places of a batch of pictures, or of texts."""
    hidden, answers = model.answers(batch, name)
    if name == "mim":
        states = model.image_states(batch["image"], batch["patches_masked"])
        states = model.image_encoder.norm(states)[:, 1:]
    else:
        states = model.text_encoder(batch["mlm_input_ids"], batch["attention_mask"])
    return getattr(model, f"{name}_head")(states[hidden]), answers[hidden]


def matching(
    source: TextSource,
    model: Flava,
    device: torch.device,
    split: Split,
    pairs: int,
    mirrored_pairs: int,
) -> dict[str, Metric]:
    """Matching of one split, as `Matcher.matching` measures it."""
    return matcher(source, model, device).matching(split, pairs, mirrored_pairs)


def matching_scores(
    source: TextSource,
    model: Flava,
    device: torch.device,
    images: np.ndarray,
    sentences: Sequence[str],
) -> Tensor:
    """How much more the matching head believes than doubts: picture i with sentence i, (n,)."""
    return matcher(source, model, device).of(images, sentences)


def matcher(source: TextSource, model: Flava, device: torch.device) -> Matcher:
    """FLAVA's matching head, to be asked about the scenes of a source."""

    def scores(image: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        no, yes = model.itm_head(model.encode_pair(image, input_ids, attention_mask)).unbind(dim=1)
        return yes - no

    return Matcher(model, scores, source.scenes, device)


def filling_in(
    source: TextSource,
    model: Flava,
    device: torch.device,
    split: Split,
    grid: tuple[int, int],
    masks: MaskData,
    count: int,
) -> dict[str, Metric]:
    """Hidden words with the whole picture and without it, hidden patches with and without a
    sentence, by the same heads: "mmm_text/accuracy", "mmm_text/without_picture", ...

    Without means: every patch, or every word, is hidden.
    """
    pairs = PairData(mismatched=0.0, probability=PROBABILITY)
    examples = PairExamples(source, split, grid, masks, pairs, EVALUATION_SEED, all_hidden=True)
    sides = {"mmm_text": "without_picture", "mmm_image": "without_text"}
    asked = {
        f"{name}/{measure}": (name, other_hidden)
        for name, without in sides.items()
        if name in model.objectives
        for measure, other_hidden in (("accuracy", False), (without, True))
    }
    hits: dict[str, list[Tensor]] = {key: [] for key in asked}
    hidden, labels = {key: [] for key in asked}, {key: [] for key in asked}
    with evaluating(model):
        for batch in batches_of(examples, count, device):
            if "mmm_image" in model.objectives:
                batch["visual_tokens"] = model.visual_tokens(batch)
            for key, (name, other_hidden) in asked.items():
                logits, answers = named(model, source, batch, name, other_hidden)
                places = model.answers(batch, name)[0]
                right = torch.zeros_like(places, dtype=torch.float)
                right[places] = (ranks_of(logits, answers) == 0).float()
                hits[key].append(right.sum(dim=1).cpu())
                hidden[key].append(places.sum(dim=1).cpu())
                labels[key].append(answers.cpu())
    return {
        key: clustered(
            torch.cat(hits[key]).tolist(),
            torch.cat(hidden[key]).tolist(),
            float(torch.cat(labels[key]).bincount().max() / len(torch.cat(labels[key]))),
        )
        for key in asked
    }


def named(
    model: Flava, source: TextSource, batch: dict[str, Tensor], name: str, other_hidden: bool
) -> tuple[Tensor, Tensor]:
    """Scores and answers of one side's hidden places, with the other side whole or hidden."""
    words = source.text
    special = torch.isin(
        batch["input_ids"],
        torch.tensor([words.pad_id, words.cls_id, words.sep_id], device=batch["input_ids"].device),
    )
    if name == "mmm_text":
        ids, holes = batch["mlm_input_ids"], torch.zeros_like(batch["patches_masked"])
        holes = ~holes if other_hidden else holes
    else:
        ids, holes = batch["input_ids"], batch["patches_masked"]
        ids = torch.where(special, ids, words.mask_id) if other_hidden else ids
    fused = model.encode_pair(batch["image"], ids, batch["attention_mask"], patches_masked=holes)
    hidden, labels = model.answers(batch, name)
    states = fused[:, -ids.shape[1] :] if name == "mmm_text" else fused[:, 2 : -ids.shape[1]]
    return getattr(model, f"{name}_head")(states[hidden]), labels[hidden]
