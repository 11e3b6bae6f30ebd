"""Where the words of a sentence are: Grad-CAM on ALBEF's cross-attention (Li et al. 2021, 5.5).

Attention says where a word looks; its gradient says what of that makes the pair a match. Their
product finds things that nobody ever framed: the model has learned from pairs alone.
Grad-CAM: Selvaraju et al. 2016, arXiv 1610.02391; on attention: Chefer et al. 2021, 2103.15679.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from minivl.models.albef import Albef
from minivl.nn.vit import patch_grid
from minivl.visualize.attention import pooled_map, upsample

THIRD = 2
"""ALBEF's choice: the third of six fusion blocks (layer 8 of its twelve text layers)."""
NINTH = 8
"""The image encoder's block for `look_alone`: the ninth of twelve."""


def grad_cam(attention: Tensor, gradient: Tensor) -> Tensor:
    """What of the attention raises the score: mean over heads of attention * relu(gradient).

    attention, gradient (b, h, t, p): the gradient of the score by the attention -> (b, t, p).
    """
    # Each head by itself: a head that argues against must not silence one that argues for.
    return reduce(attention * gradient.clamp(min=0), "b h t p -> b t p", "mean")


@dataclass(frozen=True)
class Looked:
    """What a forward pass looked at, block by block, and what of it counted."""

    score: Tensor
    """(b,): the match logit, or the cosine."""
    attention: tuple[Tensor, ...]
    """(b, h, t, p) of each block."""
    gradient: tuple[Tensor, ...]
    """Of the score, by each."""

    def grad_cam(self, block: int) -> Tensor:
        """(b, t, p) of one block."""
        return grad_cam(self.attention[block], self.gradient[block])


def look(model: Albef, image: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Looked:
    """Picture i beside sentence i through all three encoders; p is 1 + gh*gw, [CLS] first.

    image (b, 3, h, w), input_ids and attention_mask (b, t). The score is the logit of "they
    match". Asks for gradients by itself and leaves none behind; the model is evaluated.
    """
    with differentiating(model):
        # A picture with a gradient: the maps have one even where all weights are frozen.
        pixels = image.clone().requires_grad_()
        states, maps = model.encode_pair(
            pixels, input_ids.clone(), attention_mask.clone(), return_attention=True
        )
        return looked(model.judge(states)[:, 1], maps)


def look_alone(model: Albef, image: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Looked:
    """The same of the image encoder's own attention, for the cosine of picture and sentence.

    t and p are both 1 + gh*gw. The words choose what counts, they do not look themselves.
    """
    with differentiating(model):
        pixels = image.clone().requires_grad_()
        pictures, maps = model.encode_image(pixels, return_attention=True)
        sentences = model.encode_text(input_ids.clone(), attention_mask.clone())
        return looked(F.cosine_similarity(pictures, sentences, dim=-1), maps)


def looked(score: Tensor, maps: Sequence[Tensor]) -> Looked:
    """score (b,), each from its own row of the maps (b, h, t, p) -> both with gradients taken."""
    gradients = torch.autograd.grad(score.sum(), list(maps), materialize_grads=True)
    return Looked(score.detach(), tuple(m.detach() for m in maps), gradients)


@contextmanager
def differentiating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and gradients inside, whatever the caller's; modes as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def usual_block(blocks: int) -> int:
    """Of so many fusion blocks the third, as in the paper; of a short stack the last but one.

    Never the last, where there is another: the matching head reads [CLS] alone, so that what the
    other words see there counts for nothing and their maps are zero.
    """
    return min(THIRD, max(blocks - 2, 0))


def word_maps(
    model: Albef,
    image: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    layer: int | None = None,
) -> Tensor:
    """Grad-CAM of each word on the patch grid, (b, t, gh, gw): where it is; padding is nowhere.

    Arguments as in `look`. layer: the fusion block, from 0; `usual_block` unless told.
    """
    seen = look(model, image, input_ids, attention_mask)
    block = usual_block(len(seen.attention)) if layer is None else layer
    grid = patch_grid(image, model.image_encoder.patch_size)
    return on_grid(seen.grad_cam(block), grid) * attention_mask[:, :, None, None]


def on_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Without the column of [CLS], as a map: (..., 1 + gh*gw) -> (..., gh, gw)."""
    return rearrange(tokens[..., 1:], "... (gh gw) -> ... gh gw", gh=grid[0], gw=grid[1])


def mean_map(maps: Tensor, chosen: Tensor) -> Tensor:
    """The mean map of the chosen words: maps (b, t, gh, gw), chosen (b, t) bool -> (b, gh, gw).

    With the attention mask it is the map of the whole sentence. The official code divides by all
    places, padding included: the same map, only fainter.
    """
    total = (maps * chosen[:, :, None, None]).sum(dim=1)
    return total / chosen.sum(dim=1).clamp(min=1)[:, None, None]


def picture_maps(
    model: Albef,
    image: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    layer: int | None = None,
) -> Tensor:
    """Grad-CAM without a fusion encoder, (b, gh, gw): what of a picture's self-attention, read as
    the model reads it, brings the picture near to the sentence.

    layer: the image encoder's block, from 0; the ninth unless told, or the last of fewer.
    """
    seen = look_alone(model, image, input_ids, attention_mask)
    block = min(NINTH, len(seen.attention) - 1) if layer is None else layer
    grid = patch_grid(image, model.image_encoder.patch_size)
    return pooled_map(seen.grad_cam(block), grid, model.image_pool)


def on_picture(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (..., gh, gw) at the size of the picture in pixels, bicubic: (..., h, w)."""
    flat = maps.reshape(-1, *maps.shape[-2:])
    return upsample(flat, size).reshape(*maps.shape[:-2], *size)


def whole_words(pieces: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Pieces of a text as words, each with the places of its pieces: "un", "##ic" -> "unic"."""
    found: list[tuple[str, list[int]]] = []
    for place, piece in enumerate(pieces):
        if piece.startswith("##") and found:
            word, places = found.pop()
            found.append((word + piece[2:], [*places, place]))
        else:
            found.append((piece, [place]))
    return found
