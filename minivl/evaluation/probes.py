"""How much a frozen image encoder knows: k-NN and a linear probe on pictures of one thing.

The pictures are those that zero-shot naming is asked about, so that three ways of naming can be
compared; the protocol is that of `dino.Judge`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from minivl.data.examples import SceneSource, Split
from minivl.data.scenes import scene
from minivl.evaluation.dino import Judge
from minivl.evaluation.metric import Metric


class Features(nn.Module):
    """An image encoder as probes read it: what it gives before any projection (appendix B.2)."""

    def __init__(self, encoder: nn.Module, pool: Callable[[Tensor], Tensor]):
        """`pool`: tokens (b, 1+n, width) -> (b, width), as the model does it."""
        super().__init__()
        self.encoder, self.pool = encoder, pool

    def encode_image(self, image: Tensor) -> Tensor:
        """image (b, 3, h, w) -> (b, width)."""
        return self.pool(self.encoder(image))


class OneThing:
    """Scenes with one thing, as `dino.Judge` asks for them."""

    def __init__(self, source: SceneSource):
        self.source = source
        self.names = list(dict.fromkeys(d[0].name for d in source.world("train").sprites))

    def pictures(
        self, split: Split, seed: int, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """uint8 (n, h, w, 3), labels (n,), and the thing's mask bool (n, h, w)."""
        # A mirrored twin would be a neighbour for nothing, odd light makes the gallery differ.
        world = replace(self.source.world(split, (1, 1)), twin_share=0.0, light=0.0)
        drawn = [scene(world, seed, index) for index in range(count)]
        images = np.stack([self.source.renderer.image(one) for one in drawn])
        masks = np.stack([self.source.renderer.masks(one)[0] for one in drawn])
        return images, np.array([self.names.index(one.things[0].name) for one in drawn]), masks


def probe(
    source: SceneSource,
    trained: Features,
    untrained: Features,
    device: torch.device,
    queries: int,
) -> dict[str, Metric]:
    """Metrics "<split>/image_knn/accuracy" and "<split>/image_linear/accuracy".

    Their names tell them from those of a DINO stage, which sees other pictures. What comparisons
    reach ends in "_untrained" and "_raw_pixels". `queries` pictures of each split are named, twice
    as many with known names are learned from.
    """
    judge = Judge(
        OneThing(source), untrained, device, gallery=2 * queries, queries=queries, looked_at=0
    )
    found = judge.measure(trained)
    return {key.replace("/", "/image_", 1): metric for key, metric in found.items()}
