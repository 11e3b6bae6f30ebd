"""Does a sentence belong to a picture? A true pair told from a wrong one, by any model that scores
pairs."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from minivl.data.examples import SceneSource, Split, to_tensor
from minivl.evaluation.contrastive import Judge
from minivl.evaluation.embed import evaluating
from minivl.evaluation.masked import BATCH
from minivl.evaluation.metric import Metric, proportion
from minivl.evaluation.pools import Pool, mirrored_pool, retrieval_pool

Scores = Callable[[Tensor, Tensor, Tensor], Tensor]
"""image (b, 3, h, w), input_ids, attention_mask (b, t) -> (b,): how much more the model believes
than doubts that picture i and sentence i belong together; 0 is the border."""


class Matcher:
    """A model that scores pairs, the world it is asked about, and the device where it answers."""

    def __init__(self, model: nn.Module, scores: Scores, source: SceneSource, device: torch.device):
        self.model, self.scores, self.source, self.device = model, scores, source, device

    def matching(self, split: Split, pairs: int, mirrored_pairs: int) -> dict[str, Metric]:
        """Is a pair told from a wrong one? Half are right: guessing is right half the time.

        "itm/random": the wrong sentence is another picture's. "itm/mirrored": it is that of the
        mirrored twin, the same words in another order. A count of 0 leaves its question out.
        """
        found: dict[str, Metric] = {}
        if pairs:
            size = Judge(self.model, self.source, self.device).sayable(split, pairs // 2)
            foreign = np.roll(np.arange(size), 1)
            pool = retrieval_pool(self.source, split, size)
            found["itm/random"] = self.told_apart(pool, foreign)
        if mirrored_pairs:
            twins = mirrored_pool(self.source, split, mirrored_pairs)
            other = np.arange(len(twins.captions)) ^ 1
            found["itm/mirrored"] = self.told_apart(twins, other)
        return found

    def told_apart(self, pool: Pool, wrong: np.ndarray) -> Metric:
        """Each picture of a pool beside its own sentence, and beside number `wrong[i]`."""
        right = self.of(pool.images, pool.captions)
        foreign = self.of(pool.images, [pool.captions[i] for i in wrong])
        hits = int((right > 0).sum() + (foreign <= 0).sum())
        # A picture answers twice: its two answers count as one where they hang together.
        return proportion(hits, 2 * len(right), 0.5, independent=len(right))

    def of(self, images: np.ndarray, sentences: Sequence[str]) -> Tensor:
        """The score of picture i with sentence i: (n,). images (n, h, w, 3) uint8."""
        scores = []
        with evaluating(self.model):
            for first in range(0, len(images), BATCH):
                part = slice(first, first + BATCH)
                text = self.source.text.batch(list(sentences[part]), self.source.data.max_length)
                asked = (to_tensor(images[part]), text["input_ids"], text["attention_mask"])
                scores.append(self.scores(*(tensor.to(self.device) for tensor in asked)).cpu())
        return torch.cat(scores)
