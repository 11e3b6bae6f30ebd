"""What a model needs to see: the score that is lost when a part of the picture is blurred.

Occlusion (Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2) asks the whole model instead of its
attention. Where tokens have mixed before the class token reads them (convolutional stems, short
transformers), attention need not lie where the thing is; the loss of score does.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

AT_A_TIME = 64  # pictures in one forward pass


@torch.no_grad()
def occlusion(
    score: Callable[[Tensor], Tensor],
    picture: Tensor,
    grid: tuple[int, int],
    *,
    window: float = 2.0,
) -> Tensor:
    """How much each of k scores falls when a window around a cell is blurred; rises count as 0.

    picture (1, 3, h, w); score: pictures (n, 3, h, w) -> (n, k); window: its side in cells.
    Returns (k, gh, gw).
    """
    hidden = occluded(picture, grid, window)
    lower = torch.cat([score(part) for part in hidden.split(AT_A_TIME)])
    loss = (score(picture) - lower).clamp(min=0)
    return rearrange(loss, "(gh gw) k -> k gh gw", gh=grid[0], gw=grid[1])


def occluded(picture: Tensor, grid: tuple[int, int], window: float = 2.0) -> Tensor:
    """The picture once for each cell, blurred in a window around it.

    picture (1, 3, h, w) -> (gh*gw, 3, h, w), row by row.
    """
    height, width = picture.shape[-2:]
    smooth = blurred(picture)
    pictures = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            hidden = picture.clone()
            down = part(row, grid[0], height, window)
            across = part(column, grid[1], width, window)
            hidden[..., down, across] = smooth[..., down, across]
            pictures.append(hidden)
    return torch.cat(pictures)


def part(cell: int, cells: int, pixels: int, window: float) -> slice:
    """The pixels of a window of so many cells around the middle of one cell, cut at the edge."""
    side = pixels / cells
    middle = (cell + 0.5) * side
    first, last = middle - window * side / 2, middle + window * side / 2
    return slice(max(round(first), 0), min(round(last), pixels))


def blurred(picture: Tensor) -> Tensor:
    """The mean of about a third of the picture around each pixel. (b, c, h, w) -> the same."""
    radius = max(min(picture.shape[-2:]) // 6, 1)
    padded = F.pad(picture, [radius] * 4, mode="reflect")
    return F.avg_pool2d(padded, 2 * radius + 1, stride=1)
