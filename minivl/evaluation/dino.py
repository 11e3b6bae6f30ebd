"""What pictures taught an encoder: neighbours, a linear probe, and where it looks, on every split.

Beside each number what an untrained encoder of the same shape gets, and the bare pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minivl.data.examples import Split, to_tensor
from minivl.data.objects import ObjectSource
from minivl.evaluation import grounding
from minivl.evaluation.embed import embed_images, evaluating
from minivl.evaluation.metric import Metric
from minivl.evaluation.pools import EVALUATION_SEED
from minivl.evaluation.probe import knn_scores, linear_probe
from minivl.evaluation.zeroshot import accuracy

SPLITS: tuple[Split, ...] = ("validation", "twemoji")
"""Known artists in pictures that training never drew; the artist it never saw."""


@dataclass(frozen=True)
class Pictures:
    """Whole pictures of one thing each."""

    images: np.ndarray
    """uint8 (n, h, w, 3)."""
    labels: Tensor
    """Number of the concept, (n,) int64."""
    masks: Tensor
    """Where the thing is, bool (n, h, w)."""


class Judge:
    """The pictures of one evaluation; what does not depend on the training is computed once."""

    def __init__(self, source: ObjectSource, untrained: nn.Module, device: torch.device, *,
                 gallery: int, queries: int, looked_at: int):  # fmt: skip
        """`gallery` known pictures, `queries` to be named on each split, `looked_at` to be
        compared with their masks; 0 leaves out the attention."""
        self.device = device
        self.classes = len(source.names)
        self.looked_at = looked_at
        self.gallery = _drawn(source, "train", gallery, 0)
        self.queries = {
            split: _drawn(source, split, queries, number)
            for number, split in enumerate(SPLITS, start=1)
        }
        pixels = [_pixels(part.images).to(device) for part in self._parts()]
        self.baselines = self._named("raw_pixels", pixels)
        self.baselines |= self._measured(untrained.to(device), "untrained")

    def measure(self, model: nn.Module) -> dict[str, Metric]:
        """Metrics by key: "<split>/knn/accuracy", "<split>/linear/...", "<split>/attention/...".

        The same with "_untrained" or "_raw_pixels" are what training is to be compared with.
        """
        return self._measured(model, "") | self.baselines

    def _parts(self) -> list[Pictures]:
        return [self.gallery, *self.queries.values()]

    def _measured(self, model: nn.Module, which: str) -> dict[str, Metric]:
        vectors = [embed_images(model, part.images, self.device) for part in self._parts()]
        return self._named(which, vectors) | self._looked(model, which)

    def _named(self, which: str, vectors: list[Tensor]) -> dict[str, Metric]:
        """How often neighbours, and a linear probe, name the thing; vectors as in `_parts`."""
        known, *asked = vectors
        labels = self.gallery.labels.to(self.device)
        metrics = {}
        for split, queries in zip(SPLITS, asked, strict=True):
            truth = self.queries[split].labels
            for name, method in (("knn", knn_scores), ("linear", linear_probe)):
                if name == "linear" and which == "raw_pixels":
                    continue  # thousands of numbers a picture: slow, and no fair comparison
                scores = method(known, labels, queries, self.classes)
                metrics[_key(split, name, "accuracy", which)] = accuracy(scores, truth)
        return metrics

    def _looked(self, model: nn.Module, which: str) -> dict[str, Metric]:
        """Attention of the class token against the masks; the head is chosen on the gallery."""
        if not self.looked_at:
            return {}
        few = slice(0, self.looked_at)
        maps = heads_of(model, self.gallery.images[few], self.device)
        head = grounding.best_head(maps, self.gallery.masks[few])
        metrics = {}
        for split, asked in self.queries.items():
            maps = heads_of(model, asked.images[few], self.device)[:, head]
            found = grounding.grounding(maps, asked.masks[few])
            metrics |= {_key(split, "attention", name, which): m for name, m in found.items()}
        return metrics


def heads_of(
    model: nn.Module, images: np.ndarray, device: torch.device, *, batch_size: int = 64
) -> Tensor:
    """What the class token of the last block attends to: (n, heads, gh, gw), each adding up to 1.

    images uint8 (n, h, w, 3). Its weight on itself is left out (DINO's viewer).
    """
    parts = []
    with evaluating(model):
        for start in range(0, len(images), batch_size):
            pixels = to_tensor(images[start : start + batch_size]).to(device)
            weights = model.encode_image(pixels, return_attention=True)[1][-1][:, :, 0, 1:]
            rows = round(weights.shape[-1] ** 0.5)  # pictures are square here
            maps = rearrange(weights.float(), "n h (gh gw) -> n h gh gw", gh=rows)
            parts.append((maps / maps.sum(dim=(-2, -1), keepdim=True)).cpu())
    return torch.cat(parts).clone()


def _key(split: str, task: str, name: str, which: str) -> str:
    return f"{split}/{task}/{name}" + (f"_{which}" if which else "")


def _drawn(source: ObjectSource, split: Split, count: int, number: int) -> Pictures:
    images, labels, masks = source.pictures(split, EVALUATION_SEED + number, count)
    return Pictures(images, torch.from_numpy(labels), torch.from_numpy(masks))


def _pixels(images: np.ndarray) -> Tensor:
    """Pictures as vectors, mid-grey at zero: (n, h w 3), of length 1."""
    return F.normalize(to_tensor(images).flatten(1), dim=-1)
