"""Convolutional networks that turn pictures into cells, and the cells' places.

ResNet (He et al. 2015, arXiv 1512.03385) as DETR (Carion et al. 2020, arXiv 2005.12872) and UniT
(Hu and Singh 2021, arXiv 2102.10772, section 3.1) use it, and a small network that stands in its
place. Letters: b batch, h and w sides of a picture or of its grid of cells, d width.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.nn.vit import ConvStem

EPS = 1e-6
"""Keeps an empty picture's places finite; DETR's code."""


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of red, green and blue from 0 to 1, as torchvision's ResNets were trained."""


def waves(positions: Tensor, width: int) -> Tensor:
    """Each position as sines and cosines by turns, from one radian a step to ever slower ones.

    positions (...) -> (..., width), an even number. Vaswani et al. 2017, arXiv 1706.03762, section
    3.5: periods grow from 2 pi towards 10,000 times as much.
    """
    pair = torch.arange(width, dtype=positions.dtype, device=positions.device) // 2
    angle = positions.unsqueeze(-1) / 10_000 ** (2 * pair / width)
    return torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1).flatten(-2)


def sine_positions_2d(h: int, w: int, d: int) -> Tensor:
    """Where each cell stands: row and column as waves, a half of the width each, the row first.

    -> (h, w, d) in float32 or wider, for d a multiple of four. Rows count from 1, as a share of all
    h that is stretched to 2 pi; columns likewise. DETR, section 3.2, and its code.
    """
    y, x = (
        2 * math.pi * torch.arange(1, side + 1, dtype=torch.float64) / (side + EPS)
        for side in (h, w)
    )
    y, x = waves(y, d // 2), waves(x, d // 2)
    return torch.cat([y[:, None].expand(-1, w, -1), x.expand(h, -1, -1)], dim=2)


def masked_sine_positions(mask: Tensor, d: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """`sine_positions_2d` of pictures that fill only the upper left of their tensor.

    mask (b, h, w), True = picture -> (b, h, w, d). Each picture's own sides are what is stretched
    to 2 pi; what stands at padding means nothing.
    """
    counted = [mask.cumsum(dim=dim, dtype=dtype) for dim in (1, 2)]
    sides = counted[0][:, -1:], counted[1][:, :, -1:]
    parts = [
        waves(2 * math.pi * count / (side + EPS), d // 2)
        for count, side in zip(counted, sides, strict=True)
    ]
    return torch.cat(parts, dim=3)


def as_imagenet(image: Tensor) -> Tensor:
    """image (b, 3, h, w) in [-1, 1] -> the same with ImageNet's mean and deviation for 0 and 1."""
    mean, deviation = (image.new_tensor(numbers)[:, None, None] for numbers in IMAGENET)
    return ((image + 1) / 2 - mean) / deviation


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with the statistics and the scale of an earlier training: a fixed line a channel.

    Detection trains with a few large pictures at a time, too few for statistics of their own.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, torch.full((channels,), float(value)))

    def forward(self, x: Tensor) -> Tensor:
        """x (b, channels, h, w) -> the same shape."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        # As a product, whose factor is fixed, x need not be kept for the backward pass.
        return (x * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *others: Any) -> None:
        # A trained batch norm also counts its batches.
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *others)


class Bottleneck(nn.Module):
    """x + three convolutions through a quarter of the width; He et al., figure 5, right.

    A stride stands at the 3x3 convolution, not at the first, as in torchvision and DETR.
    """

    def __init__(self, inputs: int, hidden: int, *, stride: int = 1, dilation: int = 1):
        super().__init__()
        outputs = 4 * hidden
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.bn1 = FrozenBatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(
            hidden, hidden, 3, stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = FrozenBatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn3 = FrozenBatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), FrozenBatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """x (b, inputs, h, w) -> (b, 4 hidden, h/stride, w/stride)."""
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        return F.relu(self.bn3(self.conv3(branch)) + self.downsample(x))


def bottlenecks(
    inputs: int, hidden: int, blocks: int, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """A layer of blocks. The first one has the stride and, in torchvision and DETR, no dilation."""
    return nn.Sequential(
        Bottleneck(inputs, hidden, stride=stride),
        *(Bottleneck(4 * hidden, hidden, dilation=dilation) for _ in range(blocks - 1)),
    )


class ResNet(nn.Module):
    """A residual network of bottlenecks without its classifier; ResNet-50 unless told otherwise.

    Its norms are frozen, so it is to start from trained weights; names are torchvision's.
    """

    channels = 2048

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 6, 3),
        *,
        dilated: bool = True,
        frozen: Sequence[str] = ("conv1", "layer1"),
        normalise: bool = False,
    ):
        """`layers`: blocks of each of the four. `dilated`: the last layer looks twice as far apart
        in place of halving the picture again (DETR's DC5). `frozen` parts do not learn.
        `normalise`: pictures come in [-1, 1], and are given the mean and the deviation of
        ImageNet's, as torchvision's weights expect them."""
        super().__init__()
        self.normalise = normalise
        self.stride = 16 if dilated else 32
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm2d(64)
        self.layer1 = bottlenecks(64, 64, layers[0])
        self.layer2 = bottlenecks(256, 128, layers[1], stride=2)
        self.layer3 = bottlenecks(512, 256, layers[2], stride=2)
        stride, dilation = (1, 2) if dilated else (2, 1)
        self.layer4 = bottlenecks(1024, 512, layers[3], stride=stride, dilation=dilation)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """image (b, 3, h, w) -> (b, 2048, h/stride, w/stride), rounded up."""
        x = as_imagenet(image) if self.normalise else image
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x


class SmallCNN(nn.Module):
    """What a laptop trains in ResNet's place: the convolutions of ViT's convolutional stem."""

    def __init__(self, width: int, *, stride: int = 8):
        """Channels grow with every halving, up to `width`; `stride` is a power of two."""
        super().__init__()
        self.channels, self.stride = width, stride
        # Without the last one, a linear map: the model that reads the cells has its own.
        self.layers = ConvStem(stride, width).layers[:-1]

    def forward(self, image: Tensor) -> Tensor:
        """image (b, 3, h, w) -> (b, width, h/stride, w/stride), rounded up."""
        return self.layers(image.contiguous(memory_format=torch.channels_last))
