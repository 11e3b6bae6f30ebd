"""How often does a fine-tuned model answer rightly, kind by kind, on every split?"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from minivl.data.examples import Split
from minivl.data.tasks import TaskExamples
from minivl.evaluation.embed import evaluating
from minivl.evaluation.masked import batches_of
from minivl.evaluation.metric import Metric, pooled, proportion
from minivl.models.finetune import Finetuned


def vqa_score(answer: str, annotators: Sequence[str]) -> float:
    """How right an answer is where people differ: full marks if three of the others give it.

    annotators: what each of (ten) people answered -> the mean, over leaving one of them out, of
    min(1, how many of the rest agree / 3). VQA v2's accuracy (Antol et al. 2015, arXiv 1505.00468,
    section 4); capital letters, signs and articles count for nothing. ValueError for fewer than
    two people.
    """
    if len(annotators) < 2:
        raise ValueError(f"{len(annotators)} annotators: leaving one out must leave another")
    agrees = [normalised(said) == normalised(answer) for said in annotators]
    together = sum(agrees)
    return sum(min(1.0, (together - own) / 3) for own in agrees) / len(annotators)


@lru_cache(maxsize=65536)
def normalised(answer: str) -> str:
    """Lower case, without signs and articles."""
    words = re.sub(r"[^\w\s]", "", answer.lower()).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


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
        said = answered(model, examples, count, device)
        asked = [examples.asked(index) for index in range(count)]
        found = by_kind(said, [one.voices for one in asked], [one.kind for one in asked])
        metrics |= {f"{split}/{examples.task}/{name}": metric for name, metric in found.items()}
    return metrics


def answered(
    model: Finetuned, examples: TaskExamples, count: int, device: torch.device
) -> list[str | None]:
    """The answer to each of the first `count` questions.

    Two answers with the best score are none, and so is a score that is no number.
    """
    numbers: list[int] = []
    with evaluating(model):
        for batch in batches_of(examples, count, device):
            numbers += best_alone(model.scores(batch)).tolist()
    return [examples.answers[number] if number >= 0 else None for number in numbers]


def best_alone(scores: Tensor) -> Tensor:
    """scores (b, k) -> the place of the best one (b), -1 where it is not above all others."""
    best = scores.argmax(dim=1)
    rivals = ~(scores < scores.gather(1, best.unsqueeze(1)))
    return best.masked_fill(rivals.sum(dim=1) != 1, -1)


def by_kind(
    said: Sequence[str | None], voices: Sequence[Sequence[str]], kinds: Sequence[str]
) -> dict[str, Metric]:
    """The score of each kind of question, and of all: "accuracy".

    voices: what each annotator of each question answers; where all agree the score is the share of
    right answers. Chance is what the best constant answer to a kind reaches: who reads only which
    kind of question it is can be right so often. With one kind there is only "accuracy".
    """
    found: dict[str, Metric] = {}
    for kind in dict.fromkeys(kinds):
        chosen = [number for number, own in enumerate(kinds) if own == kind]
        hits = sum(vqa_score(said[n], voices[n]) for n in chosen if said[n] is not None)
        constant: Counter[str] = Counter()
        for number in chosen:
            for answer in dict.fromkeys(voices[number]):
                constant[answer] += vqa_score(answer, voices[number])
        found[kind] = proportion(hits, len(chosen), max(constant.values()) / len(chosen))
    together = {"accuracy": pooled(list(found.values()))}
    return together | found if len(found) > 1 else together
