"""Does a map point at the thing? Attention against exact masks, without a trained reader.

Letters: n pictures, gh and gw rows and columns of a map, h and w of a picture in pixels. A map's
cell weighs all its pixels alike. What a map that is the same everywhere gets is the chance level:
the object's share of the area.
"""

from collections.abc import Mapping

import torch
from einops import reduce
from torch import Tensor

from minivl.errors import UserError
from minivl.evaluation.metric import Metric, proportion

MASS = 0.6
"""Share of the attention that DINO's figures keep (Caron et al. 2021, figures 1, 3 and 4)."""


def grounding(maps: Tensor, masks: Tensor) -> dict[str, Metric]:
    """Maps (n, gh, gw), not negative, against masks bool (n, h, w): four means over the pictures.

    pointing     how much of the brightest cell lies on the thing (the pointing game)
    mass_inside  how much of the weight does
    best_iou     overlap of the cells above a threshold with the thing, at each picture's best one
    mass_60_iou  overlap of the brightest cells that hold 60 % of the weight
    """
    inside = cell_shares(masks, (maps.shape[-2], maps.shape[-1]))
    area = inside.mean(dim=(-2, -1))
    kept = mass_mask(maps)
    part = kept.float().mean(dim=(-2, -1))
    at_random = part * area / (part + area - part * area)
    values: Mapping[str, tuple[Tensor, Tensor]] = {
        "pointing": (pointing(maps, inside), area),
        "mass_inside": (mass_inside(maps, inside), area),
        "best_iou": (best_iou(maps, inside), area),
        "mass_60_iou": (iou(kept, inside), at_random),
    }
    return {
        name: proportion(found.sum().item(), len(found), chance.mean().item())
        for name, (found, chance) in values.items()
    }


def cell_shares(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Share of each cell's pixels that lie on the thing: bool (n, h, w) -> (n, gh, gw) float32."""
    height, width = masks.shape[-2:]
    if height % grid[0] or width % grid[1]:
        raise UserError(
            f"masks of {height} x {width} pixels do not divide into {grid[0]} x {grid[1]} cells",
            "draw the pictures at a multiple of the map",
        )
    cells = {"gh": grid[0], "gw": grid[1]}
    return reduce(masks.float(), "n (gh p) (gw q) -> n gh gw", "mean", **cells)


def pointing(maps: Tensor, inside: Tensor) -> Tensor:
    """How much of the brightest cell lies on the thing; of several, their mean.

    maps, inside (..., gh, gw) -> (...).
    """
    brightest = maps == maps.amax(dim=(-2, -1), keepdim=True)
    return (brightest * inside).sum(dim=(-2, -1)) / brightest.sum(dim=(-2, -1))


def mass_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """How much of a map's weight lies on the thing. maps, inside (..., gh, gw) -> (...)."""
    return (maps * inside).sum(dim=(-2, -1)) / maps.sum(dim=(-2, -1))


def mass_mask(maps: Tensor, mass: float = MASS) -> Tensor:
    """The brightest cells that together hold at least `mass` of the weight. (..., gh, gw) bool.

    As DINO's viewer: of the cells in rising order, those are dropped whose weight, added up from
    the darkest, stays within 1 - mass.
    """
    flat = maps.flatten(-2)
    order = flat.argsort(dim=-1, stable=True)
    rising = flat.gather(-1, order).double()
    below = rising.cumsum(dim=-1) / rising.sum(dim=-1, keepdim=True)
    kept = torch.zeros_like(flat, dtype=torch.bool).scatter(-1, order, below > 1 - mass)
    return kept.view(maps.shape)


def iou(kept: Tensor, inside: Tensor) -> Tensor:
    """Pixels in both over pixels in either. kept bool, inside (..., gh, gw) -> (...)."""
    both = (kept * inside).sum(dim=(-2, -1))
    either = kept.sum(dim=(-2, -1)) + inside.sum(dim=(-2, -1)) - both
    return both / either.clamp_min(1e-12)


def best_iou(maps: Tensor, inside: Tensor) -> Tensor:
    """The largest overlap of the cells at or above a threshold with the thing.

    maps, inside (..., gh, gw) -> (...). The threshold is each map's best: an upper bound, and above
    the area's share even for noise; compare models by it, not with nothing.
    """
    weight, order = maps.flatten(-2).sort(dim=-1, descending=True)
    covered = inside.flatten(-2).gather(-1, order)
    both = covered.cumsum(dim=-1)
    count = torch.arange(1, weight.shape[-1] + 1, device=maps.device)
    overlap = both / (count + both[..., -1:] - both)
    # A threshold cannot cut between equal cells.
    ends = torch.ones_like(weight, dtype=torch.bool)
    ends[..., :-1] = weight[..., :-1] > weight[..., 1:]
    return overlap.masked_fill(~ends, 0).amax(dim=-1)


def best_head(maps: Tensor, masks: Tensor) -> int:
    """The head with most weight on the thing. maps (n, heads, gh, gw), masks bool (n, h, w).

    Choose it on other pictures than those that it is judged on.
    """
    inside = cell_shares(masks, (maps.shape[-2], maps.shape[-1]))
    return int(mass_inside(maps, inside.unsqueeze(1)).mean(dim=0).argmax())
