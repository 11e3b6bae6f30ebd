"""The discrete variational autoencoder of DALL-E (Ramesh et al. 2021, arXiv 2102.12092).

An encoder names one of k codes for each cell of a picture's grid, a decoder draws the picture
from the names. In training the names are soft (Gumbel-softmax), so that gradients pass; pixels
are judged by a density on (0, 1), the logit-Laplace. Frozen, the encoder turns pictures into
visual words: what masked image modeling predicts.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gumbel_softmax(logits: Tensor, u: Tensor, temperature: float, hard: bool = False) -> Tensor:
    """A soft draw from softmax(logits) over the codes: softmax((logits + g) / temperature).

    logits, u (b, k, gh, gw) -> shares (b, k, gh, gw) that add to 1 over k. u is uniform in [0, 1]
    and g = -ln(-ln u) is Gumbel noise; 0 and 1 count as their neighbours. With `hard` the result
    is one-hot and its gradient that of the soft draw (Jang et al. 2017, arXiv 1611.01144).
    """
    number = torch.finfo(u.dtype)
    u = u.clamp(number.tiny, 1 - number.eps)
    noise = -torch.log(-torch.log(u))
    soft = ((logits + noise) / temperature).softmax(dim=1)
    if not hard:
        return soft
    one_hot = torch.zeros_like(soft).scatter(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return one_hot + soft - soft.detach()


def kl_to_uniform(logits: Tensor) -> Tensor:
    """KL(q || uniform) = sum over codes of q (ln q + ln k): 0 for even shares, ln k for one code.

    logits (b, k, gh, gw) -> scalar, the mean over cells and pictures. q = softmax over the k codes.
    Ramesh et al. 2021, section 2.1: the prior over codes is uniform.
    """
    log_q = logits.log_softmax(dim=1)
    terms = log_q.exp() * (log_q + math.log(logits.shape[1]))
    return terms.sum(dim=1).mean()


def map_pixels(x: Tensor, eps: float = 0.1) -> Tensor:
    """[0, 1] -> [eps, 1 - eps], linearly: black and white have finite logits there.

    x of any shape. Ramesh et al. 2021, appendix A.3.
    """
    return (1 - 2 * eps) * x + eps


def unmap_pixels(x: Tensor, eps: float = 0.1) -> Tensor:
    """The inverse of map_pixels, cut to [0, 1]. x of any shape."""
    return ((x - eps) / (1 - 2 * eps)).clamp(0, 1)


def logit_laplace_nll(x: Tensor, mu: Tensor, log_scale: Tensor) -> Tensor:
    """-ln of a density on (0, 1): logit(x) is Laplace around mu with scale s = exp(log_scale).

    x, mu, log_scale (b, c, h, w) -> (b, c, h, w): ln 2 + ln s + ln(x (1 - x)) + |logit x - mu| / s.
    Negative where the density exceeds 1. Ramesh et al. 2021, appendix A.3.
    """
    distance = (torch.logit(x) - mu).abs() * torch.exp(-log_scale)
    return math.log(2) + log_scale + torch.log(x * (1 - x)) + distance


def visual_tokens(logits: Tensor) -> Tensor:
    """The likeliest code of each cell: logits (b, k, gh, gw) -> (b, gh, gw) int64."""
    return logits.argmax(dim=1)


def code_shares(tokens: Tensor, vocab_size: int) -> Tensor:
    """How often each code occurs: tokens of any shape -> shares (vocab_size,) that add to 1."""
    counts = torch.bincount(tokens.flatten(), minlength=vocab_size).float()
    return counts / max(tokens.numel(), 1)


def perplexity(shares: Tensor) -> Tensor:
    """exp of the entropy: as many codes, evenly used, would be as hard to guess.

    shares (k,) that add to 1 -> scalar from 1 to k.
    """
    return torch.special.entr(shares).sum().exp()


class Conv(nn.Conv2d):
    """A convolution of odd kernel that keeps the picture's size; weights start at N(0, 1/fan_in).

    With `exact` it computes in float32 also under autocast: where thousands of codes compete,
    eight bits of bfloat16 would choose another one.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, exact: bool = False):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.exact = exact
        nn.init.normal_(self.weight, std=(inputs * kernel**2) ** -0.5)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, inputs, h, w) -> (b, outputs, h, w)."""
        if not self.exact:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


class Block(nn.Module):
    """x + gain * four convolutions, each after a ReLU, through a quarter of the width.

    The encoder's last convolution is 1x1, the decoder's first one: next to the codes each cell
    speaks for itself. Small gains let a deep stack start near the identity.
    """

    def __init__(self, inputs: int, outputs: int, kernels: tuple[int, ...], gain: float):
        super().__init__()
        hidden = outputs // 4
        widths = (inputs, *[hidden] * (len(kernels) - 1), outputs)
        self.gain = gain
        self.skip = Conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.convs = nn.ModuleList(
            Conv(before, after, kernel)
            for before, after, kernel in zip(widths, widths[1:], kernels, strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (b, inputs, h, w) -> (b, outputs, h, w)."""
        branch = x
        for conv in self.convs:
            branch = conv(F.relu(branch))
        return self.skip(x) + self.gain * branch


def block_groups(widths: list[int], blocks: int, kernels: tuple[int, ...]) -> nn.ModuleList:
    """One group of `blocks` blocks for each step from one width to the next."""
    gain = 1 / ((len(widths) - 1) * blocks) ** 2
    return nn.ModuleList(
        nn.Sequential(
            *(Block(before if i == 0 else after, after, kernels, gain) for i in range(blocks))
        )
        for before, after in zip(widths, widths[1:], strict=False)
    )


class Encoder(nn.Module):
    """Pictures to logits over the codes; between two groups of blocks the picture is halved.

    The defaults are DALL-E's: 53,786,240 parameters, one code for 8 x 8 pixels.
    """

    def __init__(
        self, *, vocab_size: int = 8192, width: int = 256, groups: int = 4, blocks: int = 2
    ):
        """`width` is that of the first group and doubles from group to group."""
        super().__init__()
        _check(vocab_size, width, groups, blocks)
        self.stride = 2 ** (groups - 1)
        self.vocab_size = vocab_size
        widths = [width, *(width << group for group in range(groups))]
        self.input = Conv(3, width, 7)
        self.groups = block_groups(widths, blocks, (3, 3, 3, 1))
        self.output = Conv(widths[-1], vocab_size, 1, exact=True)

    def forward(self, image: Tensor) -> Tensor:
        """image (b, 3, h, w), as map_pixels gives it -> logits (b, vocab_size, h/stride, w/stride).

        ValueError where the stride leaves a rest.
        """
        height, width = image.shape[-2:]
        if height % self.stride or width % self.stride or not height * width:
            raise ValueError(
                f"picture of {height} x {width} pixels does not divide into cells of "
                f"{self.stride}: resize it to a multiple"
            )
        # With its channels side by side in memory a CPU convolves about 1.5 times as fast.
        x = self.input(image.contiguous(memory_format=torch.channels_last))
        for number, group in enumerate(self.groups):
            x = group(F.max_pool2d(x, 2) if number else x)
        return self.output(F.relu(x))


class Decoder(nn.Module):
    """Shares of the codes to pixels' means and log-scales; between two groups the size doubles.

    The first convolution is the codebook: column k of its weight is what code k means. The
    defaults are DALL-E's: 43,829,766 parameters.
    """

    def __init__(
        self,
        *,
        vocab_size: int = 8192,
        width: int = 256,
        code_width: int = 128,
        groups: int = 4,
        blocks: int = 2,
    ):
        """`width` is that of the last group, as in the encoder's first; `code_width` of a code."""
        super().__init__()
        _check(vocab_size, width, groups, blocks)
        self.vocab_size = vocab_size
        widths = [code_width, *(width << group for group in reversed(range(groups)))]
        self.codebook = Conv(vocab_size, code_width, 1, exact=True)
        self.groups = block_groups(widths, blocks, (1, 3, 3, 3))
        self.output = Conv(widths[-1], 6, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """codes (b, vocab_size, gh, gw), one-hot or shares -> (b, 6, gh*stride, gw*stride).

        Channels 0 to 2 are mu of red, green and blue, 3 to 5 their log_scale.
        """
        x = self.codebook(codes.contiguous(memory_format=torch.channels_last))
        for number, group in enumerate(self.groups):
            x = group(F.interpolate(x, scale_factor=2, mode="nearest") if number else x)
        return self.output(F.relu(x))


def _check(vocab_size: int, width: int, groups: int, blocks: int) -> None:
    if vocab_size < 2:
        raise ValueError(f"vocab_size {vocab_size}: a choice needs two codes or more")
    if width < 4 or width % 4:
        raise ValueError(f"width {width} is not a multiple of 4: blocks compute in a quarter of it")
    if groups < 1 or blocks < 1:
        raise ValueError(f"groups {groups} and blocks {blocks}: one or more of each")
