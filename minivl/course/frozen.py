"""Pairs as frozen encoders see them: computed once, and read by whatever is trained on top.

Letters: n pairs, p tokens of a picture, t word pieces, d width of the shared space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.data.captions import caption
from minivl.data.examples import to_tensor
from minivl.data.scenes import Scene
from minivl.data.text import WordPiece
from minivl.models.flava import Flava

PART = 256
"""Pairs encoded at once."""


@dataclass(frozen=True)
class States:
    """n pairs: what encoders make of each token, and of each side as a whole."""

    image: Tensor
    """(n, p, width), the class token first."""
    text: Tensor
    """(n, t, width)."""
    seen: Tensor
    """(n, t) bool, True = a word."""
    ids: Tensor
    """(n, t) int64, the word pieces."""
    v: Tensor
    """(n, d) unit vectors of the pictures."""
    w: Tensor
    """(n, d) unit vectors of the sentences."""

    def __len__(self) -> int:
        return len(self.image)


@torch.no_grad()
def encode(model: Flava, batch: Mapping[str, Tensor]) -> States:
    """image (n, 3, h, w), input_ids and attention_mask (n, t) -> states on the model's device."""
    device = next(model.parameters()).device
    names = ("image", "input_ids", "attention_mask")
    parts = zip(*(batch[name].split(PART) for name in names), strict=True)
    found = [encode_part(model, *(values.to(device) for values in part)) for part in parts]
    columns = {one.name: [getattr(part, one.name) for part in found] for one in fields(States)}
    return States(**{name: torch.cat(values) for name, values in columns.items()})


def encode_part(model: Flava, image: Tensor, input_ids: Tensor, attention_mask: Tensor) -> States:
    """`encode` of a few pairs."""
    patches = model.image_states(image)
    words = model.text_encoder.states(input_ids, attention_mask)
    pooled = model.pool_text(model.text_encoder.norm(words), attention_mask)
    v = model.image_proj(model.pool(model.image_encoder.norm(patches)))
    w = model.text_proj(pooled)
    unit = F.normalize(v, dim=1), F.normalize(w, dim=1)
    return States(patches, words, attention_mask, input_ids, *unit)


def encode_pool(
    model: Flava, text: WordPiece, images: np.ndarray, captions: Sequence[str], max_length: int
) -> States:
    """images uint8 (n, h, w, 3) and their n captions -> states."""
    return encode(model, {"image": to_tensor(images)} | text.batch(list(captions), max_length))


def fits(model: Flava, text: WordPiece) -> bool:
    """Whether a model knows as many words as there are, and has learned to compare and match."""
    words = model.text_encoder.word_embed.num_embeddings
    return words == len(text) and {"contrastive", "itm"} <= model.objectives


def exchanged(scenes: Sequence[Scene]) -> list[str]:
    """Each scene's sentence with its first thing exchanged for one that is not in the picture.

    The new thing is the first one of a later scene, or, at the end, of an early one. Raises
    ValueError where no other thing is left.
    """
    return [
        renamed(scene, [*scenes[number + 1 :], *scenes[:number]])
        for number, scene in enumerate(scenes)
    ]


def renamed(scene: Scene, others: Sequence[Scene]) -> str:
    """`exchanged` for one scene: its first thing is the first of another scene."""
    names = {thing.name for thing in scene.things}
    new = next((one.things[0].name for one in others if one.things[0].name not in names), None)
    if new is None:
        raise ValueError(f"no scene begins with another thing than {', '.join(sorted(names))}")
    first, *rest = scene.things
    return caption(replace(scene, things=(replace(first, name=new), *rest)), "places")
