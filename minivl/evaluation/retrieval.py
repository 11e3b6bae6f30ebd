"""Recall@k both ways, re-ranking, and minimal pairs: is the right sentence nearest to a picture?

A score may be tied. Ties count by their expectation over random order, so that a model that gives
everything the same score gets exactly chance, and nothing depends on the order of the candidates.
"""

from collections.abc import Callable, Sequence

import torch

from minivl.errors import DivergedError, UserError
from minivl.evaluation.metric import Metric, proportion

RANKS = (1, 5, 10)

UNSCORED = -100.0
"""What stands where a second stage has not looked: below every match logit."""

Score = Callable[[int, torch.Tensor], torch.Tensor]
"""(number of a query, candidates (k,) int64) -> their match logits (k,)."""


def relevance(image_captions: Sequence[str | Sequence[str]], texts: Sequence[str]) -> torch.Tensor:
    """Which texts are true of which pictures: (images, texts) bool.

    Each picture comes with its caption or captions. A text EQUAL to one of them is a hit, whichever
    picture it was written for.
    """
    captions = [{one} if isinstance(one, str) else set(one) for one in image_captions]
    rows = [[text in own for text in texts] for own in captions]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(captions), len(texts))


def expected_hits(scores: torch.Tensor, relevant: torch.Tensor, k: int) -> torch.Tensor:
    """For each query, the chance (1 or 0 without ties) of a relevant one among the k best.

    scores, relevant: (queries, candidates) -> (queries,) float64, on the CPU
    """
    _check(scores, relevant, k)
    scores, relevant = scores.detach().cpu(), relevant.cpu()
    # In scores that tie with the best relevant one, the order is random; above it, all are wrong.
    best = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    above = (scores > best).sum(dim=1)
    tied = scores == best
    return _hit_at_random(tied.sum(dim=1), (tied & relevant).sum(dim=1), k - above)


def chance_at_k(relevant: torch.Tensor, k: int) -> torch.Tensor:
    """For each query, the chance that k candidates drawn at random hold a relevant one.

    relevant: (queries, candidates) -> (queries,) float64
    """
    return expected_hits(torch.zeros(relevant.shape), relevant, k)


def recall_at_k(similarity: torch.Tensor, relevant: torch.Tensor, k: int) -> tuple[Metric, Metric]:
    """R@k from picture to text and from text to picture.

    similarity, relevant: (images, texts). A query to which nothing belongs is left out.

    Raises UserError where no query is left or the shapes differ, DivergedError for NaN.
    """
    return _one_way(similarity, relevant, k), _one_way(similarity.T, relevant.T, k)


def retrieval(
    similarity: torch.Tensor, relevant: torch.Tensor, back: torch.Tensor | None = None
) -> dict[str, Metric]:
    """R@1, R@5 and R@10 both ways: "image_to_text_r1", "text_to_image_r1", ...

    similarity, relevant: (images, texts). `back` (texts, images): scores of the way from text to
    picture, where they are not the same as those from picture to text.
    """
    back = similarity.T if back is None else back
    metrics = {}
    for k in RANKS:
        to_text, to_image = _one_way(similarity, relevant, k), _one_way(back, relevant.T, k)
        metrics |= {f"image_to_text_r{k}": to_text, f"text_to_image_r{k}": to_image}
    return metrics


def rerank(similarity: torch.Tensor, score: Score, k: int) -> torch.Tensor:
    """Two stages: the k most similar candidates of each query are judged anew, and they alone.

    similarity (queries, candidates) -> match logits (queries, candidates), -100 where a candidate
    was not among the k. The similarity only chooses: ALBEF ranks by the match logit (Li et al.
    2021, section 5, "Image-text retrieval").
    """
    scores = torch.full_like(similarity, UNSCORED)
    for query, row in enumerate(similarity):
        chosen = row.topk(min(k, len(row))).indices
        scores[query, chosen] = score(query, chosen).to(scores)
    return scores


def minimal_pair_accuracy(similarity: torch.Tensor) -> tuple[Metric, Metric]:
    """Does a picture prefer its caption to the caption of its mirrored twin?

    similarity: (2n pictures, 2n captions), twins are neighbours 2k and 2k + 1. Returns the share of
    pairs with both pictures right (chance 1/4) and the share of right pictures (chance 1/2). Only
    the first tells left from right: a model that is blind to order has one of two right.
    """
    count = len(similarity)
    if similarity.shape != (count, count) or count == 0 or count % 2:
        raise UserError(
            f"twins have a similarity of shape {tuple(similarity.shape)}", "pass (2n, 2n), n > 0"
        )
    _refuse_nan(similarity)
    similarity = similarity.detach().cpu()
    picture = torch.arange(count)
    own, twin = similarity[picture, picture], similarity[picture, picture ^ 1]
    right = (own > twin).double() + (own == twin).double() / 2
    both = right[0::2] * right[1::2]
    pairs = proportion(both.sum().item(), count // 2, 1 / 4)
    # The two answers of a pair depend on each other: the interval counts pairs.
    pictures = proportion(right.sum().item(), count, 1 / 2, independent=count // 2)
    return pairs, pictures


def _one_way(scores: torch.Tensor, relevant: torch.Tensor, k: int) -> Metric:
    _check(scores, relevant, k)
    asked = relevant.any(dim=1)
    if not asked.any():
        raise UserError("no query has anything to find", "pass the captions of these pictures")
    hits = expected_hits(scores[asked], relevant[asked], k)
    chance = chance_at_k(relevant[asked], k)
    return proportion(hits.sum().item(), len(hits), chance.mean().item())


def _hit_at_random(total: torch.Tensor, good: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Hypergeometric: is a good one among `draws` of `total`, drawn without replacement?

    All arguments (queries,) int64.
    """
    total, good, draws = (x.double() for x in (total, good, draws))
    miss = torch.ones_like(total)
    for drawn in range(int(draws.max().clamp(min=0)) if len(draws) else 0):
        bad_left = (total - good - drawn).clamp(min=0)
        step = bad_left / (total - drawn).clamp(min=1)
        miss = torch.where(drawn < draws, miss * step, miss)
    return torch.where(good > 0, 1 - miss, torch.zeros_like(miss))


def _check(scores: torch.Tensor, relevant: torch.Tensor, k: int) -> None:
    if scores.shape != relevant.shape or scores.ndim != 2 or 0 in scores.shape:
        raise UserError(
            f"similarity {tuple(scores.shape)} and relevance {tuple(relevant.shape)} do not fit",
            "pass two matrices (images, texts) of one shape",
        )
    if k < 1:
        raise UserError(f"k is {k}", "ask for the k >= 1 best")
    _refuse_nan(scores)


def _refuse_nan(scores: torch.Tensor) -> None:
    if scores.isnan().any():
        raise DivergedError("a similarity is not a number", "the model's weights hold NaN or inf")
