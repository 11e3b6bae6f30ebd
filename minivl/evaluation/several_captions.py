"""Retrieval where each picture has several captions, in one stage and in two: COCO's protocol.

A picture finds its text if any of its captions is among the first k; a caption finds its picture.
ALBEF ranks the k most similar anew by its matching head (Li et al. 2021, section 5).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from minivl.data.captions import caption
from minivl.data.examples import SceneSource, Split
from minivl.evaluation.albef import Ranker
from minivl.evaluation.contrastive import SPLITS, Judge
from minivl.evaluation.matching import Matcher
from minivl.evaluation.metric import Metric, clustered, proportion
from minivl.evaluation.pools import Pool, retrieval_pool
from minivl.evaluation.retrieval import RANKS, chance_at_k, expected_hits, relevance, rerank
from minivl.models.albef import Albef


def evaluate_several(
    source: SceneSource,
    model: Albef,
    device: torch.device,
    kinds: Sequence[str],
    *,
    pool_size: int,
    reranked: int,
    matched: int,
    mirrored_pairs: int,
) -> dict[str, Metric]:
    """Metrics by key: "<split>/retrieval/image_to_text_r1", by similarity alone, the same under
    "reranked/", and "<split>/itm/random" and "itm/mirrored". A count of 0 leaves its task out."""
    judge = Judge(model, source, device)
    matcher = Matcher(model, model.matching_scores, source, device)
    metrics: dict[str, Metric] = {}
    for split in SPLITS:
        found = matcher.matching(split, matched, mirrored_pairs)
        if pool_size:
            pool, owners = pool_of(source, split, judge.sayable(split, pool_size), kinds)
            similarity = judge.similarity(pool).cpu()
            ranker = Ranker(model, source, device, pool)
            stages = {
                "retrieval": (similarity, similarity.T),
                "reranked": (
                    rerank(similarity, ranker.captions_of, reranked),
                    rerank(similarity.T, ranker.pictures_of, reranked),
                ),
            }
            truth = truth_of(pool, owners)
            for name, scores in stages.items():
                recalls = recall(*scores, truth, owners)
                found |= {f"{name}/{key}": metric for key, metric in recalls.items()}
        metrics |= {f"{split}/{key}": metric for key, metric in found.items()}
    return metrics


def pool_of(
    source: SceneSource, split: Split, size: int, kinds: Sequence[str]
) -> tuple[Pool, Tensor]:
    """`size` pictures with all their captions, one picture's after another's, and which picture
    each caption was written for, (captions,) int64."""
    pool = retrieval_pool(source, split, size)
    captions = [caption(shown, kind) for shown in pool.scenes for kind in kinds]
    owners = torch.arange(size).repeat_interleave(len(kinds))
    return Pool(pool.scenes, pool.images, tuple(captions)), owners


def truth_of(pool: Pool, owners: Tensor) -> Tensor:
    """Which captions are right for which pictures, (pictures, captions): their own, and equal
    ones of others."""
    own: list[list[str]] = [[] for _ in pool.images]
    for owner, said in zip(owners.tolist(), pool.captions, strict=True):
        own[owner].append(said)
    return relevance(own, pool.captions)


def recall(to_text: Tensor, to_image: Tensor, truth: Tensor, owners: Tensor) -> dict[str, Metric]:
    """R@1, R@5 and R@10: "image_to_text_r1", a hit if any caption is found, "text_to_image_r1".

    to_text, truth (pictures, captions), to_image (captions, pictures), owners (captions,). The
    captions of one picture hang together: pictures are what the interval is for.
    """
    pictures = len(truth)
    metrics = {}
    for k in RANKS:
        found = expected_hits(to_text, truth, k)
        chance = chance_at_k(truth, k).mean().item()
        metrics[f"image_to_text_r{k}"] = proportion(found.sum().item(), pictures, chance)
        found = expected_hits(to_image, truth.T, k)
        chance = chance_at_k(truth.T, k).mean().item()
        hits = found.new_zeros(pictures).index_add(0, owners, found)
        asked = owners.bincount(minlength=pictures).double()
        metrics[f"text_to_image_r{k}"] = clustered(hits.tolist(), asked.tolist(), chance)
    return metrics
