"""What an image tokenizer is worth: how well its words draw unseen pictures, how it uses them."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from minivl.data.examples import SceneSource, Split, to_tensor
from minivl.data.scenes import scene
from minivl.evaluation.embed import evaluating
from minivl.evaluation.metric import Z_95, Metric
from minivl.evaluation.pools import EVALUATION_SEED
from minivl.models.dvae import DVAE
from minivl.nn import dvae

BATCH = 64


def evaluate_tokenizer(
    model: DVAE, source: SceneSource, device: torch.device, *, pictures: int
) -> dict[str, dict | Metric]:
    """Metrics by key: "<kind>/reconstruction/..." and "<kind>/codebook/...".

    Kinds: validation (known artists, unseen photographs), twemoji (an unseen artist, too) and
    photographs (unseen ones with nothing on them).
    """
    metrics: dict[str, dict | Metric] = {}
    for kind, images in unseen(source, pictures):
        found = measure(model, images, device)
        metrics |= {f"{kind}/{key}": metric for key, metric in found.items()}
    return metrics


def unseen(source: SceneSource, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Kind, and uint8 (count, h, w, 3): pictures on photographs that training never shows."""
    splits: tuple[Split, ...] = ("validation", "twemoji")
    scenes = {
        split: [scene(source.world(split), EVALUATION_SEED, i) for i in range(count)]
        for split in splits
    }
    for split in splits:
        yield split, np.stack([source.renderer.image(drawn) for drawn in scenes[split]])
    # Half of them from each split's photographs.
    bare = [scenes[splits[i % 2]][i] for i in range(count)]
    yield "photographs", np.stack([source.renderer.background(drawn) for drawn in bare])


def measure(model: DVAE, images: np.ndarray, device: torch.device) -> dict[str, dict | Metric]:
    """Reconstruction error and use of the codes on uint8 (n, h, w, 3).

    Chance is what a picture's own mean colour reaches, and for the codebook a single code.
    """
    drawn, flat, tokens = [], [], []
    with evaluating(model):
        for start in range(0, len(images), BATCH):
            image = to_tensor(images[start : start + BATCH]).to(device)
            names = model.tokenize(image)
            drawn.append(errors(model.decode(names), image).cpu())
            flat.append(errors(image.mean(dim=(2, 3), keepdim=True), image).cpu())
            tokens.append(names.cpu())
    drawn, flat = torch.cat(drawn, dim=1), torch.cat(flat, dim=1)
    return {
        "reconstruction/psnr": {
            "value": float(psnr(drawn[1]).mean()),
            "chance": float(psnr(flat[1]).mean()),
            "n": len(images),
            "unit": "dB",
        },
        "reconstruction/l1": mean_of(drawn[0], flat[0]),
        **codebook(torch.cat(tokens), model.vocab_size),
    }


def errors(drawn: Tensor, image: Tensor) -> Tensor:
    """Mean absolute and mean squared error of each picture, of colours from 0 to 1.

    drawn, image (b, 3, h, w) in [-1, 1] -> (2, b).
    """
    difference = ((drawn - image) / 2).expand_as(image).double()
    return torch.stack([d.mean(dim=(1, 2, 3)) for d in (difference.abs(), difference.square())])


def psnr(squared: Tensor) -> Tensor:
    """Mean squared errors of colours from 0 to 1 -> peak signal-to-noise ratio in dB.

    Of 8-bit pictures: an error below half a step of 255 counts as half a step.
    """
    return -10 * torch.log10(squared.clamp(min=(0.5 / 255) ** 2))


def mean_of(values: Tensor, chance: Tensor) -> Metric:
    """Means over the pictures, with the 95 % interval of the first: values, chance (n,)."""
    mean, n = float(values.mean()), len(values)
    half = Z_95 * float(values.std()) / math.sqrt(n)
    return Metric(mean, float(chance.mean()), n, mean - half, mean + half)


def codebook(tokens: Tensor, vocab_size: int) -> dict[str, dict]:
    """Share of the codes that occur, and perplexity, of tokens (n, gh, gw).

    `ceiling` is the perplexity of as many even draws: few tokens cannot show many codes.
    """
    shares = dvae.code_shares(tokens, vocab_size)
    generator = torch.Generator().manual_seed(0)
    even = torch.randint(vocab_size, (tokens.numel(),), generator=generator)
    n, size = tokens.numel(), {"size": vocab_size}
    perplexity = float(dvae.perplexity(shares))
    ceiling = float(dvae.perplexity(dvae.code_shares(even, vocab_size)))
    return {
        "codebook/perplexity": {"value": perplexity, "chance": 1.0, "n": n, "ceiling": ceiling}
        | size,
        "codebook/used": {"value": float((shares > 0).float().mean()), "chance": 1 / vocab_size,
                          "n": n} | size,
    }  # fmt: skip
