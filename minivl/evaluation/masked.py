"""How often is what was hidden named rightly, and how often would a constant guess be right?"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from minivl.errors import UserError
from minivl.evaluation import pools
from minivl.evaluation.metric import Metric, proportion

BATCH = 128

EVALUATION_SEED = pools.EVALUATION_SEED
"""What is hidden in an evaluation is drawn from this sequence, never from a training's."""

Predict = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]
"""A batch -> logits (rows, k) and labels (rows,) of the hidden places."""


def masked_accuracy(
    predict: Predict, batches: Iterable[dict[str, Tensor]], *, independent: int | None = None
) -> dict[str, Metric]:
    """{"accuracy", "top5"}: is the hidden token the first, is it among the first five?

    Chance is what the best constant answer reaches: the most frequent token of what was asked, or
    the five most frequent. `independent`: how many answers count for the interval, where those of
    one picture hang together. Raises UserError if nothing was hidden.
    """
    ranks, labels = [], []
    for batch in batches:
        logits, answers = predict(batch)
        ranks.append(ranks_of(logits, answers).cpu())
        labels.append(answers.cpu())
    if not sum(map(len, labels)):
        raise UserError("no token was hidden: nothing to judge", "hide more, or of longer texts")
    counts = torch.cat(labels).bincount().sort(descending=True).values
    return {
        name: top_metric(torch.cat(ranks), counts, k, independent)
        for name, k in (("accuracy", 1), ("top5", 5))
    }


def ranks_of(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes score at least as high as the right one, itself left out: (rows,).

    logits (rows, k), labels (rows,). A tie counts as lost, and so does NaN: equal scores know
    nothing.
    """
    own = logits.gather(1, labels.unsqueeze(1))
    return (~(logits < own)).sum(dim=1) - 1


def top_metric(ranks: Tensor, counts: Tensor, k: int, independent: int | None = None) -> Metric:
    """The share of ranks below k; chance: the share of the k most frequent labels."""
    n = len(ranks)
    chance = int(counts[:k].sum()) / n
    return proportion(int((ranks < k).sum()), n, chance, independent=independent)


def batches_of(examples: Any, count: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
    """The first `count` examples in batches, on the device."""
    for first in range(0, count, BATCH):
        chosen = range(first, min(first + BATCH, count))
        batch = examples.collate([examples[index] for index in chosen])
        yield {key: value.to(device) for key, value in batch.items()}
