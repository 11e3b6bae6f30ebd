"""What to hide: blocks of a picture's patches, and words of a text. True = hidden.

Blocks: BEiT (Bao et al. 2021, arXiv 2106.08254, section 2.3), whose generator FLAVA took over.
Words: BERT (Devlin et al. 2018, arXiv 1810.04805, section 3.1). All that is random comes in as a
generator or as uniform draws.
"""

import math

import torch
from torch import Tensor

IGNORE = -100
"""The label of a place that is not scored; what `F.cross_entropy` leaves out by default."""

TRIES = 10
"""Blocks refused in a row after which BEiT's generator gives up."""


def blockwise_mask(
    gh: int,
    gw: int,
    count: int,
    generator: torch.Generator,
    min_block: int = 16,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    exact: bool = True,
) -> Tensor:
    """Hide rectangles of random area, aspect ratio and place until `count` cells are hidden.

    -> (gh, gw) bool. A block that would hide too many, or nothing new, is refused. When
    blocks no longer fit, single cells make up the number; with exact=False it falls short, as in
    BEiT's code, which hides 64 to 75 of 196 where 75 were asked for.
    """
    mask = torch.zeros(gh, gw, dtype=torch.bool)
    low, high = math.log(aspect[0]), math.log(aspect[1])
    rest, refused = count, 0
    while rest > 0 and refused < TRIES:
        u = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        area = min_block + (rest - min_block) * u[0]
        ratio = math.exp(low + (high - low) * u[1])
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        top, left = int((gh - h + 1) * u[2]), int((gw - w + 1) * u[3])
        block = mask[top : top + h, left : left + w]
        new = h * w - int(block.sum())
        fits = h < gh and w < gw and 0 < new <= rest
        block |= fits
        rest, refused = (rest - new, 0) if fits else (rest, refused + 1)
    return fill_up(mask, rest, generator) if exact else mask


def fill_up(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The mask (gh, gw) with `count` more of its cells hidden, drawn one by one.

    ValueError where fewer are left.
    """
    free = (~mask).flatten().nonzero().squeeze(1)
    if not 0 <= count <= len(free):
        gh, gw = mask.shape
        raise ValueError(
            f"a mask of {gh} x {gw} cells cannot hide {int(mask.sum()) + count}: "
            f"ask for 0 to {mask.numel()}"
        )
    chosen = free[torch.randperm(len(free), generator=generator)[:count]]
    return mask.flatten().index_fill(0, chosen, True).view_as(mask)


def replace_masked(x: Tensor, mask_token: Tensor, mask: Tensor) -> Tensor:
    """Put the mask token in place of each hidden one; the others stay, and so does the length.

    x (b, n, d), mask_token (d), mask (b, n) bool -> (b, n, d). BEiT, section 2.3.
    """
    return torch.where(mask.unsqueeze(-1), mask_token.to(x.dtype), x)


def mask_tokens(
    input_ids: Tensor,
    special: Tensor,
    u_select: Tensor,
    u_action: Tensor,
    random_ids: Tensor,
    mask_id: int,
    probability: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """Select words to be guessed: 80 % become [MASK], 10 % another word, 10 % stay as they are.

    All (b, t): input_ids, special (True at [CLS], [SEP] and padding, which are never selected),
    two uniform draws a token, and words to swap in. -> input_ids (b, t), and labels (b, t): the
    original id where selected, -100 elsewhere. BERT, section 3.1 and appendix C.2.
    """
    selected = (u_select < probability) & ~special
    hidden = selected & (u_action < 0.8)
    swapped = selected & (u_action >= 0.8) & (u_action < 0.9)
    corrupted = torch.where(swapped, random_ids, input_ids).masked_fill(hidden, mask_id)
    return corrupted, input_ids.masked_fill(~selected, IGNORE)


def whole_words(u_select: Tensor, inside: Tensor) -> Tensor:
    """One draw for all pieces of a word: its first one's. Then `mask_tokens` selects whole words.

    u_select (b, t), inside (b, t) True at pieces that continue a word (##) -> (b, t). BERT's
    whole-word masking (2019); hidden, swapped or kept is still decided piece by piece.
    """
    place = torch.arange(inside.shape[1], device=inside.device).expand(inside.shape)
    first = place.masked_fill(inside, 0).cummax(dim=1).values
    return u_select.gather(1, first)
