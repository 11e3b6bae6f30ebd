"""How often does a fine-tuned model answer rightly, kind by kind, on every split?"""

from collections.abc import Callable, Sequence

import torch

from minivl.data.examples import Split
from minivl.data.tasks import TaskExamples
from minivl.evaluation.embed import evaluating
from minivl.evaluation.masked import batches_of, ranks_of
from minivl.evaluation.metric import Metric, pooled, proportion
from minivl.models.finetune import Finetuned


def evaluate_finetuned(
    model: Finetuned,
    examples_of: Callable[[Split], TaskExamples],
    splits: Sequence[Split],
    device: torch.device,
    count: int,
) -> dict[str, Metric]:
    """Metrics by key, "<split>/<task>/<kind>" and "<split>/<task>/accuracy" of all kinds."""
    metrics: dict[str, Metric] = {}
    for split in splits:
        examples = examples_of(split)
        right, labels = answered(model, examples, count, device)
        kinds = [examples.asked(index).kind for index in range(count)]
        found = by_kind(right, labels, kinds)
        metrics |= {f"{split}/{examples.task}/{name}": metric for name, metric in found.items()}
    return metrics


def answered(
    model: Finetuned, examples: TaskExamples, count: int, device: torch.device
) -> tuple[list[bool], list[int]]:
    """Whether each of the first `count` questions is answered rightly, and the right answer.

    Two answers with the best score are no answer.
    """
    right: list[bool] = []
    labels: list[int] = []
    with evaluating(model):
        for batch in batches_of(examples, count, device):
            right += (ranks_of(model.scores(batch), batch["labels"]) == 0).tolist()
            labels += batch["labels"].tolist()
    return right, labels


def by_kind(
    right: Sequence[bool], labels: Sequence[int], kinds: Sequence[str]
) -> dict[str, Metric]:
    """The share of right answers of each kind of question, and of all: "accuracy".

    Chance is what the most frequent answer of a kind reaches: who reads only which kind of question
    it is can be right so often. With one kind there is only "accuracy".
    """
    found: dict[str, Metric] = {}
    for kind in dict.fromkeys(kinds):
        chosen = [number for number, own in enumerate(kinds) if own == kind]
        asked = [labels[number] for number in chosen]
        most = max(asked.count(answer) for answer in set(asked))
        hits = sum(right[number] for number in chosen)
        found[kind] = proportion(hits, len(chosen), most / len(chosen))
    together = {"accuracy": pooled(list(found.values()))}
    return together | found if len(found) > 1 else together
