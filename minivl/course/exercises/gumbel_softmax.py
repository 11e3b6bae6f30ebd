"""Exercise 03.1, gumbel_softmax: draw a code softly, so that gradients can pass."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course.exercise import Case, Exercise, Property, Variant
from minivl.course.exercises import differs, drawn, numbers, told

LN3 = math.log(3.0)
"""The softmax of [ln 3, 0] is [3/4, 1/4]."""

NO_NOISE = math.exp(-1)
"""-ln(-ln u) is 0 here, and -ln 9 at e^-9."""


def _cell(*values: float) -> Tensor:
    """One picture of one cell with so many codes: (1, k, 1, 1)."""
    return numbers(values).reshape(1, -1, 1, 1)


def _two_codes(*rest: float | bool, noisy: bool = True) -> tuple:
    """Logits ln 3 and 0; noise -ln 9 and 0, or none; then temperature and hard."""
    first = math.exp(-9) if noisy else NO_NOISE
    return _cell(LN3, 0), _cell(first, NO_NOISE), *(rest or (1.0,))


def _grid(*rest: float | bool) -> tuple:
    """Two pictures of 2 x 3 cells, four codes."""
    u = torch.rand(2, 4, 2, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return drawn(4, 2, 4, 2, 3), u, *rest


def _frequencies(gumbel_softmax: Callable) -> str | None:
    # Evenly spread in place of random: as exact with 2,500 cells, quick for an answer with loops.
    even = (torch.arange(50, dtype=torch.float64) + 0.5) / 50
    u = torch.stack(torch.meshgrid(even, even, indexing="ij"))[None]
    logits = _cell(LN3, 0).expand(1, 2, 50, 50)
    first = (gumbel_softmax(logits, u, 0.5).argmax(dim=1) == 0).double().mean()
    if abs(first - 0.75) < 0.01:
        return None
    given = "logits [ln 3, 0], u spread evenly over 50 x 50 cells"
    return told(given, "the first code wins in 75 % of them", f"in {100 * first:.1f} %")


def _ends(gumbel_softmax: Callable) -> str | None:
    for name, u in (("0 and 0", (0, 0)), ("1 and 1/2", (1, 0.5)), ("0 and 1", (0, 1))):
        got = gumbel_softmax(_cell(LN3, 0), _cell(*u), 1.0)
        if not got.isfinite().all():
            return told(f"logits [ln 3, 0], u {name}", "finite shares", "nan")
    return None


def _as_torch(gumbel_softmax: Callable) -> str | None:
    """torch draws its own noise: exponential e, whose -ln e is ours at u = exp(-e)."""
    logits = drawn(6, 2, 5, 2, 2)
    for hard in (False, True):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(3)
            u = torch.exp(-torch.empty_like(logits).exponential_())
            torch.manual_seed(3)
            expected = F.gumbel_softmax(logits, tau=0.8, hard=hard, dim=1)
        got = gumbel_softmax(logits, u, 0.8, hard)
        if reason := differs(f"torch's own noise, hard={hard}", got, expected):
            return reason
    return None


def _gumbel(u: Tensor) -> Tensor:
    u = u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps)
    return -torch.log(-torch.log(u))


def _drawing(
    *,
    noise: Callable[[Tensor], Tensor] = _gumbel,
    mix: Callable = lambda logits, g, temperature: (logits + g) / temperature,
    share: Callable[[Tensor], Tensor] = lambda x: x.softmax(dim=1),
    harden: Callable[[Tensor, Tensor], Tensor] = lambda hot, soft: hot + soft - soft.detach(),
) -> Callable:
    """gumbel_softmax with another noise, order, softmax, or way to a one-hot result."""

    def gumbel_softmax(logits, u, temperature, hard=False):
        soft = share(mix(logits, noise(u), temperature))
        if not hard:
            return soft
        hot = torch.zeros_like(soft).scatter(1, soft.argmax(dim=1, keepdim=True), 1.0)
        return harden(hot, soft)

    return gumbel_softmax


NOT_SPACE = (
    "Your shares add to 1 over the cells of the picture. Each cell chooses for itself: softmax "
    "over the codes, dimension 1."
)

GUMBEL_SOFTMAX = Exercise(
    target="minivl.nn.dvae.gumbel_softmax",
    number="03.1",
    minutes=15,
    difficulty=2,
    source="Jang et al. 2017, equation 2",
    hints=(
        "Gumbel noise is `-torch.log(-torch.log(u))`: two logarithms, two minus signs. Where u is "
        "exactly 0 or 1 it is infinite: clamp u first.",
        "Add the noise to the logits, then divide the sum by the temperature, then take the "
        "softmax over dimension 1.",
        "Hard: with `hot` the one-hot tensor of `soft.argmax(dim=1)`, return `hot + soft - "
        "soft.detach()`. Its values are those of hot, its gradient is that of soft.",
    ),
    checks=(
        Case("two codes by hand", _two_codes, _cell(0.25, 0.75)),
        Case("without noise", partial(_two_codes, noisy=False), _cell(0.75, 0.25)),
        Case("at temperature 1/2", partial(_two_codes, 0.5), _cell(0.1, 0.9)),
        Case("hard", partial(_two_codes, 1.0, True, noisy=False), _cell(1, 0), gradient=(0,)),
        Case("two pictures of 2 x 3 cells", partial(_grid, 0.7), gradient=(0,)),
        Case("the same, hard", partial(_grid, 0.7, True), gradient=(0,)),
        Property("draws follow the softmax", _frequencies),
        Property("u of 0 and of 1", _ends),
        Property("equal to torch's gumbel_softmax", _as_torch),
    ),
    variants=(
        Variant(
            "noise sign",
            _drawing(mix=lambda logits, g, temperature: (logits - g) / temperature),
            "Gumbel noise is -ln(-ln u). Yours is mirrored, and draws no longer follow the logits.",
        ),
        Variant(
            "noise after temperature",
            _drawing(mix=lambda logits, g, temperature: logits / temperature + g),
            "You divide the logits by τ and then add the noise. Add it before, so that τ makes "
            "the draw harder, not the choice more certain.",
        ),
        Variant(
            "times temperature",
            _drawing(mix=lambda logits, g, temperature: (logits + g) * temperature),
            "You multiply by τ. A small τ must bring the draw close to one-hot: divide.",
        ),
        Variant(
            "temperature unused",
            _drawing(mix=lambda logits, g, temperature: logits + g),
            "Your result does not depend on the temperature. Divide logits plus noise by it.",
        ),
        Variant(
            "no noise",
            _drawing(noise=torch.zeros_like),
            "Without noise this is a plain softmax: the same shares in every step, and no draw.",
        ),
        Variant(
            "uniform noise",
            _drawing(noise=lambda u: u),
            "You added u itself. Plain uniform noise does not sample from the softmax: turn it "
            "into Gumbel noise.",
        ),
        Variant(
            "one log",
            _drawing(
                noise=lambda u: (
                    -torch.log(u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps))
                )
            ),
            "-ln u is exponential noise. One more -ln is missing.",
        ),
        Variant(
            "not clamped",
            _drawing(noise=lambda u: -torch.log(-torch.log(u))),
            "u of exactly 0 or 1 gives infinite noise, and ∞ - ∞ is NaN. Clamp u just inside of "
            "(0, 1).",
        ),
        Variant("over the last axis", _drawing(share=lambda x: x.softmax(dim=-1)), NOT_SPACE),
        Variant(
            "over all cells",
            _drawing(share=lambda x: x.flatten(2).softmax(dim=-1).view_as(x)),
            NOT_SPACE,
        ),
        Variant(
            "hard without gradient",
            _drawing(harden=lambda hot, soft: hot),
            "A one-hot tensor has no gradient, so nothing would be learned. Keep the soft one for "
            "the way back: `hot + soft - soft.detach()`.",
        ),
        Variant(
            "hard unused",
            _drawing(harden=lambda hot, soft: soft),
            "Your result is soft also where `hard` is asked for. Its values should be 0 and 1.",
        ),
        Variant(
            "hot and soft multiplied",
            _drawing(harden=lambda hot, soft: hot * soft),
            "You kept the winner's share instead of a 1. The values should be those of one-hot, "
            "only the gradient that of the soft draw.",
        ),
    ),
)
