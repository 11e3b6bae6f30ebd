"""Masked image modeling judged on photographs that training never saw."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from minivl.data.examples import SceneSource, Split
from minivl.data.holes import HoledPictures, MaskData
from minivl.evaluation.masked import EVALUATION_SEED, batches_of, masked_accuracy
from minivl.evaluation.metric import Metric, proportion
from minivl.models.mim import Mim

KINDS: dict[str, tuple[Split, float]] = {
    "validation": ("validation", 0.0),
    "twemoji": ("twemoji", 0.0),
    "photographs": ("validation", 1.0),
}
"""Kind -> split, and the share of photographs without drawings."""


def evaluate_mim(
    source: SceneSource,
    model: Mim,
    device: torch.device,
    masks: MaskData,
    grid: tuple[int, int],
    pictures: int,
) -> dict[str, Metric]:
    """Metrics by key: "<kind>/mim/accuracy", "<kind>/mim/top5" and "<kind>/mim/by_nearest".

    All on photographs that training never saw: scenes by the artists of training ("validation"),
    by one it never saw ("twemoji"), and no drawing at all ("photographs").
    """
    metrics: dict[str, Metric] = {}
    for kind, (split, bare) in KINDS.items():
        chosen = replace(masks, photo_share=bare)
        holed = HoledPictures(source, split, grid, chosen, EVALUATION_SEED)
        batches = [
            batch | {"visual_tokens": model.visual_tokens(batch)}
            for batch in batches_of(holed, pictures, device)
        ]
        found = masked_accuracy(model.answers, batches, independent=pictures)
        found["by_nearest"] = by_nearest(batches, found["accuracy"].chance, pictures)
        metrics |= {f"{kind}/mim/{name}": metric for name, metric in found.items()}
    return metrics


def by_nearest(batches: Sequence[dict[str, Tensor]], chance: float, independent: int) -> Metric:
    """What copying reaches: each hidden patch gets the code of the nearest patch that is seen."""
    hits = asked = 0
    for batch in batches:
        codes, hidden = batch["visual_tokens"], batch["patches_masked"]
        hits += int(((copied(codes, hidden) == codes) & hidden).sum())
        asked += int(hidden.sum())
    return proportion(hits, asked, chance, independent=independent)


def copied(codes: Tensor, hidden: Tensor) -> Tensor:
    """Codes (b, gh, gw) with each hidden one replaced by that of the nearest seen cell.

    hidden (b, gh, gw) bool; -1 where a picture shows nothing. Of two as near, the upper or left.
    """
    b, gh, gw = codes.shape
    cells = torch.cartesian_prod(torch.arange(gh), torch.arange(gw)).to(codes.device).float()
    distance = torch.cdist(cells, cells).expand(b, -1, -1)
    distance = distance.masked_fill(hidden.flatten(1).unsqueeze(1), torch.inf)
    nearest = codes.flatten(1).gather(1, distance.argmin(dim=2)).view_as(codes)
    return nearest.masked_fill(hidden.all(dim=2).all(dim=1)[:, None, None], -1)
