"""What ALBEF can do: find and name as CLIP does, find better by fusion, match pairs, fill in words.

Each number of the fusion encoder stands beside what is reached without it, or without the picture.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from minivl.data.captioned import CaptionSource
from minivl.data.examples import SceneSource, Split, to_tensor
from minivl.data.scenes import Scene
from minivl.data.tasks import GREY
from minivl.data.text import WordPiece, pad_batch
from minivl.evaluation.contrastive import SPLITS, Judge, evaluate_contrastive
from minivl.evaluation.embed import evaluating
from minivl.evaluation.masked import BATCH, EVALUATION_SEED, ranks_of
from minivl.evaluation.matching import Matcher
from minivl.evaluation.metric import Metric, pooled, proportion
from minivl.evaluation.pools import Pool, rearranged_pool, retrieval_pool
from minivl.evaluation.retrieval import relevance, rerank, retrieval
from minivl.models.albef import Albef, Encoders

PAIRS = 512
"""Pairs that are fused at once."""
ARRANGEMENTS = 4
"""How often the same things stand in a pool, each time otherwise."""
ASKED = ("image_to_text_r1", "text_to_image_r1")


def evaluate_albef(  # noqa: PLR0913  (what is asked, and how often)
    source: CaptionSource,
    model: Albef,
    device: torch.device,
    *,
    pool_size: int,
    pools: int,
    reranked: int,
    mirrored_pairs: int,
    named: int,
    matched: int,
    masked: int,
) -> dict[str, Metric]:
    """Metrics by key, "<split>/<task>/<measure>", of what the model's objectives teach.

    Captions of evaluations are never spoilt. Left and right are asked for where training names
    places of one or two things.
    """
    scenes, metrics = source.scenes, {}
    asks_order = "places" in source.data.captions and source.data.objects[0] <= 2
    mirrored = mirrored_pairs if asks_order else 0
    if "itc" in model.objectives:
        counts = {"pool_size": pool_size, "pools": pools, "mirrored_pairs": mirrored}
        metrics |= evaluate_contrastive(model, scenes, device, **counts, named=named)
    for split in SPLITS:
        found: dict[str, Metric] = {}
        if "itm" in model.objectives:
            matcher = Matcher(model, model.matching_scores, scenes, device)
            found |= matcher.matching(split, matched, mirrored)
            found |= retrieval_by_fusion(model, scenes, device, split, pool_size, pools, reranked)
            if tells_places(scenes, split):
                found |= rearranged(model, scenes, device, split, pool_size, reranked)
        if "mlm" in model.objectives:
            found |= hidden_things(model, scenes, device, split, masked)
        metrics |= {f"{split}/{name}": metric for name, metric in found.items()}
    return metrics


# Retrieval in two stages.


def retrieval_by_fusion(  # noqa: PLR0913  (who is asked about what)
    model: Albef,
    source: SceneSource,
    device: torch.device,
    split: Split,
    size: int,
    count: int,
    k: int,
) -> dict[str, Metric]:
    """R@1, R@5 and R@10 on the pools of contrastive retrieval, the k most similar fused and ranked.

    "reranked/image_to_text_r1", ... A model that was not taught to contrast has all pairs fused.
    """
    judge = Judge(model, source, device)
    size = judge.sayable(split, size)
    measured = []
    for number in range(count):
        pool = retrieval_pool(source, split, size, number)
        to_text, to_image = fused_scores(model, source, device, pool, k)
        truth = relevance(pool.captions, pool.captions)
        measured.append(retrieval(to_text, truth, to_image))
    return {f"reranked/{key}": pooled([one[key] for one in measured]) for key in measured[0]}


def tells_places(source: SceneSource, split: Split) -> bool:
    """Whether captions say where each of three or four things is."""
    many = source.world(split).objects[1] > 2
    return many and source.data.captions[0] == "places"


def rearranged(  # noqa: PLR0913  (who is asked about what)
    model: Albef, source: SceneSource, device: torch.device, split: Split, size: int, k: int
) -> dict[str, Metric]:
    """R@1 in a pool of `size` where each group of four holds the same things on one photograph,
    in four arrangements: "rearranged/image_to_text_r1", by summaries, and
    "rearranged_by_fusion/...", the k most similar ranked by the fusion encoder.

    A bag of words finds the group, and then guesses among four.
    """
    pool = rearranged_pool(source, split, max(1, size // ARRANGEMENTS), ARRANGEMENTS)
    truth = relevance(pool.captions, pool.captions)
    to_text, to_image = fused_scores(model, source, device, pool, k)
    by_fusion = retrieval(to_text, truth, to_image)
    found = {f"rearranged_by_fusion/{key}": by_fusion[key] for key in ASKED}
    if "itc" in model.objectives:
        summaries = retrieval(Judge(model, source, device).similarity(pool), truth)
        found |= {f"rearranged/{key}": summaries[key] for key in ASKED}
    return found


def fused_scores(
    model: Albef, source: SceneSource, device: torch.device, pool: Pool, k: int
) -> tuple[Tensor, Tensor]:
    """Match logits of each picture's k most similar captions (n, n), and of each caption's k most
    similar pictures (n, n), the caption first; -100 elsewhere."""
    ranker = Ranker(model, source, device, pool)
    if "itc" in model.objectives:
        similarity = Judge(model, source, device).similarity(pool).cpu()
    else:
        similarity, k = torch.zeros(len(pool.captions), len(pool.captions)), len(pool.captions)
    return rerank(similarity, ranker.captions_of, k), rerank(similarity.T, ranker.pictures_of, k)


class Ranker:
    """Scores pairs of a pool's pictures and captions, which are encoded once."""

    def __init__(self, model: Albef, source: SceneSource, device: torch.device, pool: Pool):
        self.model = model
        text = source.text.batch(list(pool.captions), source.data.max_length)
        self.seen = text["attention_mask"].to(device)
        with evaluating(model):
            images = to_tensor(pool.images).to(device)
            self.image = torch.cat([model.image_tokens(part) for part in images.split(BATCH)])
            ids = text["input_ids"].to(device).split(BATCH)
            states = map(model.text_states, ids, self.seen.split(BATCH))
            self.text = torch.cat(list(states))

    def captions_of(self, picture: int, captions: Tensor) -> Tensor:
        """Match logits (k,) of one picture with some captions (k,): ALBEF ranks by them alone."""
        return self.pairs(torch.full_like(captions, picture), captions)

    def pictures_of(self, caption: int, pictures: Tensor) -> Tensor:
        """Match logits (k,) of one caption with some pictures (k,)."""
        return self.pairs(pictures, torch.full_like(pictures, caption))

    def pairs(self, pictures: Tensor, captions: Tensor) -> Tensor:
        """Match logits (k,) of picture pictures[j] with caption captions[j]."""
        logits = []
        with evaluating(self.model):
            for image, text in zip(pictures.split(PAIRS), captions.split(PAIRS), strict=True):
                image, text = image.to(self.text.device), text.to(self.text.device)
                # Those that occur: keys and values of the others would be made for nothing.
                own, index = image.unique(return_inverse=True)
                fused = self.model.match_logits(
                    self.image[own], self.text[text], self.seen[text], image_index=index
                )
                logits.append(fused[:, 1].cpu())
        return torch.cat(logits)


# Hidden things.


def hidden_things(
    model: Albef, source: SceneSource, device: torch.device, split: Split, count: int
) -> dict[str, Metric]:
    """The name of one thing of each caption is hidden: what is it, with and without the picture?

    "masked_thing/accuracy": all word pieces of the name are right. "masked_thing/without_picture":
    the picture is an even grey. Chance is the name that is hidden most often.
    """
    judge = Judge(model, source, device)
    pool = retrieval_pool(source, split, judge.sayable(split, count))
    rows = [source.encode(sentence) for sentence in pool.captions]
    hidden = [
        hidden_name(source.text, shown, ids, number)
        for number, (shown, ids) in enumerate(zip(pool.scenes, rows, strict=True))
    ]
    asked = [number for number, places in enumerate(hidden) if places]
    if not asked:  # captions cut before their first thing
        return {}
    names = Counter(tuple(rows[number][place] for place in hidden[number]) for number in asked)
    chance = names.most_common(1)[0][1] / len(asked)
    found = {}
    for measure, images in (
        ("accuracy", pool.images),
        ("without_picture", np.full_like(pool.images, GREY)),
    ):
        right = [
            bool((ranks_of(scores, answers) == 0).all())
            for scores, answers in word_scores(
                model,
                source.text,
                device,
                images[asked],
                [rows[number] for number in asked],
                [hidden[number] for number in asked],
            )
        ]
        found[f"masked_thing/{measure}"] = proportion(sum(right), len(right), chance)
    return found


def hidden_name(text: WordPiece, shown: Scene, ids: Sequence[int], seed: int) -> list[int]:
    """Where in a caption the name of one of its things stands, drawn from those said once.

    Empty where the caption, or what its length leaves of it, names none.
    """
    said = [text.vocab[index] for index in ids]
    found = []
    for thing in shown.things:
        pieces = text.tokens(thing.name)
        starts = [
            start for start in range(len(said)) if said[start : start + len(pieces)] == pieces
        ]
        if len(starts) == 1:
            found.append(list(range(starts[0], starts[0] + len(pieces))))
    if not found:
        return []
    return found[np.random.default_rng((EVALUATION_SEED, seed)).integers(len(found))]


def word_scores(
    encoders: Encoders,
    text: WordPiece,
    device: torch.device,
    images: np.ndarray,
    rows: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each caption, with some places hidden: scores of all words there (places, words), and
    what stands there (places,).

    encoders: a model, or its momentum twin; images (n, h, w, 3) uint8; rows: n captions as ids.
    """
    for first in range(0, len(rows), BATCH):
        part = slice(first, first + BATCH)
        ids, seen = pad_batch(rows[part], text.pad_id)
        holes = torch.zeros_like(seen)
        for number, hidden in enumerate(places[part]):
            holes[number, list(hidden)] = True
        asked = ids.masked_fill(holes, text.mask_id)
        with evaluating(encoders):
            pixels = to_tensor(images[part]).to(device)
            fused = encoders.encode_pair(pixels, asked.to(device), seen.to(device))
            scores = encoders.predict(fused[holes.to(device)]).float().cpu()
        sizes = holes.sum(dim=1).tolist()
        yield from zip(scores.split(sizes), ids[holes].split(sizes), strict=True)
