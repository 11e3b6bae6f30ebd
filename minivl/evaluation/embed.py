"""Pictures and sentences to unit vectors, batch by batch, without gradients."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from minivl.data.examples import to_tensor
from minivl.data.text import WordPiece

Progress = Callable[[int, int], None]
"""Called after each batch with how many are done, and of how many."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; afterwards every module is in its mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def embed_images(
    model: nn.Module,
    images: np.ndarray,
    device: torch.device,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Unit vectors of pictures: uint8 (n, height, width, 3) -> (n, width) float32 on `device`."""

    def encode(part: slice) -> torch.Tensor:
        return model.encode_image(to_tensor(images[part]).to(device))

    return _embed(model, encode, len(images), batch_size, progress)


def embed_texts(
    model: nn.Module,
    text: WordPiece,
    sentences: Sequence[str],
    device: torch.device,
    *,
    max_length: int | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Unit vectors of sentences: (n, width) float32 on `device`."""

    def encode(part: slice) -> torch.Tensor:
        batch = text.batch(sentences[part], max_length)
        return model.encode_text(batch["input_ids"].to(device), batch["attention_mask"].to(device))

    return _embed(model, encode, len(sentences), batch_size, progress)


def _embed(
    model: nn.Module,
    encode: Callable[[slice], torch.Tensor],
    count: int,
    batch_size: int,
    progress: Progress | None,
) -> torch.Tensor:
    """What `encode` gives for each slice of 0..count, one below the other, as unit vectors."""
    parts = []
    with evaluating(model):
        for start in range(0, count, batch_size):
            end = min(start + batch_size, count)
            parts.append(encode(slice(start, end)))
            if progress is not None:
                progress(end, count)
        vectors = F.normalize(torch.cat(parts).float(), dim=-1)
    return vectors.clone()  # made outside of inference mode: may take part in gradients again
