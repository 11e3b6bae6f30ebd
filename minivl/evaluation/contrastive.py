"""What a two-encoder model can do: find, tell left from right, and name, on every split."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from minivl.data.captions import PLACE_PHRASES, caption
from minivl.data.examples import SceneSource, Split
from minivl.data.nouns import noun_phrase
from minivl.data.scenes import scene
from minivl.evaluation.embed import embed_images, embed_texts
from minivl.evaluation.metric import Metric, pooled
from minivl.evaluation.pools import (
    EVALUATION_SEED,
    Pool,
    mirrored_pool,
    retrieval_pool,
    single_pool,
)
from minivl.evaluation.retrieval import minimal_pair_accuracy, relevance, retrieval
from minivl.evaluation.zeroshot import accuracy, class_embeddings

SPLITS: tuple[Split, ...] = ("validation", "twemoji", "compositions")
PROMPT_PLACES = ("left", "right", "top", "bottom", "middle")

DRAWS = 16
"""Scenes looked at for each caption of a pool, before its world counts as exhausted."""


def evaluate_contrastive(
    model: nn.Module,
    source: SceneSource,
    device: torch.device,
    *,
    pool_size: int,
    pools: int,
    mirrored_pairs: int,
    named: int,
) -> dict[str, Metric]:
    """Metrics by key: "<split>/retrieval/...", "<split>/order/...", "<split>/zeroshot/accuracy".

    A count of 0 leaves its task out.
    """
    judge = Judge(model, source, device)
    metrics: dict[str, Metric] = {}
    for split in SPLITS:
        found: dict[str, Metric] = {}
        if pools and pool_size:
            found |= judge.retrieval(split, pool_size, pools)
        if mirrored_pairs:
            found |= judge.order(split, mirrored_pairs)
        if named and split != "compositions":  # a composition has two things, not one to name
            found |= judge.naming(split, named)
        metrics |= {f"{split}/{key}": metric for key, metric in found.items()}
    return metrics


class Judge:
    """A model, the world it is asked about, and the device where it answers."""

    def __init__(self, model: nn.Module, source: SceneSource, device: torch.device):
        self.model = model
        self.source = source
        self.device = device

    def retrieval(self, split: Split, size: int, count: int) -> dict[str, Metric]:
        """R@k both ways: `count` independent pools of `size` pictures, taken together.

        A world that can say fewer than `size` different sentences has a pool of all of them.
        """
        size = self.sayable(split, size)
        measured = []
        for number in range(count):
            pool = retrieval_pool(self.source, split, size, number)
            measured.append(
                retrieval(self.similarity(pool), relevance(pool.captions, pool.captions))
            )
        return {f"retrieval/{key}": pooled([one[key] for one in measured]) for key in measured[0]}

    def sayable(self, split: Split, size: int) -> int:
        """`size`, or the number of different captions of the split if that is less."""
        world, kind = self.source.world(split), self.source.data.captions[0]
        found: set[str] = set()
        for index in range(DRAWS * size):
            found.add(caption(scene(world, EVALUATION_SEED, index), kind))
            if len(found) == size:
                break
        return len(found)

    def order(self, split: Split, pairs: int) -> dict[str, Metric]:
        """Pictures against their mirrored twins."""
        pool = mirrored_pool(self.source, split, pairs)
        both, single = minimal_pair_accuracy(self.similarity(pool))
        return {"order/left_right_pairs": both, "order/left_right_pictures": single}

    def naming(self, split: Split, count: int) -> dict[str, Metric]:
        """Pictures of one thing, named among all things of the split."""
        pool, labels, names = single_pool(self.source, split, count)
        classes = list(dict.fromkeys(names))  # two concepts may share a name
        truth = torch.tensor([classes.index(names[label]) for label in labels])
        described = class_embeddings(self.texts, [list(prompts(name)) for name in classes])
        return {"zeroshot/accuracy": accuracy(self.images(pool) @ described.T, truth)}

    def similarity(self, pool: Pool) -> torch.Tensor:
        """Cosines of a pool's pictures and captions: (n, n)."""
        return self.images(pool) @ self.texts(pool.captions).T

    def images(self, pool: Pool) -> torch.Tensor:
        """(n, width) unit vectors."""
        return embed_images(self.model, pool.images, self.device)

    def texts(self, sentences: Sequence[str]) -> torch.Tensor:
        """(n, width) unit vectors."""
        length = self.source.data.max_length
        return embed_texts(self.model, self.source.text, sentences, self.device, max_length=length)


def prompts(name: str) -> Iterator[str]:
    """Sentences as captions say them: "a dog on the left", "a dog at the top", ..."""
    for place in PROMPT_PLACES:
        yield f"{noun_phrase(name)} {PLACE_PHRASES[place]}"
