"""Multi-crop augmentation (SwAV, arXiv 2006.09882; DINO and its code): views of a picture.

Everything random is a table of uniform numbers that belongs to the picture, so that the crops of
example 7 are the same in any batch, thread or process. A whole batch is cut, resized and recoloured
at once: crop by crop, Python would take longer than the network. Letters: b pictures, v views of
each, n = b v, h and w sides of a view.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minivl.data.crop_data import CropData

ATTEMPTS = 10
"""Boxes tried before the largest central one is taken, as in torchvision's RandomResizedCrop."""

COLUMNS = 2 * ATTEMPTS + 14
"""Uniform numbers that one view needs."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1
"""How far each wanders at jitter 1."""

GREY = (0.299, 0.587, 0.114)
"""Red, green and blue in luminance (ITU-R 601), as Pillow's."""


@dataclass(frozen=True)
class View:
    """One kind of crop."""

    size: int
    scale: tuple[float, float]
    blur_share: float
    solarise_share: float


def views_of(data: CropData) -> tuple[View, ...]:
    """The two global views, which differ, and the local ones; shares of blur as published."""
    first = View(data.global_size, data.global_scale, 1.0, 0.0)
    second = View(data.global_size, data.global_scale, 0.1, data.solarise_share)
    local = View(data.local_size, data.local_scale, 0.5, 0.0)
    return (first, second, *[local] * data.local_crops)


def draw_views(draw: np.random.Generator, data: CropData) -> np.ndarray:
    """What one picture's views are made from: (2 + local_crops, COLUMNS) float32 in [0, 1)."""
    return draw.random((2 + data.local_crops, COLUMNS), dtype=np.float32)


def multi_crop(images: Tensor, draws: Tensor, data: CropData) -> dict[str, Tensor]:
    """Pictures uint8 (b, H, W, 3) and their draws (b, views, COLUMNS) -> float32 views in [-1, 1].

    {"global_crops": (b, 2, 3, h, w), "local_crops": (b, n, 3, h, w)}, the latter if there are any.
    """
    views = views_of(data)
    crops = {"global_crops": _made(images, draws[:, :2], views[:2], data)}
    if data.local_crops:
        crops["local_crops"] = _made(images, draws[:, 2:], views[2:], data)
    return crops


def _made(images: Tensor, draws: Tensor, views: tuple[View, ...], data: CropData) -> Tensor:
    """Views of one size: (b, v, 3, size, size)."""
    b, v, size = len(images), len(views), views[0].size
    boxes = crop_boxes(draws, views[0].scale, images.shape[1:3])
    flipped = draws[..., 2 * ATTEMPTS + 2] < 0.5
    crops = resized_crops(images, boxes, flipped, size).flatten(0, 1)
    u = draws[..., 2 * ATTEMPTS + 3 :].flatten(0, 1)
    shares = torch.tensor([[view.blur_share, view.solarise_share] for view in views]).repeat(b, 1)
    crops = jittered(crops, u[:, :6], data.jitter)
    grey = u[:, 6] < data.grey_share
    crops[grey] = luminance(crops[grey]).expand(-1, 3, -1, -1)
    soft = u[:, 7] < shares[:, 0]
    deviation = data.blur[0] + u[soft, 8] * (data.blur[1] - data.blur[0])
    crops[soft] = blurred(crops[soft], deviation)
    inverted = u[:, 9] < shares[:, 1]
    crops[inverted] = solarised(crops[inverted])
    return crops.mul_(2).sub_(1).unflatten(0, (b, v))


def crop_boxes(draws: Tensor, scale: tuple[float, float], side: tuple[int, int]) -> Tensor:
    """Boxes (b, v, 4) int64 top, left, height, width, of random area, shape and place.

    draws (b, v, COLUMNS); scale: least and largest share of the area; shapes from 3:4 to 4:3, even
    on a logarithmic scale. Where no attempt fits, the largest box in the middle.
    """
    height, width = side
    area = scale[0] + draws[..., :ATTEMPTS] * (scale[1] - scale[0])
    limit = np.log(4 / 3)
    ratio = ((2 * draws[..., ATTEMPTS : 2 * ATTEMPTS] - 1) * limit).exp()
    w = (area * height * width * ratio).sqrt().round().clamp(min=1)
    h = (area * height * width / ratio).sqrt().round().clamp(min=1)
    fits = (w <= width) & (h <= height)
    first = fits.int().argmax(dim=-1, keepdim=True)
    h, w = (torch.where(fits.any(-1), x.gather(-1, first).squeeze(-1), 0) for x in (h, w))
    shortest = min(height, width)
    central = w == 0
    h, w = h.masked_fill(central, shortest), w.masked_fill(central, shortest)
    u = draws[..., 2 * ATTEMPTS :]
    top = torch.where(central, (height - h) // 2, (u[..., 0] * (height - h + 1)).floor())
    left = torch.where(central, (width - w) // 2, (u[..., 1] * (width - w + 1)).floor())
    return torch.stack([top, left, h, w], dim=-1).long()


def resized_crops(images: Tensor, boxes: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Cut boxes out of pictures and resize them, bicubic and antialiased, values 0 to 1.

    images uint8 (b, H, W, 3), boxes (b, v, 4), flipped (b, v) bool -> (b, v, 3, size, size). Rows
    and columns are mixed by one matrix product each.
    """
    b, height, width, _ = images.shape
    v = boxes.shape[1]
    rows = resize_matrix(boxes[..., 0], boxes[..., 2], height, size)
    columns = resize_matrix(boxes[..., 1], boxes[..., 3], width, size)
    columns = torch.where(flipped[..., None, None], columns.flip(2), columns)
    pixels = images.to(torch.float32).div_(255).flatten(2)
    mixed = (rows.flatten(1, 2) @ pixels).view(b, v, size, width, 3)
    mixed = mixed.permute(0, 1, 3, 4, 2).reshape(b, v, width, 3 * size)
    crops = (columns @ mixed).view(b, v, size, 3, size)  # b, v, x, channel, y
    return crops.permute(0, 1, 3, 4, 2).clamp(0, 1)


def resize_matrix(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Weights of `side` pixels in `size` new ones that show start .. start + length.

    start, length (...) -> (..., size, side). Keys' cubic with a = -1/2, widened where pixels
    shrink, cut off at the box and made to add up to one: Pillow's and torch's antialiased bicubic.
    """
    start, length = start[..., None, None].float(), length[..., None, None].float()
    new = torch.arange(size, dtype=torch.float32)[:, None] + 0.5
    old = torch.arange(side, dtype=torch.float32) + 0.5
    stretch = (length / size).clamp(min=1)
    distance = ((old - start - new * length / size) / stretch).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    weights = weights * ((old > start) & (old < start + length))
    return weights / weights.sum(dim=-1, keepdim=True)


def jittered(crops: Tensor, u: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast, saturation and hue of four crops in five, in random order.

    crops (n, 3, h, w) in 0..1, u (n, 6) in [0, 1): whether, order, and the four amounts.
    """
    changed = u[:, 0] < 0.8
    if not strength or not changed.any():
        return crops
    crops, some, u = crops.clone(), crops[changed], u[changed]
    spread = strength * torch.tensor([BRIGHTNESS, CONTRAST, SATURATION, HUE])
    amounts = (2 * u[:, 2:6] - 1) * spread
    order = ORDERS[(u[:, 1] * len(ORDERS)).long()]
    for turn in range(4):
        for number, change in enumerate((_brighter, _contrasted, _saturated, _hue_turned)):
            now = (order[:, turn] == number).nonzero().squeeze(1)
            some[now] = change(some[now], amounts[now, number, None, None, None])
    crops[changed] = some
    return crops


ORDERS = torch.tensor(
    [[a, b, c, 6 - a - b - c] for a in range(4) for b in range(4) for c in range(4)
     if len({a, b, c}) == 3]
)  # fmt: skip
"""The 24 orders of four things."""


def luminance(crops: Tensor) -> Tensor:
    """How bright each pixel is: (n, 3, h, w) -> (n, 1, h, w)."""
    red, green, blue = crops.unbind(dim=1)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue).unsqueeze(1)


def _brighter(crops: Tensor, amount: Tensor) -> Tensor:
    return (crops * (1 + amount)).clamp(0, 1)


def _contrasted(crops: Tensor, amount: Tensor) -> Tensor:
    mean = luminance(crops).mean(dim=(1, 2, 3), keepdim=True)
    return (crops + amount * (crops - mean)).clamp(0, 1)


def _saturated(crops: Tensor, amount: Tensor) -> Tensor:
    return (crops + amount * (crops - luminance(crops))).clamp(0, 1)


def _hue_turned(crops: Tensor, amount: Tensor) -> Tensor:
    """Turn the hue by a part of the circle: through hue, saturation and value, and back."""
    value = crops.amax(dim=1)
    chroma = value - crops.amin(dim=1)
    red, green, blue = crops.unbind(dim=1)
    safe = chroma.clamp(min=1e-12)
    between = torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    hue = torch.where(value == red, (green - blue) / safe, between)
    places = torch.tensor([5.0, 3.0, 1.0])[:, None, None] + hue.unsqueeze(1) + 6 * amount
    places = places - 6 * (places / 6).floor()  # remainder() is four times slower
    down = torch.minimum(places, 4 - places).clamp(0, 1)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * down


def blurred(crops: Tensor, deviation: Tensor) -> Tensor:
    """Gaussian blur, the border repeated beyond itself. crops (n, c, h, w), deviation (n,)."""
    if not len(crops):
        return crops
    rows, columns = (blur_matrix(deviation, side)[:, None] for side in crops.shape[2:])
    return rows @ crops @ columns.mT


def blur_matrix(deviation: Tensor, side: int) -> Tensor:
    """Weights of `side` pixels in as many blurred ones: (n,) -> (n, side, side)."""
    reach = int(np.ceil(4 * float(deviation.max())))
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (offsets / deviation[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=-1, keepdim=True)
    source = (torch.arange(side)[:, None] + offsets).clamp(0, side - 1)
    weights = kernel.new_zeros(len(kernel), side, side)
    return weights.scatter_add_(2, *torch.broadcast_tensors(source, kernel[:, None]))


def solarised(crops: Tensor) -> Tensor:
    """Invert what is brighter than half; Pillow's threshold 128."""
    return torch.where(crops >= 128 / 255, 1 - crops, crops)
