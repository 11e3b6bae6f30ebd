"""Masked language modeling judged on texts that training never read."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from minivl.data.texts import MaskedTexts, TextSource
from minivl.evaluation.masked import EVALUATION_SEED, batches_of, masked_accuracy
from minivl.evaluation.metric import Metric, proportion
from minivl.models.mlm import Mlm
from minivl.objectives.masking import IGNORE

PROBABILITY = 0.15
"""Share of the words that an evaluation asks for: BERT's."""


def evaluate_mlm(
    source: TextSource, model: Mlm, device: torch.device, texts: int
) -> dict[str, Metric]:
    """Metrics by key: "<kind>/mlm/accuracy", "<kind>/mlm/top5", "glosses/mlm/by_neighbours".

    Kinds: definitions that were held out, and captions that name two things whose pair training
    never saw. 15 in 100 words are asked for, however many training hides, and each is hidden: none
    shows through, as in training 1 in 10.
    """
    metrics: dict[str, Metric] = {}
    data = replace(source.data, probability=PROBABILITY)
    for kind, chosen in (
        ("glosses", source.glosses("held out")),
        ("captions", source.captions("compositions")),
    ):
        hidden = MaskedTexts(chosen, source.text, data, EVALUATION_SEED, all_hidden=True)
        batches = list(batches_of(hidden, texts, device))
        found = masked_accuracy(model.answers, batches)
        if kind == "glosses":
            found["by_neighbours"] = by_neighbours(source.train, batches, found["accuracy"].chance)
        metrics |= {f"{kind}/mlm/{name}": metric for name, metric in found.items()}
    return metrics


def by_neighbours(
    rows: Iterable[Sequence[int]], batches: Iterable[dict[str, Tensor]], chance: float
) -> Metric:
    """What a table of neighbours reaches: the token seen most often between the same two.

    `rows`: the texts of training as ids. Where a pair was never seen, the left one alone decides.
    The table reads both neighbours even where they are hidden from a model.
    """
    between: dict[tuple[int, ...], Counter] = defaultdict(Counter)
    for row in rows:
        for left, token, right in zip(row, row[1:], row[2:], strict=False):
            between[left, right][token] += 1
            between[left,][token] += 1
    hits = asked = 0
    for batch in batches:
        ids = batch["input_ids"].cpu()
        for text, place in (batch["mlm_labels"].cpu() != IGNORE).nonzero().tolist():
            left, token, right = ids[text, place - 1 : place + 2].tolist()
            known = between.get((left, right)) or between.get((left,))
            hits += known is not None and known.most_common(1)[0][0] == token
            asked += 1
    return proportion(hits, asked, chance)
