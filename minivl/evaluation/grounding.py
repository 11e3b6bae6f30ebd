"""Does a map point at the thing? Attention against exact masks or boxes, without a trained reader.

Letters: n pictures, gh and gw rows and columns of a map, h and w of a picture in pixels. A map's
cell weighs all its pixels alike. What a map that is the same everywhere gets is the chance level:
against masks the object's share of the area, against boxes its share of the cells' centres.

Boxes are x0, y0, x1, y1 in pixels; x1 and y1 are the first column and row behind the box.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor

from minivl.errors import UserError
from minivl.evaluation.metric import Metric, proportion
from minivl.objectives.detection import box_iou

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


def pointing_hit(
    heat: Tensor, box: tuple[float, float, float, float], size: tuple[int, int]
) -> bool:
    """Whether the centre of the hottest cell lies inside the box: the pointing game with boxes.

    heat (gh, gw), size (h, w) of the picture; of equally hot cells the first counts. Zhang et al.
    2016, arXiv 1608.00507, without their tolerance of 15 pixels.
    """
    (gh, gw), (height, width), (x0, y0, x1, y1) = heat.shape, size, box
    row, column = divmod(int(heat.argmax()), gw)
    x, y = (column + 0.5) * width / gw, (row + 0.5) * height / gh
    return x0 <= x < x1 and y0 <= y < y1


def centres_inside(
    grid: tuple[int, int], box: tuple[float, float, float, float], size: tuple[int, int]
) -> Tensor:
    """Which cells' centres lie inside the box, bool (gh, gw)."""
    (gh, gw), (height, width), (x0, y0, x1, y1) = grid, size, box
    y = (torch.arange(gh) + 0.5) * height / gh
    x = (torch.arange(gw) + 0.5) * width / gw
    return ((y0 <= y) & (y < y1))[:, None] & ((x0 <= x) & (x < x1))


def pointing_share(heat: Tensor, inside: Tensor) -> float:
    """The share of the hottest cells that lie inside: `pointing_hit` where ties are drawn by lot.

    heat, inside (gh, gw). A flat map so gets what a cell at random gets, not the top left corner's.
    """
    return inside[heat == heat.max()].double().mean().item()


def box_scores(heat: Tensor, boxes: Tensor) -> Tensor:
    """How well each box frames the heat: its sum inside / sqrt(area). ALBEF's rank of proposals.

    heat (h, w) of each pixel, boxes (m, 4) int64 inside the picture -> (m,) float64. The sum would
    prefer the largest box, the mean the smallest.
    """
    # Sums over all pixels above and to the left: four of them give the sum of any box.
    total = F.pad(heat.double().cumsum(dim=0).cumsum(dim=1), (1, 0, 1, 0))
    x0, y0, x1, y1 = boxes.unbind(dim=1)
    inside = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    return inside / ((x1 - x0) * (y1 - y0)).double().sqrt()


def best_box_hit(heat: Tensor, boxes: Tensor, target: Tensor, overlap: float = 0.5) -> float:
    """Whether the box that frames the heat best is the target; ties are drawn by lot.

    heat (h, w), boxes (m, 4), target (4,). Right is a box that overlaps the target by half or more
    (RefCOCO's rule), so that boxes of a detector may be judged, too. The benchmark's code has boxes
    that name their last pixel, and adds one to each side: the same.
    """
    scores = box_scores(heat, boxes)
    best = scores >= scores.max() - 1e-9 * scores.abs().max()  # equal but for rounding
    right = box_iou(boxes, target[None])[:, 0] >= overlap
    return right[best].double().mean().item()
